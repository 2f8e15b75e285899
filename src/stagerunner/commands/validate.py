"""Check a definition, its config and its processors, and run nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_config
from stagerunner.commands.flags import quota_faults
from stagerunner.definition import Pipeline
from stagerunner.definition import Stage
from stagerunner.definition import parse
from stagerunner.documents import fault_lines
from stagerunner.documents import read_document
from stagerunner.environment import local_folders
from stagerunner.errors import OK
from stagerunner.errors import REFUSED
from stagerunner.errors import DefinitionError
from stagerunner.errors import Unreadable
from stagerunner.files import read_bytes
from stagerunner.imports import MAX_SOURCE_BYTES
from stagerunner.imports import load_program
from stagerunner.launch.system import interpreter_version
from stagerunner.offline import violations
from stagerunner.permits import ConfigRates
from stagerunner.permits import Rates
from stagerunner.schema import Fault
from stagerunner.schema import Where
from stagerunner.schema import printable
from stagerunner.settings import Settings
from stagerunner.tasks import expand_known
from stagerunner.tasks import make_groups
from stagerunner.workspace import Workspace
from stagerunner.workspace import disk_faults

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py validate
  python src/pipeline_runner.py validate --pipeline FOLDER/pipeline.json --json
'''


def add_arguments(parser: Any) -> None:
    """Add the flag that names the settings."""
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print that all is well, or every fault on a line of its own."""
    shown = os.path.basename(arguments.pipeline)
    faults: List[str] = []
    try:
        settings, config = load_config(arguments)
    except DefinitionError as error:
        faults += error.faults
        settings, config = Settings(), ''
    rates = None if faults else ConfigRates(config, settings) if config else Rates()
    stages = 0
    try:
        stages = _check(arguments.pipeline, settings, rates, system.environment)
    except DefinitionError as error:
        faults += error.faults
    if arguments.json:
        for fault in faults:
            system.out.line(json.dumps({'fault': fault}))
        system.out.line(json.dumps({'valid': not faults, 'stages': stages,
                                    'faults': len(faults)}))
    elif faults:
        for fault in faults:
            system.err.line(printable(fault))
    else:
        system.out.line(f'{printable(shown)}: valid: {stages} stage{"" if stages == 1 else "s"}')
    return REFUSED if faults else OK


def _check(path: str, settings: Settings, rates: Optional[Rates],
           inherited: Mapping[str, str]) -> int:
    """Return the number of stages of a definition without fault, or raise `DefinitionError`.

    Without `rates` the config has faults of its own, and no quota is looked up.
    """
    document = read_document(path, '--pipeline')
    root = os.path.dirname(os.path.abspath(path))
    parsed = parse(document, settings.base, settings.per_stage)
    pipeline = parsed.pipeline
    faults = [*parsed.faults, *disk_faults(root, parsed.outline),
              *_processor_faults(root, parsed.outline, inherited)]
    if pipeline is not None and rates:
        faults += quota_faults(pipeline, rates)
    if faults:
        raise DefinitionError(tuple(fault_lines(path, document, faults)))
    assert pipeline is not None
    expand_known(make_groups(Workspace(root, pipeline)))
    interpreter_version(pipeline.python, root, os.path.basename(path))
    return len(pipeline.stages)


def _processor_faults(root: str, pipeline: Pipeline,
                      inherited: Mapping[str, str]) -> List[Fault]:
    """Return what is wrong with the text of Python processors; missing ones are told elsewhere."""
    faults = []
    known: Dict[Tuple[Any, ...], List[str]] = {}
    for where, stage in _units(pipeline):
        folders = local_folders(stage, inherited, root)
        if not stage.is_python:
            continue
        kind = stage.processor, folders, stage.has_network
        if kind not in known:
            # Another interpreter may know words that this one does not.
            complaints = _slips(root, stage.processor) if pipeline.python is None else []
            known[kind] = complaints or _forbidden(root, stage, folders)
        faults += [Fault(where, said) for said in known[kind]]
    return faults


def _slips(root: str, processor: str) -> List[str]:
    """Return why the interpreter is not going to begin with a processor."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            compile(read_bytes(os.path.join(root, processor), MAX_SOURCE_BYTES), processor, 'exec',
                    dont_inherit=True)
    except SyntaxError as error:
        return [f"'{processor}' line {error.lineno}: {error.msg}; it is no Python "
                f'{sys.version_info[0]}.{sys.version_info[1]}']
    except ValueError as error:
        return [f"'{processor}' is no Python: {error}"]
    except (OSError, Unreadable, RecursionError, MemoryError):
        # Not to be read, which is told elsewhere; or not to be judged here.
        pass
    return []


def _forbidden(root: str, stage: Stage, folders: Sequence[str]) -> List[str]:
    """Return the imports that a processor and what it loads must not have."""
    if stage.has_network:
        return []
    try:
        found = violations(load_program(root, stage.processor, folders))
        return [str(violation) for violation in found]
    except Unreadable as error:
        return [f"'{stage.processor}' {error.fault}"]
    except OSError:
        return []


def _units(pipeline: Pipeline) -> Iterator[Tuple[Where, Stage]]:
    for stage in pipeline.stages:
        yield ('stages', stage.position, 'processor'), stage
        for number, job in enumerate(stage.jobs):
            if job.stage.processor != stage.processor:
                yield ('stages', stage.position, 'jobs', number, 'processor'), job.stage
