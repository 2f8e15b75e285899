"""What happened in a run, gathered from its events for people to look at.

A run that goes on and one that ended long ago are told by the same events, so
one gatherer serves both.  Of fan-outs it keeps counts, the first failures and
the slowest tasks: its size does not grow with the number of tasks.
"""

from __future__ import annotations

import heapq
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.clock import unstamp
from stagerunner.events import AttemptEnded
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRestarted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import TaskThrottled
from stagerunner.events import Warned
from stagerunner.events import stage_of

#: So many failures, slow tasks, attempts, notes and warnings are kept, and so many bars in all.
FAILURES, SLOWEST, ATTEMPTS, NOTES, WARNINGS, BARS = 50, 20, 20, 10, 100, 1000

#: How a task that is settled is called, as in the metrics.
_STATUS = {TaskDone: 'ok', TaskSkipped: 'skipped', TaskFailed: 'failed',
           TaskInterrupted: 'interrupted', TaskCancelled: 'cancelled', TaskBlocked: 'blocked'}

#: A stage of many tasks is called after the worst of them.
WORST_FIRST = ('interrupted', 'failed', 'blocked', 'cancelled', 'ok', 'skipped')

#: How stages are called that are not settled.
RUNNING, WAITING, UNFINISHED, NOT_STARTED = 'running', 'waiting', 'unfinished', 'not started'


class Bar(NamedTuple):
    """One attempt on the time line, in unix seconds; the longest ones are kept."""

    duration_s: float
    start: float
    task: str
    attempt: int
    status: str


class Running(NamedTuple):
    """An attempt that has not ended."""

    task: str
    start: float
    attempt: int


class StageStory:
    """One stage: how many tasks ended how, and what people want to know of the rest."""

    def __init__(self, name: str, collection: str = ''):
        self.name = name
        self.collection = collection
        #: None for a plain stage.
        self.tasks: Optional[int] = None
        self.counts: Dict[str, int] = {}
        #: Set when all its tasks are settled.
        self.status = ''
        self.attempts = self.retries = self.throttled = self.n_running = 0
        self.duration_s = self.throttled_s = 0.0
        self.cpu_s: Optional[float] = None
        self.peak_bytes: Optional[int] = None
        self.written_bytes: Optional[int] = None
        self.reasons: Tuple[Reason, ...] = ()
        self.notes: List[str] = []
        #: The attempts of a plain stage, the newest ones.
        self.tries: List[AttemptEnded] = []
        self.failures: List[TaskFailed] = []
        self.slowest: List[Bar] = []
        #: How a plain stage ended, when it was done or skipped.
        self.done: Optional[TaskDone] = None
        self.skipped: Optional[TaskSkipped] = None
        self.why = ''
        self.isolation: Dict[str, Any] = {}

    def count(self, status: str) -> None:
        """One task of it is settled."""
        self.counts[status] = self.counts.get(status, 0) + 1

    def told_status(self, *, is_over: bool) -> str:
        """Return how the stage stands; `is_over`: nothing will happen any more."""
        if self.status:
            return self.status
        has_begun = bool(self.n_running or self.attempts or self.counts)
        if is_over:
            return UNFINISHED if has_begun else NOT_STARTED
        return RUNNING if has_begun else WAITING


