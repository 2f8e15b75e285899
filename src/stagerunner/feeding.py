"""Get tasks done that come in while others are at work: members of a collection without an end.

The loop, the retries by the clock of others and the order are those of
`scheduler`; what is new here is that an *intake* hands in members while there
is room, decides what a failure is worth, and hears when all tasks of a member
are settled.  A member has a task in each stage.  One that waits for a lock or
a permit holds up nobody but itself.
"""

from __future__ import annotations

import heapq
from typing import Dict
from typing import Iterable
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence
from typing import Set
from typing import Tuple

from stagerunner import retry
from stagerunner.agenda import NOT_OK
from stagerunner.agenda import QUEUED
from stagerunner.agenda import WAITING
from stagerunner.agenda import Agenda
from stagerunner.agenda import Entry
from stagerunner.agenda import Lane
from stagerunner.clock import stamp
from stagerunner.errors import FAILED
from stagerunner.events import EntryLeased
from stagerunner.events import Event
from stagerunner.events import TaskThrottled
from stagerunner.events import TaskWaiting
from stagerunner.events import Warned
from stagerunner.items import Item
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import STOPPED
from stagerunner.result import THROTTLED
from stagerunner.result import Outcome
from stagerunner.result import Result
from stagerunner.scheduler import Scheduler
from stagerunner.source import Means
from stagerunner.tasks import Group

#: How often somebody looks again at a lock or a permit that a member waits for, in seconds.
_LOOK_S = 0.05


class Member:
    """One that came in: its item in each collection, and what came of its tasks so far."""

    def __init__(self, name: str, items: Mapping[str, Item], attempt: int):
        self.name = name
        self.items = items
        self.attempt = attempt
        self.number = -1
        self.results: List[Result] = []
        #: The first failure that another attempt would only repeat.
        self.failure: Optional[Result] = None
        #: After how many seconds it is worth another try, where something failed that may pass.
        self.delay_s: Optional[float] = None
        #: True when not all was done that could have been: the run was asked to end.
        self.is_cut_short = False
        #: True when somebody else may have it now: nothing more is begun, and nothing published.
        self.is_lost = False


