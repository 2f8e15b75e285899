"""Turn `pipeline.json` into frozen records; its camelCase ends here.

`parse` looks at the text alone and needs no disk; what only the disk can tell
(links, missing files) is checked by `workspace`.  Nothing is raised for a
fault: all of them are returned, each with its place.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from stagerunner.retry import RetryPolicy
from stagerunner.schema import AnyJson
from stagerunner.schema import Choice
from stagerunner.schema import Fault
from stagerunner.schema import Flag
from stagerunner.schema import Key
from stagerunner.schema import ListOf
from stagerunner.schema import Mapping
from stagerunner.schema import Number
from stagerunner.schema import Record
from stagerunner.schema import Text
from stagerunner.schema import Where
from stagerunner.schema import describe

#: Names of stages and runs: one path component everywhere, also on Windows.
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,99}')
_DEVICES = frozenset(['con', 'prn', 'aux', 'nul'] + [
    f'{port}{digit}' for port in ('com', 'lpt') for digit in range(1, 10)])
_VARIABLE = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')

#: Variables with this prefix are the runner's own.
RESERVED_PREFIX = 'PIPELINE_'

#: No file system takes a longer name, in bytes; and a path must leave room for what is below it.
LONGEST_NAME, LONGEST_PATH = 255, 2000

#: Folders of the runner itself, which no stage may publish into or around.
OWN_FOLDERS = ('state', 'locks', 'src')


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


class Stage(NamedTuple):
    """One stage as declared, defaults filled in; paths use '/' and are relative to the root."""

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

    @property
    def is_python(self) -> bool:
        """True when the processor is a script for the configured interpreter."""
        return self.processor.endswith('.py')


class Pipeline(NamedTuple):
    """A whole definition."""

    name: str
    version: str
    stages: Tuple[Stage, ...]
    python: Optional[str]
    keep_runs: int


class Parsed(NamedTuple):
    """What `parse` found: `pipeline` is None when there is a fault."""

    document: Any
    pipeline: Optional[Pipeline]
    faults: List[Fault]


# -- rules for single strings --------------------------------------------------

def name_complaint(name: str) -> Optional[str]:
    """Return what is wrong with the name of a stage or run, or None."""
    if not _NAME.fullmatch(name):
        return (f'expected a name of at most 100 letters, digits, dots, dashes and underscores '
                f'that starts with a letter or digit, got {describe(name)}')
    if name.endswith('.'):
        return f'a name must not end with a dot, got {describe(name)}'
    if name.split('.', maxsplit=1)[0].lower() in _DEVICES:
        return f'{describe(name)} is the name of a device on Windows'
    return None


def _plain_complaint(text: str) -> Optional[str]:
    if not text.isprintable():
        return f'must not contain control characters, got {describe(text)}'
    return None


def _title_complaint(text: str) -> Optional[str]:
    if len(text) > 200:
        return 'expected at most 200 characters'
    return _plain_complaint(text)


def _inside_complaint(path: str) -> Optional[str]:
    """Return what is wrong with a path that must stay in the workspace, or None."""
    if '\\' in path:
        return f"use '/' between folders, got {describe(path)}"
    if path.startswith('/') or re.match(r'[A-Za-z]:', path):
        return f'expected a path relative to the workspace, got {describe(path)}'
    if '..' in path.split('/'):
        return f"must not leave the workspace, '..' is refused in {describe(path)}"
    if len(path) > LONGEST_PATH or any(len(part.encode('utf-8', 'replace')) > LONGEST_NAME
                                       for part in path.split('/')):
        return (f'expected names of at most {LONGEST_NAME} bytes and a path of at most '
                f'{LONGEST_PATH} characters, got {describe(path)}')
    return _plain_complaint(path)


def _input_complaint(path: str) -> Optional[str]:
    if '..' in path.replace('\\', '/').split('/'):
        return f"'..' is refused in {describe(path)}; use an absolute path or a link"
    return _plain_complaint(path)


def _output_complaint(path: str) -> Optional[str]:
    complaint = _inside_complaint(path)
    if not complaint and is_reserved(posixpath.normpath(path)):
        return f'{describe(path)} is a name of the runner'
    return complaint


def is_reserved(relative: str) -> bool:
    """True for names inside an output folder that belong to the runner.

    >>> is_reserved('.copy.done'), is_reserved('sub/.copy.partial'), is_reserved('.hidden')
    (True, True, False)
    """
    return any(part.startswith('.') and (part.endswith(('.done', '.partial'))
                                         or '.done.corrupt-' in part)
               for part in relative.split('/'))


def _variable_complaint(name: str) -> Optional[str]:
    if not _VARIABLE.fullmatch(name):
        return 'expected a variable name of letters, digits and underscores'
    if name.upper().startswith(RESERVED_PREFIX):
        return f'names that start with {RESERVED_PREFIX} belong to the runner'
    return None


# -- the table -----------------------------------------------------------------

#: How a failed stage is tried again; the defaults of the contract.
RETRY = Record({
    'maxAttempts': Key(Number(1, 1000, whole=True), 3),
    'baseDelaySec': Key(Number(0), 0.5),
    'factor': Key(Number(0, 1000), 2.0),
    'maxDelaySec': Key(Number(0), 60.0),
    'jitter': Key(Number(0, 1), 0.1),
    'unknown': Key(Choice('retry', 'fail'), 'retry'),
})

CHECKPOINT = Record({
    'enabled': Key(Flag(), False),
    'lineInterval': Key(Number(1, whole=True), 50),
})

IDEMPOTENCY = Record({'enabled': Key(Flag(), True)})

#: No limit of a process can be larger than this.
_LARGEST = 2 ** 40

RESOURCES = Record({
    'memoryMB': Key(Number(1, _LARGEST, whole=True), None),
    'cpuSec': Key(Number(1, whole=True), None),
    'fileMB': Key(Number(1, _LARGEST, whole=True), None),
    'cpuCores': Key(Number(1, 4096, whole=True), None),
})

#: Keys that `defaults` may have as well.
_SHARED = {
    'outputs': Key(ListOf(Text(_output_complaint)), []),
    'params': Key(Mapping(AnyJson()), {}),
    'env': Key(Mapping(Text(may_be_empty=True), _variable_complaint), {}),
    'idempotency': Key(IDEMPOTENCY, {}),
    'checkpoint': Key(CHECKPOINT, {}),
    'retry': Key(RETRY, {}),
    'timeoutSec': Key(Number(0, above=True), None),
    'graceSec': Key(Number(0, 3600), 5),
    'cleanEnv': Key(Flag(), False),
    'secretEnv': Key(ListOf(Text(_variable_complaint)), []),
    'resources': Key(RESOURCES, {}),
    'network': Key(Choice('deny', 'allow'), 'deny'),
    'files': Key(Choice('open', 'declared'), 'open'),
}

#: Keys of the contract that later versions bring.
_LATER = ('dependsOn', 'jobs', 'forEach', 'maxWorkers', 'max_workers', 'stopOnFailure',
          'stop_on_failure', 'quota', 'limit')

STAGE = Record(dict({
    'name': Key(Text(name_complaint), required=True),
    'processor': Key(Text(_inside_complaint), required=True),
    'inputs': Key(ListOf(Text(_input_complaint)), []),
    'outputDir': Key(Text(_output_complaint), required=True),
}, **_SHARED), later=_LATER)

PIPELINE = Record({
    '$schema': Key(Text()),
    'name': Key(Text(_title_complaint), required=True),
    'version': Key(Text(_title_complaint), '0'),
    'defaults': Key(Record(_SHARED, later=_LATER), {}),
    'python': Key(Text(_plain_complaint), None),
    'keepRuns': Key(Number(1, whole=True), 200),
    'stages': Key(ListOf(STAGE, at_least=1), required=True),
}, later=('items', 'onSuccess', 'onFailure'))


# -- from JSON to records --------------------------------------------------------

def parse(document: Any) -> Parsed:
    """Check a decoded definition and turn it into records where nothing is wrong."""
    faults: List[Fault] = []
    given = PIPELINE.check(document, (), faults)
    stages = given.get('stages') or []
    faults += _name_clashes(stages) + _folder_faults(stages) + _output_clashes(stages)
    if faults:
        return Parsed(document, None, faults)
    top = PIPELINE.complete(given)
    return Parsed(document, Pipeline(
        name=top['name'], version=top['version'], python=top['python'],
        keep_runs=top['keepRuns'],
        stages=tuple(_stage(index, merge(top['defaults'], stage))
                     for index, stage in enumerate(stages))), faults)


def merge(defaults: Dict[str, Any], given: Dict[str, Any]) -> Dict[str, Any]:
    """Lay what is given over defaults: objects key by key, everything else as a whole.

    >>> merge({'retry': {'factor': 2, 'jitter': 0}}, {'retry': {'factor': 3}})
    {'retry': {'factor': 3, 'jitter': 0}}
    """
    merged = dict(defaults)
    for key, value in given.items():
        both_are_objects = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = dict(merged[key], **value) if both_are_objects else value
    return merged


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
        has_declared_files=stage['files'] == 'declared')


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
        retries_unknown=retry['unknown'] == 'retry')


# -- rules across keys and stages --------------------------------------------------

def _place(index: int, key: str) -> Where:
    return ('stages', index, key)


def _texts(stages: List[Dict[str, Any]], key: str) -> List[Tuple[int, str]]:
    """Return (index, value) of every stage whose `key` passed its own check."""
    return [(index, stage[key]) for index, stage in enumerate(stages) if stage.get(key)]


def _name_clashes(stages: List[Dict[str, Any]]) -> List[Fault]:
    faults = []
    first: Dict[str, Tuple[int, str]] = {}
    for index, name in _texts(stages, 'name'):
        where, other = first.setdefault(name.lower(), (index, name))
        if where != index:
            same = '' if other == name else ' but for the case of its letters'
            faults.append(Fault(_place(index, 'name'),
                                f"'{name}' is the name of stages[{where}] too{same}"))
    return faults


def _folder_faults(stages: List[Dict[str, Any]]) -> List[Fault]:
    """Refuse output folders that would mix with the runner's own files or with code."""
    faults = []
    code = {posixpath.dirname(posixpath.normpath(path))
            for _, path in _texts(stages, 'processor')} - {''}
    for index, raw in _texts(stages, 'outputDir'):
        folder = posixpath.normpath(raw)
        if folder == '.':
            faults.append(Fault(_place(index, 'outputDir'),
                                'must be a folder inside the workspace, not its root'))
            continue
        for other in (*OWN_FOLDERS, *sorted(code)):
            if is_within(folder.lower(), other.lower()) or is_within(other.lower(),
                                                                     folder.lower()):
                owner = "the runner's own folder" if other in OWN_FOLDERS else 'the code in'
                faults.append(Fault(_place(index, 'outputDir'),
                                    f"'{folder}' would mix outputs with {owner} '{other}'; "
                                    f'choose another folder'))
                break
    return faults


def is_within(path: str, folder: str) -> bool:
    """True when `path` is `folder` or lies below it, by name alone.

    >>> is_within('data/work/a.txt', 'data/work'), is_within('data/workshop', 'data/work')
    (True, False)
    """
    return path == folder or path.startswith(folder.rstrip('/') + '/')


def _output_clashes(stages: List[Dict[str, Any]]) -> List[Fault]:
    """Refuse two stages that declare to publish the same path."""
    faults = []
    first: Dict[str, int] = {}
    for index, folder in _texts(stages, 'outputDir'):
        for number, name in enumerate(stages[index].get('outputs') or []):
            if not name or any(sign in name for sign in '*?['):
                continue
            path = posixpath.normpath(posixpath.join(folder, name))
            other = first.setdefault(path.lower(), index)
            if other != index:
                faults.append(Fault(_place(index, 'outputs') + (number,),
                                    f"'{path}' is published by stages[{other}] too"))
    return faults
