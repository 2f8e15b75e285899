"""Turn `pipeline.json` into frozen records; its camelCase ends here.

`parse` looks at the text alone and needs no disk; what only the disk can tell
(links, missing files) is checked by `workspace`.  Nothing is raised for a
fault: all of them are returned, each with its place.
"""

from __future__ import annotations

import posixpath

from stagerunner.keys import CHECKPOINT
from stagerunner.keys import HOOK
from stagerunner.keys import IDEMPOTENCY
from stagerunner.keys import KINDS
from stagerunner.keys import PIPELINE
from stagerunner.keys import QUOTA_USE
from stagerunner.keys import RESOURCES
from stagerunner.keys import RETRY
from stagerunner.keys import STAGE
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.retry import RetryPolicy
from stagerunner.rules import faults_across
from stagerunner.rules import merge
from stagerunner.schema import Fault

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple
    from typing import Union


class Checkpointing(NamedTuple):
    """Whether partial outputs are kept, and after how many lines progress is committed."""

    enabled: bool = False
    line_interval: int = 50


class Resources(NamedTuple):
    """Limits that the system enforces on each process of a task (None: no limit)."""

    memory_bytes: Optional[int] = None
    cpu_s: Optional[int] = None
    file_bytes: Optional[int] = None
    cpu_cores: Optional[int] = None


class QuotaUse(NamedTuple):
    """What each attempt takes out of a quota first; `waits` is false where it fails instead."""

    name: str
    tokens: int = 1
    waits: bool = True


class Job(NamedTuple):
    """A named unit of a stage: the stage with what the job says of its own laid over it."""

    name: str
    stage: Stage


class Items(NamedTuple):
    """A collection: a `glob` pattern, a `list` of ids, the path of a `jsonl` file, or a `queue`.

    `id_key` names the key of a jsonl row that holds its id.
    """

    kind: str
    source: Union[str, Tuple[str, ...], None]
    id_key: str = ''


class Stage(NamedTuple):
    """One stage as declared, defaults filled in; paths use '/' and are relative to the root.

    With `for_each` its strings may hold placeholders (`placeholders`); `items.filler`
    makes the stage of one item.
    """

    name: str
    position: int
    processor: str
    inputs: Tuple[str, ...]
    output_dir: str
    outputs: Tuple[str, ...]
    params: Dict[str, Any]
    env: Dict[str, str]
    is_idempotent: bool
    checkpoint: Checkpointing
    retry: RetryPolicy
    timeout_s: Optional[float]
    grace_s: float
    has_clean_env: bool = False
    secret_env: Tuple[str, ...] = ()
    resources: Resources = Resources()
    has_network: bool = False
    has_declared_files: bool = False
    depends_on: Tuple[str, ...] = ()
    jobs: Tuple[Job, ...] = ()
    for_each: str = ''
    max_workers: Optional[int] = None
    stops_on_failure: bool = True
    quota: Tuple[QuotaUse, ...] = ()
    limits: Tuple[str, ...] = ()

    @property
    def is_python(self) -> bool:
        """True when the processor is a script for the configured interpreter."""
        return self.processor.endswith('.py')


class Hook(NamedTuple):
    """A command that is called at the end of a run; a name ending in .py is a Python script."""

    command: Tuple[str, ...]
    timeout_s: float
    has_network: bool

    @property
    def is_python(self) -> bool:
        """True when it is a script for the interpreter of processors."""
        return self.command[0].endswith('.py')

    @property
    def is_path(self) -> bool:
        """True when it is a file of the workspace (or an absolute path), no name to look up."""
        return '/' in self.command[0] or self.is_python


class Pipeline(NamedTuple):
    """A whole definition."""

    name: str
    version: str
    stages: Tuple[Stage, ...]
    python: Optional[str]
    keep_runs: int
    items: Dict[str, Items] = {}
    on_success: Optional[Hook] = None
    on_failure: Optional[Hook] = None

    @property
    def has_hooks(self) -> bool:
        """True when something is called at the end of a run."""
        return self.on_success is not None or self.on_failure is not None


class Parsed(NamedTuple):
    """What `parse` found: `pipeline` is None when there is a fault.

    `outline` has so much of the stages, faults or not, that they can be held against the disk.
    """

    document: Any
    pipeline: Optional[Pipeline]
    outline: Pipeline
    faults: List[Fault]


def parse(document: Any, base: Optional[Dict[str, Any]] = None,
          per_stage: Optional[Dict[str, Dict[str, Any]]] = None) -> Parsed:
    """Check a decoded definition and turn it into records where nothing is wrong.

    `base` and `per_stage` are checked keys of stages that a config brings: the
    first count less than `defaults`, the second more than a stage's own.
    """
    faults: List[Fault] = []
    given = PIPELINE.check(document, (), faults)
    faults += faults_across(given)
    if faults:
        return Parsed(document, None, _outline(given), faults)
    top = PIPELINE.complete(given)
    whole = Pipeline(
        name=top['name'], version=top['version'], python=top['python'],
        keep_runs=top['keepRuns'],
        stages=tuple(_merged(index, stage, top['defaults'], base, per_stage)
                     for index, stage in enumerate(top['stages'])),
        items={name: _items(entry) for name, entry in top['items'].items()},
        on_success=_hook(top['onSuccess']), on_failure=_hook(top['onFailure']))
    return Parsed(document, whole, whole, faults)


