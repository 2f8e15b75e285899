"""Tests of `stagerunner.feeding`: members come in while others are at work, and each ends once."""

from __future__ import annotations

import signal
from typing import Any
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

import pytest

from fakes import FakePerformer
from fakes import ListSink
from stagerunner.clock import Stop
from stagerunner.errors import STATE
from stagerunner.events import AttemptEnded
from stagerunner.events import EntryEnded
from stagerunner.events import EntryLeased
from stagerunner.events import StageEnded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskThrottled
from stagerunner.events import TaskWaiting
from stagerunner.events import Warned
from stagerunner.feeding import FedScheduler
from stagerunner.feeding import Intake
from stagerunner.feeding import Member
from stagerunner.items import entry_item
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import THROTTLED
from stagerunner.retry import PERMANENT
from stagerunner.retry import TRANSIENT
from stagerunner.retry import Verdict
from stagerunner.scheduler import Outcome
from stagerunner.scheduler import Rules
from stagerunner.source import Means
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

BAD = {'status': BROKEN, 'error': 'x', 'error_class': PERMANENT, 'exit_code': 1, 'code': 65}
PASSES = {'status': BROKEN, 'error': 'x', 'error_class': TRANSIENT, 'exit_code': 1, 'code': 75}


class Basket(Intake):
    """An intake whose members a test puts in; it keeps how each of them ended."""

    def __init__(self, kitchen: Kitchen):
        self.kitchen = kitchen
        self.waiting: List[Member] = []
        self.gone: List[Member] = []
        #: How much room there was, each time that somebody asked.
        self.rooms: List[int] = []
        self.ended: List[Tuple[str, str, List[str]]] = []
        self.n_held = 0

    def put(self, *names: str, attempt: int = 1) -> List[Member]:
        """Let members come in as soon as there is room."""
        members = [Member(name, {'jobs': entry_item(str(self.kitchen.workspace.root), 'jobs', name,
                                                    {})}, attempt) for name in names]
        self.waiting += members
        return members

    def take(self, room: int) -> Sequence[Member]:
        self.rooms.append(room)
        taken, self.waiting = self.waiting[:room], self.waiting[room:]
        self.n_held += len(taken)
        return taken

    def lost(self) -> Sequence[Member]:
        gone, self.gone = self.gone, []
        return gone

    def wait_s(self, room: int) -> Optional[float]:
        return 1.0

    def is_over(self) -> bool:
        return not (self.waiting or self.n_held)

    def verdict(self, member: Member, result: Any) -> Verdict:
        return Verdict(7.0 if result.error_class == TRANSIENT else None, 'as the test says')

    def finish(self, members: Sequence[Member]) -> Sequence[EntryEnded]:
        return [self._end(member) for member in members]

    def _end(self, member: Member) -> EntryEnded:
        self.n_held -= 1
        how = ('lost' if member.is_lost else 'failed' if member.failure
               else 'cut short' if member.is_cut_short
               else 'put off' if member.delay_s is not None else 'through')
        self.ended.append((member.name, how, [result.status for result in member.results]))
        return EntryEnded(member.name, '', member.attempt, how)


class Kitchen:
    """A fed scheduler over the stages `a`, and `b` which needs `a`."""

    def __init__(self, workspace: Workspace, performer: FakePerformer):
        self.workspace = workspace.simple()
        self.performer = performer
        self.clock = performer.clock
        self.stop = Stop()
        self.sink = ListSink()
        self.basket = Basket(self)
        self.rules = Rules(10.0, 2, keeps_going=True)
        self.stages = [stage('a', forEach='jobs', outputDir='data/a/{item.id}'),
                       stage('b', forEach='jobs', outputDir='data/b/{item.id}', dependsOn=['a'])]

    def run(self) -> Outcome:
        self.workspace.pipeline(*self.stages, items={'jobs': {'queue': True}})
        self.scheduler = FedScheduler(
            Means(self.performer, self.clock, self.stop, self.sink, self.rules, lambda: 0.0,
                  lambda: None), self.basket)
        return self.scheduler.run(make_groups(load(str(self.workspace.pipeline_file))))

    @property
    def ended(self) -> List[Tuple[str, str, List[str]]]:
        """How each member ended: name, how, and the statuses of its tasks."""
        return self.basket.ended

    def started(self) -> List[str]:
        return [name for name, _ in self.performer.started]

    def told(self, kind: type) -> List[str]:
        return [event.task for event in self.sink.of(kind)]


@pytest.fixture
def kitchen(workspace: Workspace) -> Iterator[Kitchen]:
    kitchen = Kitchen(workspace, FakePerformer())
    yield kitchen
    kitchen.stop.close()


# -- coming in -----------------------------------------------------------------------

