"""Run a pipeline: the command that needs no name."""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.commands.flags import Loaded
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import add_selection
from stagerunner.commands.flags import audit_key
from stagerunner.commands.flags import load_all
from stagerunner.commands.flags import wanted_of
from stagerunner.commands.flags import workers_of
from stagerunner.commands.listeners import console
from stagerunner.commands.listeners import records
from stagerunner.commands.signals import Listening
from stagerunner.errors import OK
from stagerunner.errors import REFUSED
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.events import Sink
from stagerunner.events import Warned
from stagerunner.fence import AUTO
from stagerunner.fence import OFF
from stagerunner.fence import STRICT
from stagerunner.keys import name_complaint
from stagerunner.launch.system import LAUNCHERS
from stagerunner.launch.system import interpreter_version
from stagerunner.launch.system import make_launcher
from stagerunner.locks import TIMEOUT_S
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.console import JsonLines
from stagerunner.report.dashboard import Dashboard
from stagerunner.report.log import LEVELS
from stagerunner.report.log import LogFile
from stagerunner.report.rehearsed import DryRun
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.run import execute
from stagerunner.run import foretell
from stagerunner.schema import printable
from stagerunner.selection import Wanted
from stagerunner.session import new_run_id
from stagerunner.standing import Standing
from stagerunner.standing import config_of
from stagerunner.standing import stand
from stagerunner.state.checkpoint import SimulatedCheckpoint
from stagerunner.state.checkpoint import is_of_a_run
from stagerunner.state.history import VersionHistory
from stagerunner.state.names import StateNames
from stagerunner.state.run import unfinished_run
from stagerunner.state.stage import StageRecords

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Optional


def add_arguments(parser: Any) -> None:
    """Add the flags of a run."""
    parser.add_argument('--run-id', metavar='ID', help='name of this run in state/ '
                        '(default: time and process id, so that ids sort by time)')
    parser.add_argument('--max-workers', metavar='N',
                        help='so many tasks at once, at most (default: PIPELINE_MAX_WORKERS, '
                        'else 1)')
    parser.add_argument('--keep-going', action='store_true',
                        help='after a failure go on with everything that does not need what '
                        'failed')
    parser.add_argument('--resume', action='store_true',
                        help='go on with the last run that was not finished, under its id')
    parser.add_argument('--dry-run', action='store_true',
                        help='say what would be done and why, and change nothing')
    parser.add_argument('--enable-experimental', action='store_true',
                        help='work in parallel, with the workers of the config or else 4')
    add_config(parser)
    add_selection(parser)
    parser.add_argument('--lock-timeout', metavar='SEC', type=float, default=TIMEOUT_S,
                        help='how long to wait for a stage that another run works on '
                        '(default: %(default)g)')
    add_ways(parser)


def add_ways(parser: Any) -> None:
    """Add the flags that say how processors are started, and who hears of it."""
    parser.add_argument('--isolation', choices=(AUTO, STRICT, OFF), default=AUTO,
                        help='keep processors from the network: as well as this host can '
                        '(auto), by the kernel or not at all (strict), not (off); the scan of '
                        'imports always happens (default: %(default)s)')
    parser.add_argument('--launcher', choices=LAUNCHERS, default=LAUNCHERS[0],
                        help='start Python processors from a warm interpreter where that is the '
                        'same (warm), or each afresh (spawn) (default: %(default)s)')
    parser.add_argument('--checkpoint-file', metavar='FILE',
                        help='keep the file of all stages and items here (default: that of the '
                        'config, else state/pipeline_checkpoint.json)')
    parser.add_argument('--log-file', metavar='FILE',
                        help='append what happens to this file, a line with time and level each')
    parser.add_argument('--log-level', choices=LEVELS,
                        help='leave out of it what matters less (default: that of the config, '
                        'else INFO)')
    parser.add_argument('--quiet', action='store_true',
                        help='print failures, retries and the result only')


def main(arguments: Any, system: Any) -> int:
    """Wire the real parts together and run."""
    clock = Clock()
    stop = Stop()
    launcher = make_launcher(clock, stop, arguments.launcher, getattr(arguments, 'begun', None))
    try:
        return _run(arguments, system, Parts(
            clock=clock, stop=stop, launcher=launcher, sinks=(), environment=system.environment,
            spread=system.spread, pid=system.pid, host=system.host))
    finally:
        # What was begun early is not needed by a run that is refused.
        launcher.close()
        stop.close()


