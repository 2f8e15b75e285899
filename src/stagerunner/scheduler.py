"""Get tasks done in order: start, wait, try again when that is worth it, stop when asked to.

The only place that repeats an attempt, and the only loop that waits.
"""

from __future__ import annotations

from typing import Callable
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.errors import BUSY as BUSY_EXIT
from stagerunner.errors import FAILED
from stagerunner.errors import LockTimeout
from stagerunner.errors import RunnerError
from stagerunner.events import AttemptEnded
from stagerunner.events import Event
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.locks import POLL_S
from stagerunner.locks import stage_lock
from stagerunner.plan import MATCHED
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import Performer
from stagerunner.result import Result
from stagerunner.tasks import Task


class Outcome(NamedTuple):
    """How it all ended: the first failure, and the exit code that follows from all of them."""

    first_failure: Optional[str]
    exit_code: int


#: Where several hold, the first of these is the exit code (contract, exit codes).
_PRECEDENCE = (3, 5, 4, 1)


class Scheduler:
    """Runs tasks one after another with one performer."""

    def __init__(self, performer: Performer, clock: Clock, stop: Stop,
                 emit: Callable[[Event], None], lock_timeout_s: float,
                 spread: Callable[[], float]):
        self.performer = performer
        self.clock = clock
        self.stop = stop
        self.emit = emit
        self.lock_timeout_s = lock_timeout_s
        #: Returns a random number from -1 to 1 for the jitter of a delay.
        self.spread = spread

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Do all tasks in their order; after a failure the rest is cancelled."""
        first_failure = None
        codes: List[int] = []
        for task in tasks:
            if codes or self.stop.is_requested:
                why = f'{first_failure} failed' if codes else 'the run was asked to end'
                self.emit(TaskCancelled(task.name, why))
                continue
            result = self._finish(task)
            if result.status == BROKEN:
                first_failure = task.name
                codes.append(result.exit_code)
        worst = next((code for code in _PRECEDENCE if code in codes), codes[0] if codes else 0)
        return Outcome(first_failure, worst)

    def _finish(self, task: Task) -> Result:
        """Try a task until it is done, skipped, interrupted or given up."""
        attempt = 1
        while True:
            result = self._attempt(task, attempt)
            if result.status == STOPPED and result.code is not None:
                self._tell_attempt(result, None)
            if result.status in (SKIPPED, STOPPED):
                break
            verdict = self._verdict(task, result)
            self._tell_attempt(result, verdict)
            if result.status == DONE or verdict is None or verdict.delay_s is None:
                break
            self._wait(verdict.delay_s)
            if self.stop.is_requested:
                result = result._replace(status=STOPPED)
                break
            attempt += 1
        self._tell(result)
        return result

    def _attempt(self, task: Task, attempt: int) -> Result:
        """Make one attempt, waiting for the lock as long as the caller is willing to."""
        began = self.clock.monotonic()
        while True:
            try:
                result = self.performer.start(task, attempt) or self._await(task)
            except RunnerError as error:
                return Result(task, BROKEN, attempt, stamp(self.clock.now()), error=str(error),
                              error_class=retry.PERMANENT, exit_code=error.exit_code)
            if result.status != BUSY:
                return result
            waited = self.clock.monotonic() - began
            if self.stop.is_requested:
                return result._replace(status=STOPPED, started_at=stamp(self.clock.now()))
            if waited >= self.lock_timeout_s:
                return self._gave_up_waiting(result)
            self._wait(min(POLL_S, self.lock_timeout_s - waited))

    def _gave_up_waiting(self, result: Result) -> Result:
        task = result.task
        path = stage_lock('', task.stage.name).replace('\\', '/')
        error = LockTimeout(f"stage '{task.stage.name}'", path, self.lock_timeout_s, result.error)
        return result._replace(
            status=BROKEN, started_at=stamp(self.clock.now()), error=str(error),
            error_class=retry.PERMANENT, exit_code=BUSY_EXIT)

    def _await(self, task: Task) -> Result:
        """Wait for the attempt that runs, passing on the request to stop."""
        passed_on = 0
        while True:
            if self.stop.count > passed_on:
                passed_on = self.stop.count
                self.performer.stop(at_once=passed_on > 1)
            for result in self.performer.wait(None):
                assert result.task is task
                return result

    def _wait(self, seconds: float) -> None:
        """Let time pass, less of it when a stop is requested."""
        until = self.clock.monotonic() + seconds
        while not self.stop.is_requested:
            left = until - self.clock.monotonic()
            if left <= 0:
                return
            self.performer.wait(left)

    def _verdict(self, task: Task, result: Result) -> Optional[retry.Verdict]:
        if result.status != BROKEN:
            return None
        if result.exit_code != FAILED:
            return retry.Verdict(None, 'not a matter of trying again')
        return retry.decide(result.attempt, result.error_class, task.stage.retry, self.spread())

    # -- telling -----------------------------------------------------------------

    def _tell_attempt(self, result: Result, verdict: Optional[retry.Verdict]) -> None:
        delay_s = verdict.delay_s if verdict else None
        self.emit(AttemptEnded(
            result.task.name, result.attempt, result.status, result.started_at,
            result.duration_s, result.code, result.error_class or None, result.error or None,
            delay_s, result.line_offset, result.is_verified, result.log or None,
            result.isolation, tuple(result.usage)))
        if delay_s is not None:
            self.emit(TaskRetrying(
                result.task.name, result.attempt + 1, result.task.stage.retry.max_attempts,
                delay_s, result.error_class, result.error.partition('\n')[0]))

    def _tell(self, result: Result) -> None:
        task, now = result.task.name, stamp(self.clock.now())
        if result.status == SKIPPED:
            self.emit(TaskSkipped(task, now, MATCHED, result.key, result.done_at))
        elif result.status == DONE:
            self.emit(TaskDone(task, result.done_at, result.duration_s, result.attempt,
                               result.key, result.total_lines, result.is_staged))
        elif result.status == STOPPED:
            self.emit(TaskInterrupted(task, now, result.duration_s, result.attempt))
        else:
            self.emit(TaskFailed(task, now, result.duration_s, result.attempt,
                                 result.error_class, result.error, result.log, result.tail))
