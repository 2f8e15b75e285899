"""The commands that a pipeline wants called at the end of a run.

A hook gets the figures of the run as JSON on its stdin.  It is started as
processors are, inside the fence, by the launcher of the run.  How it ends is
told and written down, and changes nothing of how the run ended.
"""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.definition import Hook
from stagerunner.environment import of_hook
from stagerunner.errors import StageError
from stagerunner.errors import Unreadable
from stagerunner.events import Event
from stagerunner.events import HookEnded
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TasksSkipped
from stagerunner.events import Warned
from stagerunner.fence import OFF
from stagerunner.files import make_folder
from stagerunner.files import write_json
from stagerunner.imports import load_program
from stagerunner.launch.job import INTERRUPTED
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.offline import violations
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.report.metrics import Metrics
from stagerunner.session import Farewell
from stagerunner.state.names import StateNames
from stagerunner.state.run import COMPLETED
from stagerunner.workspace import Workspace

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import Mapping
    from typing import Optional
    from typing import Tuple


class Caller(NamedTuple):
    """What a hook is started with."""

    run_id: str
    python: str
    isolation: str
    launcher: Launcher
    clock: Clock
    stop: Stop
    environment: Mapping[str, str]


class Hooks(Farewell):
    """Gathers the figures of a run, and calls `onSuccess` or `onFailure` with them."""

    def __init__(self, workspace: Workspace, caller: Caller):
        self.root = workspace.root
        self.pipeline = workspace.pipeline
        self.caller = caller
        self.names = StateNames(workspace.root)
        self.figures = Metrics('')
        self.started_at: Optional[str] = None

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.started_at = event.at
        self.figures.receive(event)

    def receive_skips(self, event: TasksSkipped) -> None:
        self.figures.receive_skips(event)

    def call(self, ended: RunEnded, exit_code: int, first_failure: Optional[str],
             emit: Callable[[Event], None]) -> Optional[Dict[str, Any]]:
        """Call the hook for this end, if there is one and the run began, and wait for it."""
        name, hook = (('onSuccess', self.pipeline.on_success) if ended.state == COMPLETED
                      else ('onFailure', self.pipeline.on_failure))
        if hook is None or self.started_at is None:
            return None
        summary = dict(self.figures.summary(ended), hook=name, version=self.pipeline.version,
                       startedAt=self.started_at, endedAt=ended.at, exitCode=exit_code,
                       firstFailure=first_failure)
        del summary['auditHead']
        told = self._run(name, hook, summary)
        emit(told)
        if told.error:
            printed = f'; what it printed is in {told.log}' if told.log else ''
            emit(Warned('', f'{name}: {told.error}{printed}'))
        return {'name': name, 'exitCode': told.exit_code, 'error': told.error,
                'durationSec': told.duration_s, 'log': told.log}

    def _run(self, name: str, hook: Hook, summary: Dict[str, Any]) -> HookEnded:
        clock = self.caller.clock
        try:
            job = self._job(name, hook, summary)
        except (StageError, Unreadable, OSError) as error:
            return HookEnded(name, stamp(clock.now()), 0.0, error=str(error))
        ended = self._wait(job)
        log = self.names.relative(ended.log_path) if ended.log_path else None
        return HookEnded(name, stamp(clock.now()), round(ended.duration_s, 6),
                         None if ended.start_error else ended.exit_code,
                         _error_of(ended, hook) or None, log)

    def _job(self, name: str, hook: Hook, summary: Dict[str, Any]) -> Job:
        """Return the job of a hook, whose stdin is a file with the figures."""
        caller, pinned = self.caller, self._pinned(hook)
        given = self.names.hook_input(caller.run_id, name)
        make_folder(os.path.dirname(given))
        write_json(given, summary, durable=False)
        return Job(
            task=name, argv=(_program(hook), *hook.command[1:]), cwd=self.root,
            env=of_hook(caller.run_id, str(summary['state']), self.root, caller.environment,
                        is_python=hook.is_python),
            log_path=self.names.hook_log(caller.run_id, name),
            python=caller.python if hook.is_python else None, pinned=pinned,
            timeout_s=hook.timeout_s, stdin=given,
            is_fenced=not hook.has_network and caller.isolation != OFF)

    def _pinned(self, hook: Hook) -> Tuple[Tuple[str, str], ...]:
        """Return the sources of a script, which must import nothing that reaches a network."""
        if not hook.is_python:
            return ()
        program = load_program(self.root, hook.command[0])
        found = [] if hook.has_network else violations(program)
        if found:
            raise found[0]
        return tuple((source.absolute, source.digest) for source in program.sources)

    def _wait(self, job: Job) -> Exit:
        """Run a job to its end; who asks for the run to end now asks it."""
        launcher, stop = self.caller.launcher, self.caller.stop
        asked = stop.count
        try:
            ended = launcher.start(job)
            while ended is None:
                found = launcher.wait(None)
                ended = found[0] if found else None
                if ended is None and stop.count > asked:
                    asked = stop.count
                    launcher.stop_all(INTERRUPTED, at_once=asked > 1)
            return ended
        finally:
            launcher.close()


def _program(hook: Hook) -> str:
    """Return what is to be started: a path, or what the search path has under a name."""
    if hook.is_path:
        return hook.command[0]
    import shutil

    found = shutil.which(hook.command[0])
    if found is None:
        raise FileNotFoundError(f'{hook.command[0]} is not found on PATH')
    return os.path.abspath(found)


def _error_of(ended: Exit, hook: Hook) -> str:
    """Return how a hook failed; empty if it did not."""
    if ended.stopped == TIMED_OUT:
        return f'timed out after {hook.timeout_s:g}s'
    if ended.start_error:
        return f'{hook.command[0]} cannot be started: {ended.start_error}'
    if ended.exit_code == 0:
        return ''
    what = (f'killed by signal {-ended.exit_code}' if ended.exit_code < 0
            else f'exit code {ended.exit_code}')
    return f'{what}: {ended.stderr_lines[-1]}' if ended.stderr_lines else what