def _run(arguments: Any, system: Any, parts: Parts) -> int:
    clock = parts.clock
    run_id = (new_run_id(clock, system.pid) if arguments.run_id is None
              else arguments.run_id)
    complaint = name_complaint(run_id)
    if complaint:
        raise UsageError(f'--run-id: {complaint}')
    if not 0 <= arguments.lock_timeout < 1e9:
        raise UsageError(f'--lock-timeout: expected seconds of at least 0, '
                         f'got {arguments.lock_timeout:g}')
    standing = _standing(arguments, system, clock)
    loaded = load_all(arguments, standing)
    workspace = loaded.workspace
    python, version = interpreter_version(workspace.pipeline.python, workspace.root,
                                          os.path.basename(arguments.pipeline))
    names = StateNames(workspace.root)
    unfinished = (unfinished_run(names, workspace.root, arguments.run_id) if arguments.resume
                  else None)
    if arguments.resume and unfinished is None:
        system.err.line(f'note: there is no unfinished run to go on with; this is run {run_id}')
    run_id = unfinished or run_id
    many = workers_of(arguments, system, loaded)
    for warning in many.warnings:
        system.err.line(f'warning: {warning}')
    request = Request(workspace, run_id, arguments.lock_timeout, python, version,
                      arguments.isolation, many.n, arguments.keep_going, wanted_of(arguments),
                      loaded.rates, loaded.settings.circuit_breaker, unfinished is not None,
                      standing if workspace.pipeline.python is None else None, loaded.groups,
                      audit_key(None, system.environment, loaded.settings, workspace.root))
    if arguments.dry_run or loaded.settings.dry_run:
        return _rehearse(request, parts, arguments, system, loaded)
    return carry_out(request, parts._replace(
        sinks=sinks_of(arguments, system, loaded, run_id, clock)), system)


def carry_out(request: Request, parts: Parts, system: Any) -> int:
    """Run while signals are taken as requests to end, and return the exit code."""
    try:
        with Listening(parts.stop):
            return execute(request, parts)
    except StateError as error:
        if not parts.stop.is_requested:
            raise
        system.err.line(str(error))
        return 128 + parts.stop.signum


def _standing(arguments: Any, system: Any, clock: Clock) -> Optional[Standing]:
    """Return what the index knows: for runs of all stages, each by its own key."""
    if arguments.dry_run or wanted_of(arguments) != Wanted():
        return None
    if hasattr(arguments, 'standing'):
        # Looked at already, for a run without work.
        found: Optional[Standing] = arguments.standing
        return found
    return stand(arguments.pipeline, config_of(arguments.pipeline, arguments.config),
                 system.environment, clock.now())


def _rehearse(request: Request, parts: Parts, arguments: Any, system: Any,
              loaded: Loaded) -> int:
    """Say what the run would do; exit as one that was refused when some of it could only fail."""
    sinks: List[Sink] = [JsonLines(system.out) if arguments.json
                         else DryRun(system.out, system.err)]
    if arguments.log_file:
        sinks.append(_log_file(arguments, loaded, parts.clock))
        sinks[-1].receive(Warned('', 'DRY-RUN MODE ENABLED'))
    if arguments.checkpoint_file and is_of_a_run(arguments.checkpoint_file):
        system.err.line(f'warning: {printable(arguments.checkpoint_file)}: is the checkpoint of a '
                        f'real run and is left as it is; name another file')
    elif arguments.checkpoint_file:
        stages = request.workspace.pipeline.stages
        sinks.append(SimulatedCheckpoint(
            os.path.realpath(str(arguments.checkpoint_file)), request.run_id, parts.clock,
            workers=request.workers,
            collections={stage.name: stage.for_each for stage in stages if stage.for_each}))
    forecast = foretell(request, parts._replace(sinks=sinks))
    for sink in sinks:
        sink.close()
    return REFUSED if forecast.troubles else OK


def _log_file(arguments: Any, loaded: Loaded, clock: Clock) -> LogFile:
    return LogFile(arguments.log_file, arguments.log_level or loaded.settings.log_level, clock)


def _checkpoint_file(arguments: Any, loaded: Loaded) -> str:
    """Return the path of the checkpoint file: of a flag from here, of the config from the root.

    One that is reached through a link is written where that leads, as an editor
    would: the link is somebody's, and stays.
    """
    if arguments.checkpoint_file:
        return os.path.realpath(str(arguments.checkpoint_file))
    inside = loaded.settings.checkpoint_file
    return os.path.realpath(os.path.join(loaded.workspace.root, inside)) if inside else ''


def sinks_of(arguments: Any, system: Any, loaded: Loaded, run_id: str,
           clock: Clock) -> List[Sink]:
    """Return who listens; what is printed comes after what is written."""
    names = StateNames(loaded.workspace.root)
    more: List[Sink] = []
    if loaded.settings.version_history_path:
        more.append(VersionHistory(loaded.workspace.root, loaded.settings.version_history_path,
                                   loaded.workspace.pipeline.version))
    if arguments.log_file:
        more.append(_log_file(arguments, loaded, clock))
    return [StageRecords(names, run_id),
            *records(names, run_id, clock, _checkpoint_file(arguments, loaded),
                     resumes=arguments.resume),
            *more, Dashboard(clock, lambda: system.load('report.watched').Page(
                loaded.workspace, run_id, clock)),
            console(arguments, system, clock, names)]
