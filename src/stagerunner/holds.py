"""What a run holds while it works on a stage: the stage's lock, and permits for each attempt."""

from __future__ import annotations

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import FAILED
from stagerunner.locks import Lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Grant
from stagerunner.permits import Permits
from stagerunner.permits import Shortage
from stagerunner.records import TYPE_CHECKING
from stagerunner.result import BROKEN
from stagerunner.result import THROTTLED
from stagerunner.result import Result
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Dict
    from typing import Mapping
    from typing import Optional
    from typing import Union


class Holds:
    """Takes a stage's lock for its first task and keeps it until all its tasks are settled."""

    #: Of each member all stages come before the next one: with one worker nothing may wait.
    is_one_by_one = False

    def __init__(self, root: str, permits: Permits, clock: Clock, holder: Mapping[str, object]):
        self.root = root
        self.permits = permits
        self.clock = clock
        self.holder = holder
        self.locks: Dict[str, Lock] = {}
        self.noted: Dict[str, bool] = {}

    def path(self, task: Task) -> str:
        """Return the path of the lock of a task's stage."""
        return stage_lock(self.root, task.stage.name)

    def has(self, task: Task) -> bool:
        """True when the stage of a task is ours already."""
        return task.stage.name in self.locks

    def take(self, task: Task) -> Optional[Lock]:
        """Return the lock of a task's stage, None when another run has it."""
        lock = self.locks.get(task.stage.name) or try_lock(self.path(task))
        if lock is not None:
            self.locks[task.stage.name] = lock
        return lock

    def note(self, task: Task, since: str) -> None:
        """Leave word who works on a stage, for people: of a fan-out once."""
        if not (task.is_member and task.stage.name in self.noted):
            self.noted[task.stage.name] = True
            self.locks[task.stage.name].note(dict(self.holder, task=task.name, since=since))

    def may_publish(self, task: Task) -> bool:
        """True as long as nobody else can have been given the work: here that is always so."""
        return True

    def let_go(self, task: str) -> None:
        """Give back what is held for one task alone: here nothing."""

    def release(self, stage: str) -> None:
        """Let a stage go."""
        lock = self.locks.pop(stage, None)
        if lock is not None:
            lock.release()

    def release_all(self) -> None:
        """Let everything go."""
        for stage in list(self.locks):
            self.release(stage)

    # -- permits -----------------------------------------------------------------

    def permit(self, task: Task) -> Union[None, Grant, Shortage]:
        """Take what a stage needs of limits and quotas; None: it needs nothing."""
        stage = task.stage
        limits = stage.limits if task.item is None else (*stage.limits, *task.item.limits)
        if not (limits or stage.quota):
            return None
        return self.permits.take(limits, [(use.name, use.tokens) for use in stage.quota])

    def refused(self, task: Task, attempt: int, shortage: Shortage) -> Result:
        """Report what is lacking; a stage that will not wait for a quota has failed."""
        result = Result(task, THROTTLED, attempt, stamp(self.clock.now()), error=shortage.name,
                        wait_s=shortage.wait_s)
        if all(use.waits or use.name != shortage.name for use in task.stage.quota):
            return result
        return result._replace(status=BROKEN, exit_code=FAILED, error_class=retry.TRANSIENT,
                               error=f"quota '{shortage.name}' is used up")