class Story(Sink):
    """A whole run, as far as it is told."""

    def __init__(self) -> None:
        self.started: Optional[RunStarted] = None
        self.ended: Optional[RunEnded] = None
        self.stages: Dict[str, StageStory] = {}
        self.running: Dict[str, Running] = {}
        self.bars: List[Bar] = []
        self.n_bars = 0
        self.warnings: List[Warned] = []
        self.n_warnings = 0
        self.first_failure: Optional[TaskFailed] = None
        #: The last time that was told, in unix seconds.
        self.last = 0.0
        self._handlers: Dict[type, Callable[[Any], None]] = {
            RunStarted: self._start, RunEnded: self._end, StageExpanded: self._expand,
            StageEnded: self._end_stage, TaskStarted: self._begin,
            AttemptEnded: self._end_attempt, TaskRetrying: self._retry,
            TaskThrottled: self._throttle, Warned: self._warn, TaskResumed: self._resume,
            TaskRestarted: self._restart}

    def receive(self, event: Event) -> None:
        """Take note of what happened."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        if type(event) in _STATUS:
            self._settle(event)

    def stage(self, task: str) -> StageStory:
        """Return the story of a task's stage."""
        name = stage_of(task)
        found = self.stages.get(name)
        if found is None:
            found = self.stages[name] = StageStory(name)
        return found

    # -- one kind of event each ------------------------------------------------------

    def _start(self, event: RunStarted) -> None:
        self.started, self.ended = event, None
        self.stages = {name: StageStory(name, str(event.collections.get(name, '')))
                       for name in event.stages}
        self.last = seconds_of(event.at)

    def _end(self, event: RunEnded) -> None:
        self.ended = event
        self.running.clear()
        for stage in self.stages.values():
            # What was never told of, as in the metrics.
            stage.status = stage.status or 'cancelled'
        self.last = seconds_of(event.at)

    def _expand(self, event: StageExpanded) -> None:
        self.stage(event.stage).tasks = event.tasks

    def _end_stage(self, event: StageEnded) -> None:
        stage = self.stage(event.stage)
        stage.counts = dict(event.counts)
        stage.status = next((status for status in WORST_FIRST if event.counts.get(status)),
                            'skipped')

    def _begin(self, event: TaskStarted) -> None:
        stage = self.stage(event.task)
        start = seconds_of(event.at)
        stage.reasons = stage.reasons or event.reasons
        stage.n_running += event.task not in self.running
        self.running[event.task] = Running(event.task, start, event.attempt)
        self.last = max(self.last, start)

    def _end_attempt(self, event: AttemptEnded) -> None:
        stage = self.stage(event.task)
        if self.running.pop(event.task, None) is not None:
            stage.n_running -= 1
        stage.attempts += 1
        stage.duration_s = round(stage.duration_s + event.duration_s, 6)
        stage.isolation = event.isolation or stage.isolation
        _add_usage(stage, event.usage)
        if stage.tasks is None:
            stage.tries = [*stage.tries[1 - ATTEMPTS:], event]
        start = seconds_of(event.started_at)
        self.last = max(self.last, start + event.duration_s)
        if not event.duration_s:
            return
        bar = Bar(event.duration_s, start, event.task, event.attempt, event.status)
        self.n_bars += 1
        _keep(self.bars, bar, BARS)
        if stage.tasks is not None:
            _keep(stage.slowest, bar, SLOWEST)

    def _retry(self, event: TaskRetrying) -> None:
        self.stage(event.task).retries += 1

    def _throttle(self, event: TaskThrottled) -> None:
        stage = self.stage(event.task)
        stage.throttled += 1
        stage.throttled_s += event.waited_s

    def _warn(self, event: Warned) -> None:
        self.n_warnings += 1
        if len(self.warnings) < WARNINGS:
            self.warnings.append(event)

    def _resume(self, event: TaskResumed) -> None:
        note = f' ({event.note})' if event.note else ''
        self._note(event.task, f'resumed at line {event.line_offset}{note}')

    def _restart(self, event: TaskRestarted) -> None:
        self._note(event.task, f'started at line 0: {event.why}')

    def _note(self, task: str, text: str) -> None:
        stage = self.stage(task)
        if len(stage.notes) < NOTES:
            stage.notes.append(text if task == stage.name else f'{task} {text}')

    def _settle(self, event: Any) -> None:
        stage, status = self.stage(event.task), _STATUS[type(event)]
        if self.running.pop(event.task, None) is not None:
            stage.n_running -= 1
        if isinstance(event, TaskFailed):
            self.first_failure = self.first_failure or event
            if len(stage.failures) < FAILURES:
                stage.failures.append(event)
        if event.task != stage.name:
            stage.count(status)
            return
        stage.status = status
        if isinstance(event, TaskDone):
            stage.done = event
        elif isinstance(event, TaskSkipped):
            stage.skipped = event
        else:
            stage.why = getattr(event, 'why', '')


def _keep(bars: List[Bar], bar: Bar, most: int) -> None:
    """Add a bar, and drop the shortest where there are too many."""
    if len(bars) < most:
        heapq.heappush(bars, bar)
    else:
        heapq.heappushpop(bars, bar)


def _add_usage(stage: StageStory, usage: Sequence[Any]) -> None:
    cpu_s, peak, written, *_ = (*usage, None, None, None)
    if cpu_s is not None:
        stage.cpu_s = (stage.cpu_s or 0.0) + cpu_s
    if peak is not None:
        stage.peak_bytes = max(stage.peak_bytes or 0, peak)
    if written is not None:
        stage.written_bytes = (stage.written_bytes or 0) + written


def seconds_of(text: Any) -> float:
    """Return a time stamp of a record as unix seconds, 0 for what is none.

    >>> seconds_of('1970-01-01T00:01:00.500000+00:00'), seconds_of(None)
    (60.5, 0.0)
    """
    try:
        return unstamp(text)
    except (TypeError, ValueError):
        return 0.0
