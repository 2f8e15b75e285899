"""Hold published outputs against their manifests, or do a stage again and compare."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.commands.flags import load_config
from stagerunner.commands.signals import Listening
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.events import stage_of
from stagerunner.facts import Observer
from stagerunner.fence import AUTO
from stagerunner.files import remove_tree
from stagerunner.fingerprint import Digests
from stagerunner.holdings import Holding
from stagerunner.holdings import find_holdings
from stagerunner.inventory import CHANGED
from stagerunner.inventory import MISSING
from stagerunner.inventory import UNKNOWN
from stagerunner.inventory import Deviation
from stagerunner.inventory import check
from stagerunner.inventory import unknown
from stagerunner.launch.system import interpreter_version
from stagerunner.launch.system import make_launcher
from stagerunner.ledger import Ledger
from stagerunner.placeholders import fixed_folder
from stagerunner.recheck import Means
from stagerunner.recheck import Recheck
from stagerunner.recheck import Redone
from stagerunner.schema import no_stage
from stagerunner.schema import printable
from stagerunner.state.marker import Output
from stagerunner.state.names import StateNames
from stagerunner.tasks import Task
from stagerunner.tasks import make_groups
from stagerunner.workspace import Workspace
from stagerunner.workspace import read_definition

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py verify
  python src/pipeline_runner.py verify --deep stage_upper
'''

#: People who wait are told how far it is this often, in seconds.
_TELL_S = 2.0


def add_arguments(parser: Any) -> None:
    """Add the flags of a verification."""
    parser.add_argument('stage', metavar='STAGE', nargs='?',
                        help='look at the outputs of this stage, or of one of its tasks: '
                        'stage[item] (default: of all stages)')
    parser.add_argument('--deep', action='store_true',
                        help='do STAGE again in a scratch folder (in TMPDIR) with the inputs that '
                        'it had, and compare byte by byte')
    parser.add_argument('--strict', action='store_true',
                        help='exit with 1 also for files that no manifest has')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print what is not as it was published; exit code 1 when something is changed or missing."""
    if not arguments.deep:
        return _verify(arguments, system)
    if not arguments.stage:
        raise UsageError('--deep: name a stage, or one of its tasks')
    return _verify_deeply(arguments, system)


# -- against manifests --------------------------------------------------------------

def _verify(arguments: Any, system: Any) -> int:
    settings, _ = load_config(arguments)
    workspace = read_definition(arguments.pipeline, settings)
    faults: List[str] = []
    holdings = find_holdings(workspace.root, StateNames(workspace.root), faults)
    wanted = _wanted(workspace, holdings, arguments.stage)
    counts = dict.fromkeys((CHANGED, MISSING, UNKNOWN), 0)
    progress, n_outputs = _Progress(system), 0
    for deviation in _deviations(workspace, holdings, wanted):
        n_outputs += deviation is None or deviation.kind != UNKNOWN
        progress.tell(n_outputs)
        if deviation is not None:
            counts[deviation.kind] += 1
            system.out.line(json.dumps(_as_object(deviation)) if arguments.json
                            else printable(_as_text(deviation)))
    for fault in faults:
        system.err.line(f'warning: {printable(fault)}')
    is_bad = bool(faults or counts[CHANGED] or counts[MISSING]
                  or (arguments.strict and counts[UNKNOWN]))
    n_tasks = sum(bool(holding.outputs) for holding in wanted)
    if arguments.json:
        system.out.line(json.dumps(dict(counts, verified=n_outputs, tasks=n_tasks,
                                        unreadable=len(faults), ok=not is_bad)))
    else:
        found = ', '.join(f'{count} {kind}' for kind, count in counts.items() if count)
        whole = 'all as published' if n_tasks else 'nothing is published'
        system.out.line(f"{n_outputs} output{'s' * (n_outputs != 1)} of {n_tasks} "
                        f"task{'s' * (n_tasks != 1)} verified: {found or whole}")
    return FAILED if is_bad else OK


def _wanted(workspace: Workspace, holdings: List[Holding], name: Optional[str]) -> List[Holding]:
    """Return what is to be looked at, or raise `UsageError` for a stage that there never was."""
    if name is None:
        return holdings
    found = [holding for holding in holdings if name in (holding.task, stage_of(holding.task))]
    stages = [stage.name for stage in workspace.pipeline.stages]
    if not found and name not in stages:
        _refuse(name, stages)
    return found


def _refuse(name: str, stages: List[str]) -> None:
    if stage_of(name) in stages:
        raise UsageError(f"stage '{stage_of(name)}' has no task '{printable(name)}'")
    raise UsageError(no_stage(name, stages))