class Intake:
    """Where members come from, and who hears what came of them."""

    def take(self, room: int) -> Sequence[Member]:
        """Return up to so many members that may begin now; called in every turn."""
        raise NotImplementedError

    def lost(self) -> Sequence[Member]:
        """Return members, once each, that are lost since the last call."""
        raise NotImplementedError

    def wait_s(self, room: int) -> Optional[float]:
        """Return after how long, at the latest, the next turn has to come; None: when it likes."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """True when no member will ever come any more."""
        raise NotImplementedError

    def verdict(self, member: Member, result: Result) -> retry.Verdict:
        """Say whether a failure is worth another attempt, later and by whomever."""
        raise NotImplementedError

    def finish(self, members: Sequence[Member]) -> Sequence[Event]:
        """Take note that nothing more is done for these; return what is to be told of each."""
        raise NotImplementedError

    def news(self) -> Iterable[Event]:
        """Return what else is to be told."""
        return ()


class OpenAgenda(Agenda):
    """An agenda whose lanes get a task more with each member, and never settle."""

    def __init__(self, groups: Sequence[Group]):
        # As with many workers: a member that has come far goes first, whatever the number.
        super().__init__(groups, workers=2)
        self.attempts: Dict[int, int] = {}
        #: Of members that are not through, how many of their tasks are not settled.
        self.unfinished: Dict[int, int] = {}
        #: Members that are through, until somebody takes them out.
        self.finished: List[int] = []
        self.withdrawn: Set[Tuple[int, int]] = set()

    def open(self, lane: Lane, settled: Sequence[int] = ()) -> None:
        assert not settled
        lane.is_open = True
        # One more than there are: so it is never settled.
        lane.left = 1
        for follower in lane.followers:
            self._count_down(follower)

    def join(self, number: int, attempt: int) -> None:
        """Let the tasks of a member join, one in each lane; it is attempt `attempt` of them."""
        self.attempts[number] = attempt
        self.unfinished[number] = len(self.lanes)
        for lane in self.lanes:
            assert lane.is_open and len(lane.states) == number
            lane.states.append(WAITING)
            lane.left += 1
        for lane in self.lanes:
            self._look(lane, number)
            self._list(lane)

    def withdraw(self, number: int) -> List[str]:
        """Begin no further task of a member; return the names of those that so never run."""
        names = []
        for lane in self.lanes:
            if lane.states[number] not in (WAITING, QUEUED):
                continue
            if lane.states[number] == QUEUED:
                self.withdrawn.add((lane.position, number))
            lane.states[number] = NOT_OK
            lane.left -= 1
            names.append(lane.group.name(number))
        self._count(number, len(names))
        return names

    def leave(self, number: int) -> None:
        """Forget a member that is through."""
        del self.attempts[number]
        for lane in self.lanes:
            lane.group.leave(number)

    def pop(self) -> Optional[Entry]:
        while True:
            entry = super().pop()
            if entry is None:
                return None
            place = (entry.lane.position, entry.number)
            if place not in self.withdrawn:
                return entry._replace(attempt=self.attempts[entry.number])
            self.withdrawn.discard(place)
            entry.lane.running -= 1
            entry.lane.states[entry.number] = NOT_OK
            self._list(entry.lane)

    def settle(self, entry: Entry, *, is_ok: bool) -> None:
        super().settle(entry, is_ok=is_ok)
        self._count(entry.number, 1)

    def _count(self, number: int, n_settled: int) -> None:
        if not n_settled:
            return
        self.unfinished[number] -= n_settled
        if not self.unfinished[number]:
            del self.unfinished[number]
            self.finished.append(number)


class FedScheduler(Scheduler):
    """Gets the tasks of members done, as long as the intake has any."""

    agenda: OpenAgenda

    def __init__(self, means: Means, intake: Intake):
        super().__init__(*means)
        self.intake = intake
        self.members: Dict[int, Member] = {}
        #: Since when a task waits for a permit, and for which; since when for a lock.
        self.short: Dict[Tuple[int, int], Tuple[float, str]] = {}
        self.locked: Dict[Tuple[int, int], float] = {}
        self.told: Set[Tuple[int, int]] = set()
        #: How many members in a row failed for good.
        self.streak = 0
        sinks_idle = means.idle

        def idle() -> Optional[float]:
            waits = [wait_s for wait_s in (sinks_idle(), intake.wait_s(self._room()))
                     if wait_s is not None]
            return min(waits) if waits else None

        self.idle = idle

    def run(self, groups: Sequence[Group]) -> Outcome:
        """Do what comes in, until nothing more will, or the run is asked to end."""
        self.agenda = OpenAgenda(groups)
        while True:
            self._advance()
            self._start_what_can()
            self._finish_members()
            self._take_in()
            self._start_what_can()
            self._advance()
            self._finish_members()
            if not (self.running or self.members) and self.intake.is_over():
                break
            if not (self.running or self.ending) and self._is_halted():
                break
            self._wait()
        self._hand_in()
        self._cancel_the_rest()
        return self._outcome()

    # -- members -----------------------------------------------------------------

    def _room(self) -> int:
        return 0 if self._is_halted() else self.rules.workers - len(self.running)

    def _take_in(self) -> None:
        for member in self.intake.take(self._room()):
            self._join(member)
        lost = self.intake.lost()
        if lost:
            self._give_up(lost)
        for event in self.intake.news():
            self.emit(event)

    def _join(self, member: Member) -> None:
        encoded = ''
        for lane in self.agenda.lanes:
            assert lane.group.collection is not None
            item = member.items[lane.group.collection.name]
            member.number, encoded = lane.group.join(item), item.encoded
        self.members[member.number] = member
        self.emit(EntryLeased(member.name, stamp(self.clock.now()), member.attempt, encoded))
        self.agenda.join(member.number, member.attempt)

    def _give_up(self, members: Sequence[Member]) -> None:
        """Somebody else may work on these by now: stop, and leave everything to him."""
        names: Set[str] = set()
        for member in members:
            self.emit(Warned('', f'{member.name}: its lease was lost, so the work on it is ended'))
            self._withdraw(member)
            names.update(lane.group.name(member.number) for lane in self.agenda.lanes)
        self.performer.stop(at_once=False, only=names)

    def _withdraw(self, member: Member) -> None:
        for name in self.agenda.withdraw(member.number):
            self.performer.let_go(name)
        for lane in self.agenda.lanes:
            place = (lane.position, member.number)
            self.short.pop(place, None)
            self.locked.pop(place, None)
            self.told.discard(place)

    def _finish_members(self) -> None:
        # What became durable together ends together.
        members = [self.members.pop(number) for number in self.agenda.finished]
        self.agenda.finished.clear()
        for event in self.intake.finish(members) if members else ():
            self.emit(event)
        for member in members:
            self.agenda.leave(member.number)

    def _hand_in(self) -> None:
        """Finish all members, also those of which not everything was begun."""
        for member in list(self.members.values()):
            member.is_cut_short = True
            self._withdraw(member)
        self._finish_members()

    # -- attempts ----------------------------------------------------------------

    def begin(self, entry: Entry) -> None:
        super().begin(entry)
        place = (entry.lane.position, entry.number)
        if entry.name in self.running:
            self.locked.pop(place, None)
            self.told.discard(place)
            since, name = self.short.pop(place, (0.0, ''))
            if name:
                self.emit(TaskThrottled(entry.name, name, self.clock.monotonic() - since))

    def take(self, entry: Entry, result: Result) -> None:
        super().take(entry, result)
        if result.status not in (BUSY, THROTTLED) and self.short:
            self._look_again()

    def judge(self, entry: Entry, result: Result) -> None:
        member = self.members[entry.number]
        if member.is_lost and result.status == BROKEN:
            result = result._replace(status=STOPPED)
        member.results.append(result)
        if result.status == STOPPED or member.is_lost:
            member.is_cut_short = True
            self._withdraw(member)
        if result.status != BROKEN:
            super().judge(entry, result)
            return
        verdict = self.intake.verdict(member, result)
        self.teller.attempt(result, verdict)
        if verdict.delay_s is None:
            member.failure = member.failure or result
            self.settle(entry, result)
            return
        member.delay_s = max(member.delay_s or 0.0, verdict.delay_s)
        # Neither failed nor blocked: it comes again, here or elsewhere.
        self._withdraw(member)
        self.agenda.settle(entry, is_ok=False)
        self.performer.let_go(result.task.name)

    def settle(self, entry: Entry, result: Result) -> None:
        super().settle(entry, result)
        self.performer.let_go(result.task.name)

    def take_failure(self, name: str, exit_code: int, lane: Lane) -> None:
        super().take_failure(name, exit_code, lane)
        if exit_code != FAILED:
            # A full disk is no fault of this member, and none of the others would fare better.
            self.halted = self.halted or f'{name} failed'

    def watch_circuit(self, lane: Lane, result: Result) -> None:
        """Take in no more when one task after the other fails for good."""
        is_bad = result.status == BROKEN and result.error_class == retry.PERMANENT
        self.streak = self.streak + 1 if is_bad else 0
        if self.streak == self.rules.circuit_breaker:
            self.halted = self.halted or 'circuit open'
            self.emit(Warned('', f'{self.streak} permanent failures in a row: nothing more is '
                                 f'taken from the queue (circuit_breaker_threshold)'))

    # -- waiting -----------------------------------------------------------------

    def _park(self, entry: Entry, delay_s: float) -> None:
        """Let one task look again later; nobody else waits for it."""
        self.agenda.defer(entry)
        self._set_timer(delay_s, entry.lane, entry)

    def wait_for_lock(self, entry: Entry, result: Result) -> None:
        """Wait for whoever works on it, as an orphan of a killed runner may, as long as it takes.

        The lease is kept meanwhile, so no attempt is lost.
        """
        place, now = (entry.lane.position, entry.number), self.clock.monotonic()
        waited_s = now - self.locked.setdefault(place, now)
        if waited_s >= self.rules.lock_timeout_s and place not in self.told:
            self.told.add(place)
            self.emit(Warned(entry.name, f'waits for its lock ({result.error})'))
        self._park(entry, _LOOK_S)

    def wait_for_permit(self, entry: Entry, result: Result) -> None:
        place = (entry.lane.position, entry.number)
        if place not in self.short:
            self.short[place] = (self.clock.monotonic(), result.error)
            self.emit(TaskWaiting(entry.name, result.error, result.wait_s))
        self._park(entry, max(_LOOK_S, result.wait_s))

    def _look_again(self) -> None:
        """A permit may have come back: whoever waits for one asks at once."""
        timers, self.timers = self.timers, []
        for timer in timers:
            if timer.entry and (timer.lane.position, timer.entry.number) in self.short:
                self._ring(timer)
            else:
                heapq.heappush(self.timers, timer)
