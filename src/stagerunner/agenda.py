"""What is to be done, what may start now, and what follows when something ends.

Pure: told of every start, end and wait, it does neither look at a clock nor at
a disk.  A lane is the way of one stage's tasks.  It opens when the stages that
it needs are done as a whole; a task in it is ready when its pairs (the tasks
of other stages for the same item) are done.  Cost per task does not depend on
how many there are.
"""

from __future__ import annotations

import heapq
from collections import deque

from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.tasks import Group
from stagerunner.tasks import in_order

if TYPE_CHECKING:
    from typing import Collection
    from typing import Deque
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple

#: Where a task is: not ready, in a queue or waiting for a retry, at work, settled; or it ended
#: well and is not durable yet.
WAITING, QUEUED, RUNNING, OK, NOT_OK, ENDED = range(6)


#: Blocks what is left of a stage whose tasks fail one after the other.
CIRCUIT_OPEN = 'circuit open'


class Entry(NamedTuple):
    """One attempt that is due: the task with this number in a lane."""

    lane: Lane
    number: int
    attempt: int

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.lane.group.name(self.number)


class Lane:
    """The tasks of one stage on their way."""

    def __init__(self, group: Group, position: int):
        self.group = group
        self.position = position
        #: Stages to be settled, and stages of pairs to be opened, before this one opens.
        self.waits_for = 0
        self.dependents: List[Lane] = []
        self.followers: List[Lane] = []
        self.pairs: List[Lane] = []
        self.is_open = False
        self.states = bytearray()
        self.ready: List[Tuple[int, int]] = []
        self.running = 0
        self.left = 0
        self.is_listed = False
        self.is_paused = False
        #: The first task that did not succeed here, and what keeps all of it from starting.
        self.failure = ''
        self.blocked_by = ''

    @property
    def is_full(self) -> bool:
        """True when the stage's own cap allows no further task."""
        cap = self.group.stage.max_workers
        return cap is not None and self.running >= cap


