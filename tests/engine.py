"""The engine inside the process of a test: real files, faked or real processes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence

from fakes import Ending
from fakes import FakeLauncher
from fakes import ListSink
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.events import AttemptEnded
from stagerunner.events import Sink
from stagerunner.events import TaskFailed
from stagerunner.events import TaskPlanned
from stagerunner.events import TaskResumed
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.launch.job import Job
from stagerunner.launch.posix import PosixLauncher
from stagerunner.report.metrics import Metrics
from stagerunner.run import Forecast
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.run import execute
from stagerunner.run import foretell
from stagerunner.selection import Wanted
from stagerunner.state.checkpoint import PipelineCheckpoint
from stagerunner.state.names import StateNames
from stagerunner.state.stage import StageRecords
from stagerunner.workspace import load
from support import Workspace
from support import clean_environment


def copies(job: Job) -> None:
    """Do what `support.COPY` does: copy every input, a folder with all that is in it."""
    for name in job.argv[1:]:
        source = Path(job.cwd, name)
        target = Path(job.env['PIPELINE_OUTPUT_DIR'], source.name)
        if source.is_dir():
            shutil.copytree(str(source), str(target))
        else:
            shutil.copyfile(str(source), str(target))


class Engine:
    """Runs the pipeline of a workspace; keeps what the last run told.

    Without a launcher the processes and the clock are real.
    """

    def __init__(self, workspace: Workspace, launcher: Optional[FakeLauncher] = None):
        self.workspace = workspace
        self.stop = Stop()
        self.clock = launcher.clock if launcher else Clock()
        self.launcher: Any = launcher or PosixLauncher(self.clock, self.stop)
        self.environment: Dict[str, str] = clean_environment(is_measured=False)
        self.python = sys.executable
        self.python_version = '%d.%d' % sys.version_info[:2]
        self.sink = ListSink()
        #: Called when the definition is read and nothing has begun yet.
        self.after_load: Callable[[], Any] = lambda: None
        if launcher:
            launcher.otherwise = Ending(does=copies)

    def close(self) -> None:
        """Give the descriptors back."""
        if isinstance(self.launcher, PosixLauncher):
            self.launcher.selector.close()
        self.stop.close()

    def run(self, run_id: str = 'r1', *, lock_timeout_s: float = 0.0,
            sinks: Sequence[Sink] = (), **asked: Any) -> int:
        """Run the pipeline as it is now and return the exit code.

        `asked` are further fields of the request.
        """
        loaded = load(str(self.workspace.pipeline_file))
        self.after_load()
        names = StateNames(loaded.root)
        self.sink = ListSink()
        return execute(
            Request(loaded, run_id, lock_timeout_s, self.python, self.python_version, **asked),
            Parts(clock=self.clock, stop=self.stop, launcher=self.launcher,
                  sinks=[StageRecords(names, run_id), PipelineCheckpoint(names, self.clock),
                         Metrics(names.metrics(run_id)), *sinks, self.sink],
                  environment=self.environment, spread=lambda: 0.0, pid=os.getpid(),
                  host='here'))

    def plan(self, **wanted: Any) -> Forecast:
        """Say what a run would do; `wanted` are the flags of a partial run."""
        self.sink = ListSink()
        return foretell(
            Request(load(str(self.workspace.pipeline_file)), '', 0.0, self.python,
                    self.python_version, wanted=Wanted(**wanted)),
            Parts(clock=self.clock, stop=self.stop, launcher=self.launcher, sinks=[self.sink],
                  environment=self.environment, spread=lambda: 0.0, pid=os.getpid(),
                  host='here'))

    def planned(self) -> Dict[str, str]:
        """Return what the last plan announced, by task."""
        return {event.task: event.decision for event in self.sink.of(TaskPlanned)}

    # -- what the last run told -----------------------------------------------------

    def ran(self) -> List[str]:
        """Return the tasks of which an attempt was started, one name per attempt."""
        return [event.task for event in self.sink.of(TaskStarted)]

    def skipped(self) -> List[str]:
        """Return the tasks that were skipped."""
        return [event.task for event in self.sink.of(TaskSkipped)]

    def reasons(self) -> List[str]:
        """Return why the first task that ran did."""
        return [str(reason) for reason in self.sink.of(TaskStarted)[0].reasons]

    def warnings(self) -> List[str]:
        """Return the warnings."""
        return [event.message for event in self.sink.of(Warned)]

    def error(self) -> str:
        """Return why the first task that failed did."""
        return str(self.sink.of(TaskFailed)[0].error)

    def attempts(self) -> List[AttemptEnded]:
        """Return the attempts that ended."""
        return self.sink.of(AttemptEnded)

    def resumed_at(self) -> List[int]:
        """Return the lines at which attempts went on."""
        return [event.line_offset for event in self.sink.of(TaskResumed)]
