"""Turn the results of attempts and tasks into events, and keep count of fan-outs."""

from __future__ import annotations

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.events import MATCHED
from stagerunner.events import AttemptEnded
from stagerunner.events import Event
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.events import Warned
from stagerunner.events import stage_of
from stagerunner.records import TYPE_CHECKING
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import Result
from stagerunner.rollcall import Unchanged
from stagerunner.tasks import Group

if TYPE_CHECKING:
    from typing import Callable
    from typing import Dict
    from typing import Iterable
    from typing import List
    from typing import Optional
    from typing import Set
    from typing import Tuple


class Teller:
    """Says what happened, once each, in the words of `events`."""

    def __init__(self, emit: Callable[[Event], None], clock: Clock):
        self.emit = emit
        self.clock = clock
        self.fan_outs: Dict[str, Tuple[float, Dict[str, int]]] = {}
        #: Collections without items that were warned of.
        self.empty: Set[str] = set()

    def begin(self, group: Group) -> None:
        """A fan-out begins: its tasks are counted.  An empty collection is warned of once."""
        stage, collection = group.stage.name, group.collection
        if not group and collection is not None and not group.is_fed \
                and collection.name not in self.empty:
            self.empty.add(collection.name)
            self.emit(Warned(stage, f"there is nothing in its collection '{collection.name}'"))
        self.emit(StageExpanded(stage, len(group), collection is not None, group.items or ()))
        self.fan_outs[stage] = (self.clock.monotonic(), {})

    def end(self, stage: str) -> None:
        """All tasks of a fan-out that will be settled are; of one that never began, nothing."""
        if stage not in self.fan_outs:
            return
        began, counts = self.fan_outs.pop(stage)
        self.emit(StageEnded(stage, stamp(self.clock.now()), self.clock.monotonic() - began,
                             counts))

    def count(self, task: str, status: str) -> None:
        """Count how a task of a fan-out ended."""
        found = self.fan_outs.get(stage_of(task))
        if found:
            found[1][status] = found[1].get(status, 0) + 1

    def attempt(self, result: Result, verdict: Optional[retry.Verdict]) -> None:
        """An attempt ended; `verdict` says whether there is another one."""
        delay_s = verdict.delay_s if verdict else None
        self.emit(AttemptEnded(
            result.task.name, result.attempt, result.status, result.started_at,
            result.duration_s, result.code, result.error_class or None, result.error or None,
            delay_s, result.line_offset, result.is_verified, result.log or None,
            result.isolation, tuple(result.usage)))
        if delay_s is not None:
            self.emit(TaskRetrying(
                result.task.name, result.attempt + 1, result.task.stage.retry.max_attempts,
                delay_s, result.error_class, result.error))

    def task(self, result: Result) -> None:
        """A task is settled."""
        task, now = result.task.name, stamp(self.clock.now())
        self.count(task, result.status)
        if result.status == SKIPPED:
            self.emit(TaskSkipped(task, now, MATCHED, result.key, result.done_at))
        elif result.status == DONE:
            self.emit(TaskDone(task, result.done_at, result.duration_s, result.attempt,
                               result.key, result.total_lines, result.is_staged,
                               result.made))
        elif result.status == STOPPED:
            self.emit(TaskInterrupted(task, now, result.duration_s, result.attempt))
        else:
            self.emit(TaskFailed(task, now, result.duration_s, result.attempt,
                                 result.error_class, result.error, result.log, result.tail))

    def pass_over(self, group: Group, batches: Iterable[Unchanged],
                  is_over: Callable[[], bool]) -> List[int]:
        """Tell of members of a fan-out that are as they were; return their numbers."""
        numbers: List[int] = []
        for some in batches:
            if some.names:
                counts = self.fan_outs[group.stage.name][1]
                counts[SKIPPED] = counts.get(SKIPPED, 0) + len(some.names)
                self.emit(TasksSkipped(some.names, stamp(self.clock.now()), MATCHED, some.keys,
                                       some.done_at))
                numbers += some.numbers
            if is_over():
                break
        return numbers

    def failed_as_a_whole(self, stage: str, error: str) -> None:
        """A stage failed before it was known which tasks it has."""
        self.emit(TaskFailed(stage, stamp(self.clock.now()), 0.0, 0, retry.PERMANENT, error,
                             '', ()))
