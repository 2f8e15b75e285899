"""Get tasks done: start what is ready, wait, try again when that is worth it, stop when asked to.

The only place that repeats an attempt, and the only loop that waits.  A slot is taken by
an attempt that runs, never by one that waits for a lock, a permit or the time of a retry.
"""

from __future__ import annotations

import heapq

from stagerunner import retry
from stagerunner.agenda import CIRCUIT_OPEN
from stagerunner.agenda import Agenda
from stagerunner.agenda import Entry
from stagerunner.agenda import Lane
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.errors import FAILED
from stagerunner.errors import REFUSED
from stagerunner.errors import RunnerError
from stagerunner.events import Event
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskThrottled
from stagerunner.events import TaskWaiting
from stagerunner.locks import POLL_S
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import DONE
from stagerunner.result import ENDED
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import THROTTLED
from stagerunner.result import Outcome
from stagerunner.result import Performer
from stagerunner.result import Result
from stagerunner.result import gave_up_waiting
from stagerunner.result import verdict_of
from stagerunner.tasks import Group
from stagerunner.telling import Teller

if TYPE_CHECKING:
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple


class Rules(NamedTuple):
    """How a run wants its tasks done.

    `keeps_going` overrides the `stopOnFailure` of every stage.  After `circuit_breaker`
    permanent failures in a row the rest of a fan-out is blocked (None: never).
    """

    lock_timeout_s: float
    workers: int = 1
    keeps_going: bool = False
    circuit_breaker: Optional[int] = None


#: Where several hold, the first of these is the exit code (contract, exit codes).
_PRECEDENCE = (3, 5, 4, 1)

#: A lane without a wait of its own looks at shared permits at most this seldom, in seconds.
_PERMIT_POLL_S = 0.05


class _Timer(NamedTuple):
    """What is to happen at a time: a lane may go on, or (with `result`) an attempt is due."""

    due: float
    number: int
    lane: Lane
    entry: Optional[Entry] = None
    result: Optional[Result] = None


