"""Check a definition, its config and its processors, and run nothing."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Mapping
from typing import Optional
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
              *_import_faults(root, parsed.outline, inherited)]
    if pipeline is not None and rates:
        faults += quota_faults(pipeline, rates)
    if faults:
        raise DefinitionError(tuple(fault_lines(path, document, faults)))
    assert pipeline is not None
    expand_known(make_groups(Workspace(root, pipeline)))
    interpreter_version(pipeline.python, root, os.path.basename(path))
    return len(pipeline.stages)


def _import_faults(root: str, pipeline: Pipeline, inherited: Mapping[str, str]) -> List[Fault]:
    """Return the forbidden imports of all processors; one that is not there is told elsewhere."""
    faults = []
    known: Dict[Tuple[str, Any], List[str]] = {}
    for where, stage in _units(pipeline):
        folders = local_folders(stage, inherited, root)
        if not stage.is_python or stage.has_network:
            continue
        if (stage.processor, folders) not in known:
            try:
                found = violations(load_program(root, stage.processor, folders))
                known[stage.processor, folders] = [str(violation) for violation in found]
            except Unreadable as error:
                known[stage.processor, folders] = [f"'{stage.processor}' {error.fault}"]
            except OSError:
                known[stage.processor, folders] = []
        faults += [Fault(where, said) for said in known[stage.processor, folders]]
    return faults


def _units(pipeline: Pipeline) -> Iterator[Tuple[Where, Stage]]:
    for stage in pipeline.stages:
        yield ('stages', stage.position, 'processor'), stage
        for number, job in enumerate(stage.jobs):
            if job.stage.processor != stage.processor:
                yield ('stages', stage.position, 'jobs', number, 'processor'), job.stage
