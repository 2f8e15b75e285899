"""What a processor finds in its environment."""

from __future__ import annotations

import json
import os

from stagerunner.definition import Stage
from stagerunner.keys import RESERVED_PREFIX
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.searchpath import SOURCE_FOLDER
from stagerunner.searchpath import python_path

if TYPE_CHECKING:
    from typing import Dict
    from typing import Mapping
    from typing import Optional
    from typing import Tuple

#: What a stage with `cleanEnv` still inherits (contract, env).
_KEPT = ('PATH', 'HOME', 'LANG', 'TMPDIR')
_KEPT_ON_WINDOWS = ('SYSTEMROOT', 'PATHEXT', 'COMSPEC', 'TEMP', 'TMP', 'USERPROFILE')


#: A line of a secret that is shorter (a brace, a word) tells nothing by itself.
_SHORTEST_LINE = 8


class Given(NamedTuple):
    """What one attempt is told: all of it ends up in `PIPELINE_*` variables."""

    run_id: str
    task: str
    stage: Stage
    attempt: int
    line_offset: int
    key: str
    root: str
    output_dir: str
    published_dir: str
    progress_path: str
    retry_path: str
    temporary_dir: Optional[str] = None
    job: str = ''
    #: The id of an item and the path of its file.
    item: Optional[Tuple[str, str]] = None


def variables(given: Given, inherited: Mapping[str, str]) -> Dict[str, str]:
    """Return the whole environment of an attempt.

    Inherited `PIPELINE_*` variables are those of somebody else's run and are
    dropped; the stage's own `env` wins over what is inherited.  Python
    processors print UTF-8, also on Windows, where a pipe would make it the
    code page of the machine, in which not every text can be printed.
    """
    env = dict(_passed(inherited, given.stage))
    if given.temporary_dir:
        env['TMPDIR'] = given.temporary_dir
    env.update(_declared(given.stage))
    if given.stage.is_python:
        env['PYTHONPATH'] = python_path(env.get('PYTHONPATH'))
        if os.name == 'nt':
            env.setdefault('PYTHONIOENCODING', 'utf-8')
    env.update(_pipeline_variables(given))
    return env


class Inherited(dict):  # type: ignore[type-arg]
    """Variables of the runner that do not change; what of them is passed on is found out once."""

    def __init__(self, variables: Mapping[str, str]):
        super().__init__(variables)
        self.passed: Dict[Tuple[bool, Tuple[str, ...]], Dict[str, str]] = {}


def _passed(inherited: Mapping[str, str], stage: Stage) -> Dict[str, str]:
    known = getattr(inherited, 'passed', {})
    kind = stage.has_clean_env, tuple(stage.secret_env)
    if kind not in known:
        known[kind] = {name: value for name, value in inherited.items()
                       if _is_passed(name, stage)}
    return known[kind]  # type: ignore[no-any-return]


def of_hook(run_id: str, state: str, root: str, inherited: Mapping[str, str], *,
            is_python: bool) -> Dict[str, str]:
    """Return the environment of what is called at the end of a run."""
    env = {name: value for name, value in inherited.items()
           if not name.upper().startswith(RESERVED_PREFIX)}
    if is_python:
        env['PYTHONPATH'] = python_path(env.get('PYTHONPATH'))
        if os.name == 'nt':
            env.setdefault('PYTHONIOENCODING', 'utf-8')
    return dict(env, PIPELINE_RUN_ID=run_id, PIPELINE_RUN_STATE=state, PIPELINE_ROOT=root)


def _is_passed(name: str, stage: Stage) -> bool:
    """True for an inherited variable that a stage may see."""
    if name.upper().startswith(RESERVED_PREFIX):
        return False
    kept = _KEPT + (_KEPT_ON_WINDOWS if os.name == 'nt' else ())
    return not stage.has_clean_env or name in kept or name in stage.secret_env


def secrets(stage: Stage, inherited: Mapping[str, str]) -> Tuple[bytes, ...]:
    """Return the values of a stage that must not be written anywhere, longest first.

    Of a value of several lines each is one too: who prints by line prints them apart.
    """
    values = {os.fsencode(inherited[name]) for name in stage.secret_env if inherited.get(name)}
    values |= {line for value in values for line in value.splitlines()
               if len(line) >= _SHORTEST_LINE}
    return tuple(sorted(values, key=len, reverse=True))


def _declared(stage: Stage) -> Dict[str, str]:
    """Return a stage's own variables; Windows knows all names in capitals only."""
    if os.name == 'nt':
        return {name.upper(): value for name, value in stage.env.items()}
    return stage.env


def _pipeline_variables(given: Given) -> Dict[str, str]:
    unit = {}
    if given.job:
        unit['PIPELINE_JOB_NAME'] = given.job
    if given.item is not None:
        unit['PIPELINE_ITEM_ID'], unit['PIPELINE_ITEM_PATH'] = given.item
    return {
        **unit,
        'PIPELINE_RUN_ID': given.run_id,
        'PIPELINE_STAGE_NAME': given.stage.name,
        'PIPELINE_OUTPUT_DIR': given.output_dir,
        'PIPELINE_PUBLISHED_DIR': given.published_dir,
        'PIPELINE_LINE_OFFSET': str(given.line_offset),
        'PIPELINE_LINE_INTERVAL': str(given.stage.checkpoint.line_interval),
        'PIPELINE_PROGRESS_PATH': given.progress_path,
        'PIPELINE_PARAMS': json.dumps(given.stage.params, sort_keys=True),
        'PIPELINE_ATTEMPT': str(given.attempt),
        'PIPELINE_RETRY_PATH': given.retry_path,
        'PIPELINE_IDEMPOTENCY_KEY': given.key,
        'PIPELINE_ROOT': given.root,
    }


def local_folders(stage: Stage, inherited: Mapping[str, str], root: str) -> tuple:  # type: ignore[type-arg]
    """Return the folders of the workspace from which a Python processor may load modules."""
    path = _declared(stage).get('PYTHONPATH', inherited.get('PYTHONPATH', ''))
    if not path:
        return ()
    inside, own = os.path.realpath(root), os.path.realpath(SOURCE_FOLDER)
    found = []
    # An empty entry is the working folder, which is the workspace.
    for entry in path.split(os.pathsep):
        folder = os.path.realpath(os.path.join(root, entry))
        if (folder + os.sep).startswith(inside + os.sep) and folder != own:
            found.append(folder)
    return tuple(found)