class Scheduler:
    """Runs the tasks of groups with one performer."""

    def __init__(self, performer: Performer, clock: Clock, stop: Stop,
                 emit: Callable[[Event], None], rules: Rules, spread: Callable[[], float],
                 idle: Callable[[], Optional[float]] = lambda: None):
        self.performer = performer
        self.clock = clock
        self.stop = stop
        self.emit = emit
        self.rules = rules
        #: Returns a random number from -1 to 1 for the jitter of a delay.
        self.spread = spread
        #: Called before each wait; returns how long that may be at most.
        self.idle = idle
        self.teller = Teller(emit, clock)
        self.running: Dict[str, Entry] = {}
        #: Attempts whose processors ended well, until they are durable.
        self.ending: Dict[str, Entry] = {}
        self.timers: List[_Timer] = []
        self.timers_made = 0
        #: Since when a lane's stage is held by another run, and an attempt waits for a permit.
        self.busy_since: Dict[int, float] = {}
        self.short_since: Dict[int, Tuple[float, str]] = {}
        #: How many tasks of a lane have failed for good since one did not.
        self.streaks: Dict[int, int] = {}
        #: When the first attempt began of tasks that are tried again before a deadline.
        self.began: Dict[Tuple[int, int], float] = {}
        self.passed_on = 0
        self.first_failure: Optional[str] = None
        self.codes: List[int] = []
        #: Why nothing new starts, once that is so.
        self.halted = ''

    def run(self, groups: Sequence[Group]) -> Outcome:
        """Do all tasks; what cannot be done is blocked or cancelled."""
        self.agenda = Agenda(groups, self.rules.workers)
        while True:
            self._advance()
            self._start_what_can()
            self._forget_timers()
            if not (self.running or self.ending or self.timers):
                break
            self._wait()
        self.performer.expect(None)
        self._cancel_the_rest()
        return self._outcome()

    def _outcome(self) -> Outcome:
        worst = next((code for code in _PRECEDENCE if code in self.codes),
                     self.codes[0] if self.codes else 0)
        return Outcome(self.first_failure, worst)

    # -- beginning ---------------------------------------------------------------

    def _advance(self) -> None:
        """Let follow what follows from what has ended, until nothing more does."""
        agenda = self.agenda
        while agenda.settled or agenda.blocked or (agenda.openable and not self._is_halted()):
            if agenda.settled:
                lane = agenda.settled.popleft()
                self._end_lane(lane)
                agenda.close(lane)
            elif agenda.blocked:
                entry, by = agenda.blocked.popleft()
                why = by if by == CIRCUIT_OPEN else _did_not_succeed(by)
                self.emit(TaskBlocked(entry.name, why))
                self.teller.count(entry.name, 'blocked')
                agenda.settle(entry, is_ok=False)
            else:
                self._open(agenda.openable.popleft())

    def _open(self, lane: Lane) -> None:
        group = lane.group
        if lane.blocked_by:
            self.emit(TaskBlocked(group.stage.name, _did_not_succeed(lane.blocked_by)))
            self.agenda.block(lane)
            return
        try:
            if self.performer.passes(group):
                self.agenda.pass_over(lane)
                return
            is_known = self.performer.expand(group)
        except RunnerError as error:
            self._fail_lane(lane, error)
            return
        if group.is_fan_out and is_known:
            self.teller.begin(group)
            # It may take seconds, in which nobody looks after what runs.
            self.agenda.open(lane, [] if self.running else self.teller.pass_over(
                group, self.performer.unchanged(group, self.agenda.free_members(lane)),
                self._is_halted))
        else:
            self.agenda.open(lane)

    def _fail_lane(self, lane: Lane, error: RunnerError) -> None:
        """A stage whose items cannot be told has failed as a whole."""
        name = lane.group.stage.name
        self.teller.failed_as_a_whole(name, str(error))
        # Others ran already: this is no refusal before anything did.
        self.take_failure(name, FAILED if error.exit_code == REFUSED else error.exit_code, lane)
        lane.blocked_by = name
        self.agenda.block(lane)

    def _end_lane(self, lane: Lane) -> None:
        self.performer.finish(lane.group, is_ok=not lane.failure)
        if lane.group.is_fan_out and not lane.blocked_by:
            self.teller.end(lane.group.stage.name)

    def _start_what_can(self) -> None:
        while len(self.running) < self.rules.workers and not self._is_halted():
            entry = self.agenda.pop()
            if entry is None:
                return
            self.begin(entry)
            self._advance()

    def begin(self, entry: Entry) -> None:
        """Begin an attempt, and take its result where there is nothing to wait for."""
        task = entry.lane.group.task(entry.number)
        try:
            result = self.performer.start(task, entry.attempt)
        except RunnerError as error:
            result = Result(task, BROKEN, entry.attempt, stamp(self.clock.now()),
                            error=str(error), error_class=retry.PERMANENT,
                            exit_code=error.exit_code)
        if result is None or result.status not in (BUSY, THROTTLED):
            self.busy_since.pop(entry.lane.position, None)
            since, name = self.short_since.pop(entry.lane.position, (0.0, ''))
            if name:
                self.emit(TaskThrottled(task.name, name, self.clock.monotonic() - since))
        if result is None:
            self.running[task.name] = entry
        else:
            self.take(entry, result)

    # -- waiting -----------------------------------------------------------------

    def _wait(self) -> None:
        """Wait until something ends, is due, or somebody asks the run to end."""
        if self.stop.count > self.passed_on:
            self.passed_on = self.stop.count
            self.performer.stop(at_once=self.passed_on > 1)
        timeout_s = None
        if self._is_halted():
            self._drop_timers()
            if not (self.running or self.ending):
                return
        elif self.timers:
            timeout_s = max(0.0, self.timers[0].due - self.clock.monotonic())
        at_most_s = self.idle()
        if at_most_s is not None:
            timeout_s = at_most_s if timeout_s is None else min(timeout_s, at_most_s)
        self.performer.expect(
            None if self._is_halted() else self.agenda.following(self.running.values()))
        for result in self.performer.wait(timeout_s):
            self._hear(result)
        now = self.clock.monotonic()
        while self.timers and self.timers[0].due <= now and not self._is_halted():
            self._ring(heapq.heappop(self.timers))

    def _hear(self, result: Result) -> None:
        """Take in a result; who ended well leaves its slot before its last result follows."""
        name = result.task.name
        if result.status == ENDED:
            entry = self.ending[name] = self.running.pop(name)
            self.agenda.free(entry)
            if entry.lane.group.stage.limits:
                self._look_at_permits_again()
        else:
            self.take((self.ending if name in self.ending else self.running).pop(name), result)

    def _ring(self, timer: _Timer) -> None:
        if timer.entry is not None:
            self.agenda.renew(timer.entry)
        elif timer.lane.is_paused:
            self.agenda.unpause(timer.lane)

    def _set_timer(self, delay_s: float, lane: Lane, entry: Optional[Entry] = None,
                   result: Optional[Result] = None) -> None:
        self.timers_made += 1
        heapq.heappush(self.timers, _Timer(self.clock.monotonic() + delay_s, self.timers_made,
                                           lane, entry, result))

    def _forget_timers(self) -> None:
        """Wait for no lane that goes on already, because a permit came back meanwhile."""
        while self.timers and self.timers[0].entry is None and not self.timers[0].lane.is_paused:
            heapq.heappop(self.timers)

    def _drop_timers(self) -> None:
        """Settle what waited for another attempt: there will be none."""
        for timer in sorted(self.timers):
            if timer.entry is not None and timer.result is not None:
                result = timer.result
                if self.stop.is_requested:
                    result = result._replace(status=STOPPED)
                self.settle(timer.entry, result)
        self.timers = []
        self._advance()

    def _is_halted(self) -> bool:
        if self.stop.is_requested and not self.halted:
            self.halted = 'the run was asked to end'
        return bool(self.halted)

    # -- ending ------------------------------------------------------------------

    def take(self, entry: Entry, result: Result) -> None:
        """Decide what follows from the result of an attempt."""
        if result.status == BUSY:
            self.wait_for_lock(entry, result)
        elif result.status == THROTTLED:
            self.wait_for_permit(entry, result)
        else:
            if entry.lane.group.stage.limits:
                self._look_at_permits_again()
            self.judge(entry, result)

    def judge(self, entry: Entry, result: Result) -> None:
        """Settle a task, or try it again later."""
        if result.status == STOPPED and result.code is not None:
            self.teller.attempt(result, None)
        if result.status not in (SKIPPED, STOPPED):
            verdict = self._verdict(entry, result)
            self.teller.attempt(result, verdict)
            if verdict is not None and verdict.delay_s is not None:
                self.agenda.defer(entry)
                self._set_timer(verdict.delay_s, entry.lane,
                                entry._replace(attempt=entry.attempt + 1), result)
                return
        self.settle(entry, result)

    def settle(self, entry: Entry, result: Result) -> None:
        """Take note of how a task ended for good."""
        self.teller.task(result)
        if result.status == BROKEN:
            self.performer.gave_up(result)
            self.take_failure(result.task.name, result.exit_code, entry.lane)
        self.agenda.settle(entry, is_ok=result.status in (DONE, SKIPPED))
        self.watch_circuit(entry.lane, result)

    def watch_circuit(self, lane: Lane, result: Result) -> None:
        """Block the rest of a fan-out when one task after the other fails for good."""
        limit = self.rules.circuit_breaker
        if limit is None or not lane.group.is_fan_out:
            return
        is_bad = result.status == BROKEN and result.error_class == retry.PERMANENT
        streak = self.streaks.get(lane.position, 0) + 1 if is_bad else 0
        self.streaks[lane.position] = streak
        if streak == limit:
            self.agenda.break_off(lane)

    def take_failure(self, name: str, exit_code: int, lane: Lane) -> None:
        """Take note of a failure that counts for the run."""
        self.first_failure = self.first_failure or name
        self.codes.append(exit_code)
        if lane.group.stage.stops_on_failure and not self.rules.keeps_going:
            self.halted = self.halted or f'{name} failed'

    def _verdict(self, entry: Entry, result: Result) -> Optional[retry.Verdict]:
        if result.status != BROKEN:
            return None
        verdict = verdict_of(result, self.spread())
        deadline_s = result.task.stage.retry.deadline_s
        if verdict.delay_s is None or deadline_s is None:
            return verdict
        now = self.clock.monotonic()
        began = self.began.setdefault((entry.lane.position, entry.number),
                                      now - result.duration_s)
        is_late = now + verdict.delay_s - began > deadline_s
        return retry.Verdict(None, 'too late') if is_late else verdict

    def wait_for_lock(self, entry: Entry, result: Result) -> None:
        """Another run has the stage: look again soon, as long as the caller is willing to."""
        now = self.clock.monotonic()
        waited = now - self.busy_since.setdefault(entry.lane.position, now)
        left = self.rules.lock_timeout_s - waited
        if self.stop.is_requested:
            self.settle(entry, result._replace(status=STOPPED,
                                                started_at=stamp(self.clock.now())))
        elif left <= 0:
            self.settle(entry, gave_up_waiting(result, self.rules.lock_timeout_s,
                                               stamp(self.clock.now())))
        else:
            self.agenda.pause(entry)
            self._set_timer(min(POLL_S, left), entry.lane)

    def wait_for_permit(self, entry: Entry, result: Result) -> None:
        if entry.lane.position not in self.short_since:
            self.short_since[entry.lane.position] = (self.clock.monotonic(), result.error)
            self.emit(TaskWaiting(result.task.name, result.error, result.wait_s))
        self.agenda.pause(entry)
        self._set_timer(max(_PERMIT_POLL_S, result.wait_s), entry.lane)

    def _look_at_permits_again(self) -> None:
        """A permit may have come back: let those who wait for one ask at once."""
        for position in self.short_since:
            self.agenda.unpause(self.agenda.lanes[position])

    def _cancel_the_rest(self) -> None:
        """Tell of everything that was never settled, and let go of what is held for it."""
        for lane, index in list(self.agenda.unsettled()):
            name = lane.group.stage.name if index is None else lane.group.name(index)
            self.emit(TaskCancelled(name, self.halted))
            self.teller.count(name, 'cancelled')
        for lane in self.agenda.lanes:
            if lane.is_open and lane.left:
                self.performer.finish(lane.group, is_ok=False)
                if lane.group.is_fan_out:
                    self.teller.end(lane.group.stage.name)


def _did_not_succeed(name: str) -> str:
    return f'{name} did not succeed'
