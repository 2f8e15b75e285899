"""Stand-ins with a state of their own for the seams: clock, launcher, sink, performer.

None of them checks how it is called; tests look at what is recorded here and
at the real files beside it.  Time passes only where a test or a wait lets it.
"""

from __future__ import annotations

import os
from typing import Any
from typing import Callable
from typing import Container
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Fence
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.result import BUSY
from stagerunner.result import DONE
from stagerunner.result import STOPPED
from stagerunner.result import THROTTLED
from stagerunner.result import Performer
from stagerunner.result import Result


class FakeClock(Clock):
    """A clock that a test turns by hand; it starts on 2023-11-14T22:13:20."""

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 1000.0):
        self.wall_s = now
        self.monotonic_s = monotonic

    def now(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_s += seconds
        self.monotonic_s += seconds

    def set_wall(self, seconds: float) -> None:
        """Do what a person does who sets the clock: durations do not notice."""
        self.wall_s = seconds


class ListSink(Sink):
    """Keeps every event; `error`, when given, is raised for events of the kind `fails_on`."""

    def __init__(self, fails_on: Optional[type] = None, error: Optional[Exception] = None):
        self.events: List[Event] = []
        self.fails_on = fails_on
        self.error = error

    def receive(self, event: Event) -> None:
        self.events.append(event)
        if self.error and self.fails_on and isinstance(event, self.fails_on):
            raise self.error

    def __call__(self, event: Event) -> None:
        """Stand in for `emit` as well."""
        self.receive(event)

    def of(self, kind: type) -> List[Any]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self) -> List[str]:
        """Return the names of what happened, in order."""
        return [type(event).__name__ for event in self.events]


class Ending(NamedTuple):
    """How a faked job goes: it works (`does`) at once, and ends `after_s` seconds later.

    A job that `ignores_stop` ends only when it is killed.
    """

    exit_code: int = 0
    stderr: Tuple[str, ...] = ()
    stdout: Tuple[str, ...] = ()
    after_s: float = 0.0
    does: Optional[Callable[[Job], None]] = None
    start_error: str = ''
    ignores_stop: bool = False