class Agenda:
    """Keeps all lanes; the scheduler asks it what is next and tells it what came of that.

    With one worker stages take place strictly in their declared order: a lane
    also waits for the one before it.  With more, a task of an item that has
    come far goes before one of an item that has not begun.
    """

    def __init__(self, groups: Sequence[Group], workers: int):
        self.lanes = [Lane(group, position) for position, group in enumerate(in_order(groups))]
        self.is_sequential = workers == 1
        self.openable: Deque[Lane] = deque()
        self.settled: Deque[Lane] = deque()
        self.blocked: Deque[Tuple[Entry, str]] = deque()
        self.listed: List[Tuple[Tuple[int, int], int]] = []
        self._connect()

    def _connect(self) -> None:
        by_position = {lane.group.position: lane for lane in self.lanes}
        before: Set[int] = set()
        for lane in self.lanes:
            group = lane.group
            needs = before.union(filter(by_position.__contains__, group.needs))
            for position in needs:
                by_position[position].dependents.append(lane)
            lane.waits_for = len(needs)
            for position in filter(by_position.__contains__, group.pairs):
                pair = by_position[position]
                lane.pairs.append(pair)
                if position not in needs:
                    pair.followers.append(lane)
                    lane.waits_for += 1
            if not lane.waits_for:
                self.openable.append(lane)
            if self.is_sequential:
                before = {group.position}

    # -- opening ---------------------------------------------------------------

    def free_members(self, lane: Lane) -> Sequence[int]:
        """Return the numbers of the tasks that may start as soon as the lane is open."""
        return [index for index in range(len(lane.group))
                if all(pair.states[index] == OK for pair in lane.pairs)
                ] if lane.pairs else range(len(lane.group))

    def open(self, lane: Lane, settled: Sequence[int] = ()) -> None:
        """Let a lane begin, whose group is expanded now; of some tasks nothing need be done."""
        lane.is_open = True
        lane.states = bytearray(len(lane.group))
        lane.left = len(lane.group) - len(settled)
        for index in settled:
            lane.states[index] = OK
        for index, state in enumerate(lane.states):
            if state == WAITING:
                self._look(lane, index)
        self._list(lane)
        for follower in lane.followers:
            self._count_down(follower)
        if not lane.left:
            self.settled.append(lane)

    def pass_over(self, lane: Lane) -> None:
        """Settle a lane of which nothing needs to be done, without opening it."""
        lane.is_open = True
        for follower in lane.followers:
            self._count_down(follower)
        self.close(lane)

    def block(self, lane: Lane) -> None:
        """Close a lane that cannot begin."""
        lane.is_open = True
        lane.failure = lane.blocked_by
        for follower in lane.followers:
            follower.blocked_by = follower.blocked_by or lane.blocked_by
            self._count_down(follower)
        self.settled.append(lane)

    def close(self, lane: Lane) -> None:
        """Tell those who wait for the whole of a settled lane."""
        for dependent in lane.dependents:
            # Of a lane that never began there are no tasks to go by.
            is_needed = (lane.group.position in dependent.group.needs
                         or lane.blocked_by and lane in dependent.pairs)
            if lane.failure and is_needed:
                dependent.blocked_by = dependent.blocked_by or lane.failure
            self._count_down(dependent)

    def _count_down(self, lane: Lane) -> None:
        lane.waits_for -= 1
        if not lane.waits_for:
            self.openable.append(lane)

    def _look(self, lane: Lane, index: int) -> None:
        """Make a task ready, or blocked, if its pairs say so."""
        for pair in lane.pairs:
            if pair.states[index] == NOT_OK:
                lane.states[index] = QUEUED
                self.blocked.append((Entry(lane, index, 1), pair.group.name(index)))
                return
            if pair.states[index] != OK:
                return
        lane.states[index] = QUEUED
        heapq.heappush(lane.ready, (index, 1))

    # -- what is next ------------------------------------------------------------

    def pop(self) -> Optional[Entry]:
        """Return the next attempt that may start, None where there is none now."""
        while self.listed:
            lane = self.lanes[heapq.heappop(self.listed)[1]]
            lane.is_listed = False
            if lane.ready and not (lane.is_paused or lane.is_full):
                index, attempt = heapq.heappop(lane.ready)
                lane.running += 1
                lane.states[index] = RUNNING
                self._list(lane)
                return Entry(lane, index, attempt)
        return None

    def _list(self, lane: Lane) -> None:
        if lane.ready and not (lane.is_listed or lane.is_paused or lane.is_full):
            index = lane.ready[0][0]
            rank = ((lane.position, index) if self.is_sequential else (index, lane.position))
            heapq.heappush(self.listed, (rank, lane.position))
            lane.is_listed = True

    def following(self, at_work: Collection[Entry]) -> Optional[Group]:
        """Return the plain stage that comes next if the one at work ends well, if that is sure."""
        if not self.is_sequential or len(at_work) != 1:
            return None
        lane = next(iter(at_work)).lane
        after = self.lanes[lane.position + 1:lane.position + 2]
        if not after or after[0].blocked_by or any(
                group.is_fan_out for group in (lane.group, after[0].group)):
            return None
        return after[0].group

    # -- what came of it -----------------------------------------------------------

    def pause(self, entry: Entry) -> None:
        """Put an attempt back that could not start; its lane rests until `unpause`."""
        self.defer(entry)
        entry.lane.is_paused = True
        heapq.heappush(entry.lane.ready, (entry.number, entry.attempt))

    def unpause(self, lane: Lane) -> None:
        """Let a lane that rested go on."""
        lane.is_paused = False
        self._list(lane)

    def defer(self, entry: Entry) -> None:
        """Take note that an attempt is over and another one follows later."""
        entry.lane.running -= 1
        entry.lane.states[entry.number] = QUEUED
        self._list(entry.lane)

    def free(self, entry: Entry) -> None:
        """Take note that a task is not at work any more, although it is not settled yet."""
        entry.lane.running -= 1
        entry.lane.states[entry.number] = ENDED
        self._list(entry.lane)

    def renew(self, entry: Entry) -> None:
        """Queue an attempt whose time has come."""
        heapq.heappush(entry.lane.ready, (entry.number, entry.attempt))
        self._list(entry.lane)

    def break_off(self, lane: Lane) -> None:
        """Block every task of a lane that is not at work, settled or about to be tried again."""
        for index, _ in sorted(lane.ready):
            self.blocked.append((Entry(lane, index, 1), CIRCUIT_OPEN))
        lane.ready = []
        for index, state in enumerate(lane.states):
            if state == WAITING:
                lane.states[index] = QUEUED
                self.blocked.append((Entry(lane, index, 1), CIRCUIT_OPEN))

    def settle(self, entry: Entry, *, is_ok: bool) -> None:
        """Take note of how a task ended for good, and of what follows for others."""
        lane, index = entry.lane, entry.number
        if lane.states[index] == RUNNING:
            lane.running -= 1
        lane.states[index] = OK if is_ok else NOT_OK
        lane.left -= 1
        if not is_ok:
            lane.failure = lane.failure or entry.name
        self._list(lane)
        for follower in lane.followers:
            if follower.is_open and follower.states and follower.states[index] == WAITING:
                self._look(follower, index)
                self._list(follower)
        if not lane.left:
            self.settled.append(lane)

    def unsettled(self) -> Iterator[Tuple[Lane, Optional[int]]]:
        """Yield what never came to an end, in order; (lane, None): nothing of it is known."""
        for lane in self.lanes:
            if not lane.is_open and lane.group.is_fan_out:
                yield lane, None
            elif not lane.is_open:
                yield lane, 0
            for index, state in enumerate(lane.states):
                if state in (WAITING, QUEUED):
                    yield lane, index