def _deviations(workspace: Workspace, holdings: List[Holding],
                wanted: List[Holding]) -> Iterator[Optional[Deviation]]:
    for holding in wanted:
        yield from check(workspace.root, holding)
    folders = [holding.output_dir for holding in wanted]
    if wanted is holdings:
        folders += [fixed_folder(unit.output_dir) for stage in workspace.pipeline.stages
                    for unit in (stage, *(job.stage for job in stage.jobs))]
    yield from unknown(workspace.root, holdings, sorted(set(folders)))


def _as_text(deviation: Deviation) -> str:
    if deviation.kind == UNKNOWN:
        return f'{deviation.path}: unknown: no manifest has it'
    said = f'{deviation.path}: {deviation.kind} ({deviation.task}'
    if deviation.fault:
        return f'{said}: {deviation.fault})'
    if deviation.found is None:
        return f'{said})'
    return (f'{said}: {_about(deviation.recorded)} was published, '
            f'{_about(deviation.found)} is there)')


def _about(output: Optional[Output]) -> str:
    assert output is not None
    if output.link is not None:
        return f'a link to {output.link!r}'
    return f'{output.size} bytes {output.digest[:12]}…'


def _as_object(deviation: Deviation) -> Dict[str, Any]:
    return {'path': deviation.path, 'state': deviation.kind, 'task': deviation.task or None,
            'recorded': _manifest_entry(deviation.recorded),
            'found': _manifest_entry(deviation.found), 'fault': deviation.fault or None}


def _manifest_entry(output: Optional[Output]) -> Optional[Dict[str, Any]]:
    return None if output is None else {'size': output.size, 'sha256': output.digest,
                                        'link': output.link}


class _Progress:
    """Tells people at a terminal now and then how far a long verification is."""

    def __init__(self, system: Any):
        self.system = system
        self.clock = Clock()
        self.next_s = self.clock.monotonic() + _TELL_S

    def tell(self, n_outputs: int) -> None:
        """Print a line, if it is time for one."""
        if self.system.err.is_terminal and self.clock.monotonic() >= self.next_s:
            self.system.err.line(f'note: {n_outputs} outputs so far')
            self.next_s = self.clock.monotonic() + _TELL_S


# -- by doing it again ---------------------------------------------------------------

def _verify_deeply(arguments: Any, system: Any) -> int:
    import tempfile

    loaded = load_all(arguments)
    workspace = loaded.workspace
    tasks = _tasks(workspace, arguments.stage)
    python, version = interpreter_version(workspace.pipeline.python, workspace.root,
                                          os.path.basename(arguments.pipeline))
    clock, stop = Clock(), Stop()
    digests = Digests(StateNames(workspace.root).index(), clock)
    digests.load()
    ledger = Ledger(workspace.root)
    launcher = make_launcher(clock, stop)
    scratch = tempfile.mkdtemp(prefix='stagerunner-verify-')
    recheck = Recheck(workspace.root, Means(
        Observer(workspace.root, digests, version, system.environment, ledger), launcher, stop,
        python, system.environment, AUTO, scratch))
    is_bad = not tasks
    try:
        with Listening(stop):
            for task in tasks:
                found = recheck.redo(task)
                if stop.is_requested:
                    return 128 + stop.signum
                is_bad |= bool(found.error or found.differences)
                _tell(found, arguments, system)
    finally:
        launcher.close()
        ledger.close()
        stop.close()
        remove_tree(scratch)
    if not tasks:
        system.err.line(f'{printable(arguments.stage)}: no tasks')
    return FAILED if is_bad else OK


def _tasks(workspace: Workspace, name: str) -> List[Task]:
    stages = [stage.name for stage in workspace.pipeline.stages]
    group = next((group for group in make_groups(workspace)
                  if group.stage.name == stage_of(name)), None)
    if group is None:
        _refuse(name, stages)
    assert group is not None
    group.expand()
    found = [task for task in group if name in (task.name, group.stage.name)]
    if not found and name != group.stage.name:
        _refuse(name, stages)
    return found


def _tell(found: Redone, arguments: Any, system: Any) -> None:
    if arguments.json:
        system.out.line(json.dumps({
            'task': found.task, 'equal': not (found.error or found.differences),
            'error': found.error or None, 'outputs': found.n_outputs,
            'differences': [difference._asdict() for difference in found.differences]}))
        return
    for difference in found.differences:
        system.out.line(printable(str(difference)))
    if found.error:
        system.out.line(f'{found.task}: {printable(found.error)}')
        for line in found.tail:
            system.err.line(f'  | {printable(line)}')
    elif not found.differences:
        system.out.line(f'{found.task}: done again, {found.n_outputs} '
                        f"output{'s' * (found.n_outputs != 1)} equal")