def test_each_member_goes_through_all_stages(kitchen):
    kitchen.basket.put('x', 'y', 'z')

    assert kitchen.run() == Outcome(None, 0)

    assert sorted(kitchen.started()) == [f'{name}[{one}]' for name in 'ab' for one in 'xyz']
    assert kitchen.ended == [(one, 'through', ['ok', 'ok']) for one in 'xyz']
    assert [event.counts for event in kitchen.sink.of(StageEnded)] == [{'ok': 3}] * 2


def test_members_are_asked_for_only_when_there_is_room(kitchen):
    kitchen.basket.put(*'vwxyz')

    kitchen.run()

    assert max(kitchen.basket.rooms) == 2 and min(kitchen.basket.rooms) == 0
    leased = [event.artifact_id for event in kitchen.sink.of(EntryLeased)]
    assert leased == list('vwxyz')


def test_with_one_worker_a_member_goes_through_before_the_next_one_comes_in(kitchen):
    kitchen.rules = kitchen.rules._replace(workers=1)
    kitchen.basket.put('x', 'y')

    kitchen.run()

    assert kitchen.started() == ['a[x]', 'b[x]', 'a[y]', 'b[y]']


def test_members_that_come_later_are_waited_for(kitchen):
    """Nothing runs meanwhile: the intake says when to ask again."""
    kitchen.basket.n_held = 1

    def arrive() -> None:
        kitchen.performer.during_wait = lambda: None
        kitchen.basket.n_held = 0
        kitchen.basket.put('x')

    kitchen.performer.during_wait = arrive

    assert kitchen.run().exit_code == 0
    assert kitchen.performer.waits[0] == 1.0
    assert kitchen.ended == [('x', 'through', ['ok', 'ok'])]


def test_the_attempts_of_tasks_are_those_of_their_member(kitchen):
    kitchen.basket.put('x', attempt=3)

    kitchen.run()

    assert kitchen.performer.started == [('a[x]', 3), ('b[x]', 3)]


def test_a_member_of_which_nothing_has_to_be_done_is_through_at_once(workspace):
    kitchen = Kitchen(workspace, FakePerformer(is_immediate=True))
    kitchen.performer.will('a[x]', {'status': SKIPPED}).will('b[x]', {'status': SKIPPED})
    kitchen.basket.put('x')

    assert kitchen.run() == Outcome(None, 0)
    assert kitchen.ended == [('x', 'through', ['skipped', 'skipped'])]
    kitchen.stop.close()


def test_what_is_through_is_forgotten(kitchen):
    kitchen.basket.put(*'xyz')

    kitchen.run()

    assert kitchen.scheduler.members == {} and kitchen.scheduler.agenda.attempts == {}
    assert kitchen.scheduler.agenda.unfinished == {}
    assert sorted(kitchen.performer.let_go_of) == sorted(kitchen.started())


# -- failing -------------------------------------------------------------------------

def test_a_failure_for_good_blocks_the_rest_of_its_member_and_nobody_else(kitchen):
    kitchen.performer.will('a[x]', BAD)
    kitchen.basket.put('x', 'y')

    assert kitchen.run() == Outcome('a[x]', 1)

    assert sorted(kitchen.ended) == [('x', 'failed', ['failed']), ('y', 'through', ['ok', 'ok'])]
    assert kitchen.told(TaskBlocked) == ['b[x]']


def test_a_failure_that_may_pass_is_put_off_and_is_no_failure_of_the_run(kitchen):
    kitchen.performer.will('a[x]', PASSES)
    kitchen.basket.put('x')

    assert kitchen.run() == Outcome(None, 0)

    assert kitchen.ended == [('x', 'put off', ['failed'])]
    assert [event.delay_s for event in kitchen.sink.of(TaskRetrying)] == [7.0]
    assert [event.delay_s for event in kitchen.sink.of(AttemptEnded)] == [7.0]
    assert kitchen.told(TaskBlocked) == kitchen.told(TaskCancelled) == []
    assert kitchen.performer.let_go_of == ['b[x]', 'a[x]']


def test_a_full_disk_is_no_failure_of_a_member_and_ends_the_run(kitchen):
    kitchen.rules = kitchen.rules._replace(workers=1)
    kitchen.performer.will('a[x]', dict(BAD, exit_code=STATE))
    kitchen.basket.put('x', 'y')

    assert kitchen.run() == Outcome('a[x]', STATE)

    assert kitchen.started() == ['a[x]']
    assert [member.name for member in kitchen.basket.waiting] == ['y']


