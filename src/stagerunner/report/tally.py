"""Where a run stands: what is done, running, waiting and failed, counted from its events.

Pure: times are handed in.  It is fed by a run that goes on in this process, and
by the record of one that another process does; of a fan-out it keeps counts,
so its size does not grow with the number of tasks.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from typing import Callable
from typing import Deque
from typing import Dict
from typing import List
from typing import Optional

from stagerunner.events import AttemptEnded
from stagerunner.events import EntryEnded
from stagerunner.events import EntryLeased
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageExpanded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import stage_of
from stagerunner.records import NamedTuple

_STATUS = {TaskDone: 'ok', TaskSkipped: 'skipped', TaskFailed: 'failed',
           TaskInterrupted: 'interrupted', TaskCancelled: 'cancelled', TaskBlocked: 'blocked'}

#: The throughput is that of so many tasks that ended last.
_RECENT = 50


class Running(NamedTuple):
    """An attempt that is under way: since when (unix seconds), and at which line it began."""

    task: str
    since: float
    attempt: int
    line_offset: int = 0


class Counts(NamedTuple):
    """How many tasks there are as far as is known, and where they stand.

    Of `running` there are never more than workers: the other ones have ended
    and are `waiting` for the moment when several are made durable at once.
    """

    total: int
    done: int
    running: int
    waiting: int
    failed: int
    #: Blocked, cancelled or interrupted.
    not_run: int


class _Stage:
    """The tasks of one stage: how many there are, how they ended, and what the good ones took."""

    def __init__(self) -> None:
        self.total = 1
        self.ended: Dict[str, int] = {}
        self.running = 0
        self.took_s = 0.0
        self.n_took = 0

    @property
    def left(self) -> int:
        """Return how many tasks have not ended."""
        return max(0, self.total - sum(self.ended.values()))

    def typical_s(self) -> Optional[float]:
        """Return what a task of this stage took on average, None where none succeeded yet."""
        return self.took_s / self.n_took if self.n_took else None


class Tally:
    """Counts the events of one run."""

    def __init__(self) -> None:
        self.run_id = ''
        self.workers = 1
        #: How the run ended, '' before.
        self.state = ''
        self.began: Optional[float] = None
        self.stages: Dict[str, _Stage] = {}
        self.running: Dict[str, Running] = {}
        #: True for a run of the queue: nobody knows what is still to come.
        self.is_endless = False
        self._recent: Deque[float] = deque(maxlen=_RECENT)

    def receive(self, event: Event, now: float) -> None:
        """Take note of what happened at `now`, in unix seconds."""
        if isinstance(event, RunStarted):
            self.run_id, self.workers = event.run_id, max(1, int(event.workers))
            self.began, self.state = now, ''
            self.stages = {name: _Stage() for name in event.stages}
            self.running.clear()
        elif isinstance(event, StageExpanded):
            self._stage(event.stage).total = int(event.tasks)
        elif isinstance(event, (EntryLeased, EntryEnded)):
            self._count_entry(event)
        elif isinstance(event, TaskStarted):
            self._leave(event.task)
            self.running[event.task] = Running(event.task, now, int(event.attempt))
            self._stage(event.task).running += 1
        elif isinstance(event, TaskResumed) and event.task in self.running:
            self.running[event.task] = self.running[event.task]._replace(
                line_offset=int(event.line_offset))
        elif isinstance(event, AttemptEnded):
            self._leave(event.task)
            self._take_time(event)
        elif type(event) in _STATUS:
            self._settle(event, now)
        elif isinstance(event, RunEnded):
            self.state = event.state
            self.abandon()

    def _count_entry(self, event: Any) -> None:
        """An entry of the queue has a task in each stage; one that is put off comes again."""
        self.is_endless = True
        for stage in self.stages.values():
            if isinstance(event, EntryLeased):
                stage.total += 1
            elif event.outcome not in ('done', 'skipped', 'error'):
                stage.total = max(stage.total - 1, sum(stage.ended.values()) + stage.running)

    def _stage(self, task: str) -> _Stage:
        return self.stages.setdefault(stage_of(task), _Stage())

    def _leave(self, task: str) -> None:
        if self.running.pop(task, None) is not None:
            self._stage(task).running -= 1

    def _take_time(self, event: AttemptEnded) -> None:
        if event.status == 'ok':
            stage = self._stage(event.task)
            stage.took_s += float(event.duration_s)
            stage.n_took += 1

    def _settle(self, event: Any, now: float) -> None:
        self._leave(event.task)
        stage, status = self._stage(event.task), _STATUS[type(event)]
        # Of a fan-out that was not begun it is said once for all of its tasks.
        is_whole = '[' not in event.task
        count = max(1, stage.left) if is_whole else 1
        stage.ended[status] = stage.ended.get(status, 0) + count
        if status in ('ok', 'failed'):
            self._recent.append(now)

    # -- what follows ------------------------------------------------------------

    def counts(self) -> Counts:
        """Return where the tasks stand."""
        total = ended = ok = failed = 0
        for stage in self.stages.values():
            total += stage.total
            ended += sum(stage.ended.values())
            ok += stage.ended.get('ok', 0) + stage.ended.get('skipped', 0)
            failed += stage.ended.get('failed', 0)
        running = min(len(self.running), self.workers)
        return Counts(total, ok, running, max(0, total - ended - running), failed,
                      ended - ok - failed)

    def by_status(self) -> Dict[str, int]:
        """Return how many tasks ended in which way.

        >>> Tally().by_status()
        {'ok': 0, 'skipped': 0, 'failed': 0, 'interrupted': 0, 'cancelled': 0, 'blocked': 0}
        """
        found = dict.fromkeys(_STATUS.values(), 0)
        for stage in self.stages.values():
            for status, count in stage.ended.items():
                found[status] += count
        return found

    def abandon(self) -> None:
        """Take note that the run is dead: nothing of it is running any more."""
        for task in list(self.running):
            self._leave(task)

    def slowest(self, most: int) -> List[Running]:
        """Return the attempts that run longest, that of the longest first."""
        return sorted(self.running.values(),
                      key=lambda task: task.since)[:min(most, self.workers)]

    def per_second(self, now: float) -> Optional[float]:
        """Return how many tasks end per second lately, None before there is anything to tell."""
        if not self._recent or self.began is None:
            return None
        since = self._recent[0] if len(self._recent) == _RECENT else self.began
        return len(self._recent) / (now - since) if now > since else None

    def remaining_s(self, now: float,
                    expected: Callable[[str], Optional[float]]) -> Optional[float]:
        """Return how long the rest takes if tasks take what they took; None: nobody knows.

        `expected` tells what the last success of a stage took, where this run
        has none yet.
        """
        if self.is_endless:
            return None
        work_s = longest_s = 0.0
        spent: Dict[str, float] = {}
        for task in self.running.values():
            name = stage_of(task.task)
            spent[name] = spent.get(name, 0.0) + max(0.0, now - task.since)
        for name, stage in self.stages.items():
            left = stage.left
            if not left:
                continue
            typical_s = stage.typical_s()
            if typical_s is None and stage.total == 1:
                typical_s = expected(name)
            if typical_s is None:
                return None
            rest_s = max(0.0, left * typical_s - min(spent.get(name, 0.0),
                                                     stage.running * typical_s))
            work_s += rest_s
            longest_s = max(longest_s, rest_s if left == 1 else typical_s)
        return max(longest_s, work_s / self.workers)