def writes(files: Dict[str, Any]) -> Callable[[Job], None]:
    """Return work for an `Ending`: put files into the folder that the job may write to."""
    def work(job: Job) -> None:
        for name, content in files.items():
            path = os.path.join(job.env['PIPELINE_OUTPUT_DIR'], name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as output:
                output.write(content if isinstance(content, bytes) else content.encode('utf-8'))
    return work


class _Running(NamedTuple):
    job: Job
    ending: Ending
    started: float
    due: float


class FakeLauncher(Launcher):
    """Starts no process: a job ends as the test said (`will`), else at once with exit code 0.

    Waiting turns the clock to whatever comes first: the end of a job, its
    time-out, a happening asked for with `later`, or the end of the wait.
    """

    def __init__(self, clock: Optional[FakeClock] = None):
        self.clock = clock or FakeClock()
        #: Every job that was to be started, in order.
        self.jobs: List[Job] = []
        #: Every call of `stop_all`, as (why, at_once).
        self.stops: List[Tuple[str, bool]] = []
        self.running: Dict[str, _Running] = {}
        #: Why a running job is being stopped: name of the task to reason.
        self.stopping: Dict[str, str] = {}
        self.script: Dict[str, List[Ending]] = {}
        self.happenings: List[Tuple[float, Callable[[], None]]] = []
        #: The fence that it claims to have.
        self.surrounding = Fence(('fake',), True, 1)
        #: Why it cannot look at that.
        self.no_fence: Optional[OSError] = None
        #: What attempts do that have no script.
        self.otherwise = Ending()

    def will(self, task: str, *endings: Ending) -> FakeLauncher:
        """Script the next attempts of a task; what comes after them succeeds."""
        self.script.setdefault(task, []).extend(endings)
        return self

    def later(self, after_s: float, call: Callable[[], None]) -> FakeLauncher:
        """Call `call` when a wait has turned the clock so far; that wait then returns."""
        self.happenings.append((self.clock.monotonic() + after_s, call))
        return self

    def jobs_of(self, task: str) -> List[Job]:
        """Return the jobs that were started for one task."""
        return [job for job in self.jobs if job.task == task]

    def fence(self, python: Optional[str], env: Dict[str, str]) -> Fence:
        if self.no_fence is not None:
            raise self.no_fence
        return self.surrounding

    def start(self, job: Job) -> Optional[Exit]:
        assert job.task not in self.running, f'{job.task} is running already'
        self.jobs.append(job)
        script = self.script.get(job.task)
        ending = script.pop(0) if script else self.otherwise
        if ending.start_error:
            return Exit(job.task, 127, 0.0, (), (), '', start_error=ending.start_error)
        if ending.does:
            ending.does(job)
        now = self.clock.monotonic()
        self.running[job.task] = _Running(job, ending, now, now + ending.after_s)
        return None

    def wait(self, timeout_s: Optional[float]) -> List[Exit]:
        now = self.clock.monotonic()
        moments = [moment for moment, _ in self.happenings]
        moments += [self._next_moment(running) for running in self.running.values()]
        if timeout_s is not None:
            moments.append(now + timeout_s)
        assert moments, 'waiting for ever: nothing runs and nothing is going to happen'
        self.clock.advance(max(0.0, min(moments) - now))
        self._let_happen()
        return [self._end(running) for running in list(self.running.values())
                if self.clock.monotonic() >= self._next_moment(running)]

    def stop_all(self, why: str, *, at_once: bool = False,
                 only: Optional[Container[str]] = None) -> None:
        self.stops.append((why, at_once))
        for task, running in list(self.running.items()):
            if only is None or task in only:
                self._stop(task, running, why, at_once=at_once)

    def _stop(self, task: str, running: _Running, why: str, *, at_once: bool) -> None:
        now = self.clock.monotonic()
        self.stopping.setdefault(task, why)
        patience = running.job.grace_s if running.ending.ignores_stop and not at_once else 0.0
        signum = 9 if running.ending.ignores_stop or at_once else 15
        self.running[task] = running._replace(
            due=now + patience, ending=running.ending._replace(exit_code=-signum))

    def _next_moment(self, running: _Running) -> float:
        limit = running.job.timeout_s
        if limit is None or running.job.task in self.stopping:
            return running.due
        return min(running.due, running.started + limit)

    def _let_happen(self) -> None:
        now = self.clock.monotonic()
        due = [call for moment, call in self.happenings if moment <= now]
        self.happenings = [entry for entry in self.happenings if entry[0] > now]
        for call in due:
            call()
        for task, running in list(self.running.items()):
            if now < running.due and self._next_moment(running) <= now:
                self._stop(task, running, TIMED_OUT, at_once=False)

    def _end(self, running: _Running) -> Exit:
        job, ending = running.job, running.ending
        del self.running[job.task]
        printed = ''.join(f'{line}\n' for line in (*ending.stdout, *ending.stderr))
        if printed:
            os.makedirs(os.path.dirname(job.log_path), exist_ok=True)
            with open(job.log_path, 'w', encoding='utf-8') as log:
                log.write(printed)
        return Exit(job.task, ending.exit_code, self.clock.monotonic() - running.started,
                    ending.stderr[-20:], (ending.stdout + ending.stderr)[-20:],
                    job.log_path if printed else '', self.stopping.pop(job.task, ''),
                    len(printed.encode('utf-8')))


class FakePerformer(Performer):
    """Performs nothing: an attempt has the result that the test said (`will`), else it is done.

    With `is_immediate` results come from `start`, otherwise from `wait`, after
    their `duration_s` on the clock; what could not begin is told at once, always.
    """

    def __init__(self, clock: Optional[FakeClock] = None, *, is_immediate: bool = False):
        self.clock = clock or FakeClock()
        self.is_immediate = is_immediate
        #: Every (task, attempt) that was begun, in order.
        self.started: List[Tuple[str, int]] = []
        #: Every wait, in seconds.
        self.waits: List[Optional[float]] = []
        #: Every call of `stop`, as its `at_once`.
        self.stops: List[bool] = []
        #: Tasks for which nothing has to be held any more.
        self.let_go_of: List[str] = []
        self.script: Dict[str, List[Dict[str, Any]]] = {}
        self.under_way: List[Result] = []
        #: Called at the beginning of every wait.
        self.during_wait: Callable[[], None] = lambda: None

    def will(self, task: str, *results: Dict[str, Any]) -> FakePerformer:
        """Script the next results of a task as fields that differ from a success."""
        self.script.setdefault(task, []).extend(results)
        return self

    def start(self, task: Any, attempt: int) -> Optional[Result]:
        self.started.append((task.name, attempt))
        script = self.script.get(task.name)
        fields = script.pop(0) if script else {}
        result = Result(**dict({'task': task, 'status': DONE, 'attempt': attempt}, **fields))
        if self.is_immediate or result.status in (BUSY, THROTTLED):
            return result
        self.under_way.append(result)
        return None

    def wait(self, timeout_s: Optional[float]) -> List[Result]:
        self.waits.append(timeout_s)
        self.during_wait()
        if self.under_way:
            result = self.under_way.pop(0)
            self.clock.advance(result.duration_s)
            return [result]
        assert timeout_s is not None, 'waiting for ever: nothing is under way'
        self.clock.advance(timeout_s)
        return []

    def let_go(self, task: str) -> None:
        self.let_go_of.append(task)

    def stop(self, *, at_once: bool, only: Optional[Container[str]] = None) -> None:
        self.stops.append(at_once)
        self.under_way = [
            result._replace(status=STOPPED) if only is None or result.task.name in only
            else result for result in self.under_way]