def _outline(given: Any) -> Pipeline:
    """Return what can be told of stages of which some have faults.

    Where a stage has no folder or no inputs that make sense nobody knows who
    publishes what, so then no inputs are told at all; the same with jobs.
    """
    stages = [stage if isinstance(stage, dict) else {} for stage in given.get('stages') or ()]
    told = [{key: stage[key] for key in ('name', 'processor', 'outputDir') if stage.get(key)}
            for stage in stages]
    inputs = [stage.get('inputs', []) for stage in stages]
    is_clear = all(len(part) == 3 for part in told) and not any(
        stage.get('jobs') or not isinstance(names, list) or None in names
        for stage, names in zip(stages, inputs))
    return Pipeline(name='', version='', python=None, keep_runs=0, stages=tuple(
        _stage(index, dict(part, inputs=names if is_clear else []))
        for index, (part, names) in enumerate(zip(told, inputs)) if len(part) == 3))


def stage_at(document: Any, position: int, base: Optional[Dict[str, Any]] = None,
             per_stage: Optional[Dict[str, Dict[str, Any]]] = None) -> Stage:
    """Return one stage of a decoded definition that is known to be sound; otherwise as `parse`."""
    alone = dict(document, stages=[document['stages'][position]])
    top = PIPELINE.complete(PIPELINE.check(alone, (), []))
    return _merged(position, top['stages'][0], top['defaults'], base, per_stage)


def _merged(position: int, given: Dict[str, Any], defaults: Dict[str, Any],
            base: Optional[Dict[str, Any]],
            per_stage: Optional[Dict[str, Dict[str, Any]]]) -> Stage:
    """Return a stage with all that lies under and over its own keys."""
    below = merge(merge(base or {}, defaults), given)
    return _stage(position, merge(below, (per_stage or {}).get(given['name'], {})))


def _stage(position: int, given: Dict[str, Any]) -> Stage:
    stage = STAGE.complete(given)
    checkpoint = CHECKPOINT.complete(stage['checkpoint'])
    return Stage(
        name=stage['name'], position=position,
        processor=posixpath.normpath(stage['processor']),
        inputs=tuple(stage['inputs']),
        output_dir=posixpath.normpath(stage['outputDir']),
        outputs=tuple(posixpath.normpath(name) for name in stage['outputs']),
        params=stage['params'], env=stage['env'],
        is_idempotent=IDEMPOTENCY.complete(stage['idempotency'])['enabled'],
        checkpoint=Checkpointing(checkpoint['enabled'], checkpoint['lineInterval']),
        retry=_retry(stage['retry']),
        timeout_s=stage['timeoutSec'], grace_s=stage['graceSec'],
        has_clean_env=stage['cleanEnv'], secret_env=tuple(stage['secretEnv']),
        resources=_resources(stage['resources']), has_network=stage['network'] == 'allow',
        has_declared_files=stage['files'] == 'declared',
        depends_on=tuple(dict.fromkeys(stage['dependsOn'])),
        jobs=tuple(_job(position, given, job) for job in stage['jobs'] or ()),
        for_each=stage['forEach'] or '', max_workers=stage['maxWorkers'],
        stops_on_failure=stage['stopOnFailure'], quota=_quota(stage['quota']),
        limits=_limits(stage['limit']))


def _job(position: int, stage: Dict[str, Any], given: Union[str, Dict[str, Any]]) -> Job:
    job = {'name': given} if isinstance(given, str) else given
    own = {key: value for key, value in job.items() if key != 'name'}
    return Job(job['name'], _stage(position, merge(dict(stage, jobs=None), own)))


def _quota(given: Any) -> Tuple[QuotaUse, ...]:
    if isinstance(given, str):
        return (QuotaUse(given),)
    uses = {name: use if isinstance(use, dict) else {'tokens': use}
            for name, use in (given or {}).items()}
    whole = {name: QUOTA_USE.complete(use) for name, use in uses.items()}
    return tuple(QuotaUse(name, use['tokens'], use['wait']) for name, use in whole.items())


def _limits(given: Any) -> Tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given or ()))


def _hook(given: Any) -> Optional[Hook]:
    if given is None:
        return None
    hook = HOOK.complete(given if isinstance(given, dict) else {'command': given})
    command = hook['command']
    return Hook((command,) if isinstance(command, str) else tuple(command),
                hook['timeoutSec'], hook['network'] == 'allow')


def _items(given: Dict[str, Any]) -> Items:
    kind = next(kind for kind in KINDS if kind in given)
    source = given[kind]
    if kind == 'queue':
        source = None
    return Items(kind, tuple(source) if kind == 'list' else source, given.get('id', ''))


def _resources(given: Dict[str, Any]) -> Resources:
    limits = RESOURCES.complete(given)
    memory, file = (None if limits[key] is None else limits[key] * 1024 * 1024
                    for key in ('memoryMB', 'fileMB'))
    return Resources(memory, limits['cpuSec'], file, limits['cpuCores'])


def _retry(given: Dict[str, Any]) -> RetryPolicy:
    retry = RETRY.complete(given)
    return RetryPolicy(
        max_attempts=retry['maxAttempts'], base_delay_s=retry['baseDelaySec'],
        factor=retry['factor'], max_delay_s=retry['maxDelaySec'], jitter=retry['jitter'],
        retries_unknown=retry['unknown'] == 'retry', deadline_s=retry['deadlineSec'])