def test_after_so_many_failures_in_a_row_nothing_more_is_taken(kitchen):
    kitchen.rules = kitchen.rules._replace(workers=1, circuit_breaker=2)
    kitchen.performer.will('a[v]', BAD).will('a[x]', BAD).will('a[y]', BAD)
    kitchen.basket.put(*'vwxyz')

    assert kitchen.run().exit_code == 1

    assert [name for name, *_ in kitchen.ended] == list('vwxy')
    assert [event.message for event in kitchen.sink.of(Warned)] == [
        '2 permanent failures in a row: nothing more is taken from the queue '
        '(circuit_breaker_threshold)']


# -- waiting -------------------------------------------------------------------------

def test_who_waits_for_a_lock_holds_up_nobody_else_and_is_waited_for(kitchen):
    kitchen.performer.will('a[x]', *[{'status': BUSY, 'error': 'held by pid 7'}] * 250)
    kitchen.basket.put('x', 'y')

    assert kitchen.run().exit_code == 0

    assert [name for name, *_ in kitchen.ended] == ['y', 'x']
    assert [str(event) for event in kitchen.told(Warned)] == ['a[x]']
    assert kitchen.sink.of(Warned)[0].message == 'waits for its lock (held by pid 7)'


def test_who_waits_for_a_permit_holds_up_nobody_else_and_asks_when_one_comes_back(kitchen):
    kitchen.performer.will('a[x]', *[{'status': THROTTLED, 'error': 'host:h', 'wait_s': 60.0}] * 2)
    kitchen.performer.will('a[y]', {'duration_s': 5.0})
    kitchen.basket.put('x', 'y')
    began_s = kitchen.clock.monotonic()

    assert kitchen.run().exit_code == 0

    assert kitchen.clock.monotonic() - began_s < 60
    assert kitchen.told(TaskWaiting) == ['a[x]']
    waited, = kitchen.sink.of(TaskThrottled)
    assert (waited.task, waited.name, waited.waited_s) == ('a[x]', 'host:h', 5.0)


# -- ending --------------------------------------------------------------------------

def test_a_lost_member_is_stopped_and_nothing_further_of_it_begins(kitchen):
    lost, _ = kitchen.basket.put('x', 'y')

    def lose() -> None:
        if not lost.is_lost:
            lost.is_lost = True
            kitchen.basket.gone.append(lost)

    kitchen.performer.during_wait = lose
    kitchen.performer.will('a[x]', {'duration_s': 1.0}).will('a[y]', {'duration_s': 0.5})

    assert kitchen.run().exit_code == 0

    assert ('x', 'lost') in [(name, how) for name, how, _ in kitchen.ended]
    assert ('y', 'through', ['ok', 'ok']) in kitchen.ended
    assert 'b[x]' not in kitchen.started()
    assert [event.message for event in kitchen.sink.of(Warned)] == [
        'x: its lease was lost, so the work on it is ended']


def test_what_a_lost_member_fails_with_is_nobodys_failure(kitchen):
    member, = kitchen.basket.put('x')
    kitchen.performer.will('a[x]', BAD)
    kitchen.performer.during_wait = lambda: setattr(member, 'is_lost', True)

    assert kitchen.run() == Outcome(None, 0)
    assert kitchen.ended == [('x', 'lost', ['interrupted'])]


def test_a_request_to_stop_cuts_short_what_is_at_work_and_takes_no_more(kitchen):
    kitchen.basket.put('x', 'y', 'z')
    kitchen.performer.during_wait = lambda: kitchen.stop.request(signal.SIGTERM)
    kitchen.performer.will('a[x]', {'status': STOPPED})

    kitchen.run()

    assert sorted(kitchen.ended) == [('x', 'cut short', ['interrupted']),
                                     ('y', 'cut short', ['interrupted'])]
    assert kitchen.told(TaskBlocked) == kitchen.told(TaskCancelled) == []
    assert [member.name for member in kitchen.basket.waiting] == ['z']


def test_who_waits_for_a_lock_when_the_run_is_to_end_is_handed_in(kitchen):
    kitchen.performer.will('a[x]', *[{'status': BUSY, 'error': 'held'}] * 9)
    kitchen.performer.during_wait = lambda: kitchen.stop.request(signal.SIGTERM)
    kitchen.basket.put('x')

    kitchen.run()

    assert kitchen.ended == [('x', 'cut short', [])]


def test_what_was_ready_of_a_member_that_is_put_off_is_left_for_the_next_time(kitchen):
    kitchen.rules = kitchen.rules._replace(workers=1)
    kitchen.stages.append(stage('c', forEach='jobs', outputDir='data/c/{item.id}'))
    kitchen.performer.will('a[x]', PASSES)
    kitchen.basket.put('x', 'y')

    assert kitchen.run().exit_code == 0

    assert kitchen.started() == ['a[x]', 'a[y]', 'b[y]', 'c[y]']
    assert kitchen.ended == [('x', 'put off', ['failed']), ('y', 'through', ['ok'] * 3)]
