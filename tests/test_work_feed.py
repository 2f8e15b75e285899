"""Tests of `stagerunner.work.feed`: leases are taken, kept, given back, and entries finished."""

from __future__ import annotations

import os
from typing import Any
from typing import Iterator
from typing import List
from typing import Optional

import pytest

from fakes import FakeClock
from stagerunner.events import QueueCounted
from stagerunner.events import Warned
from stagerunner.feeding import Member
from stagerunner.locks import Lock
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.result import BROKEN
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import Result
from stagerunner.retry import PERMANENT
from stagerunner.retry import TRANSIENT
from stagerunner.retry import UNKNOWN
from stagerunner.settings import QueueSettings
from stagerunner.tasks import Task
from stagerunner.tasks import make_tasks
from stagerunner.work.feed import Asked
from stagerunner.work.feed import Conclusion
from stagerunner.work.feed import QueueFeed
from stagerunner.work.feed import Runner
from stagerunner.work.feed import conclude
from stagerunner.work.feed import limits_of
from stagerunner.work.feed import verdict_of
from stagerunner.work.store import WorkQueue
from stagerunner.workspace import load
from support import Workspace

pytestmark = pytest.mark.unit

SETTINGS = QueueSettings(lease_ttl_seconds=30, heartbeat_seconds=10, retry_backoff_seconds=60,
                         jitter_seconds=15)


@pytest.fixture
def task(workspace: Workspace) -> Task:
    """Return the one task of a small workspace."""
    workspace.simple()
    return make_tasks(load(str(workspace.pipeline_file)))[0]


@pytest.fixture
def queue(tmp_path: Any, clock: FakeClock) -> Iterator[WorkQueue]:
    queue = WorkQueue(str(tmp_path / 'queue.sqlite'), clock=clock, boot='b')
    yield queue
    queue.close()


class Feeds:
    """Feeds of one queue, by the name of their worker."""

    def __init__(self, queue: WorkQueue, clock: FakeClock):
        self.queue = queue
        self.clock = clock
        self.settings = SETTINGS
        self.stores: List[WorkQueue] = []
        self.root = os.path.dirname(queue.path)
        #: Locks of runs that are alive.
        self.alive: List[Lock] = []

    def make(self, name: str = 'w', *, workers: int = 4, drains: bool = False,
             limit: Optional[int] = None, is_alive: bool = True) -> QueueFeed:
        """Return a feed with a connection of its own, as another process would have it."""
        self.stores.append(WorkQueue(self.queue.path, clock=self.clock, boot='b'))
        feed = QueueFeed(self.stores[-1], self.settings, self.clock, lambda: 0.0,
                         Runner('host', len(self.stores), name), self.root,
                         Asked(workers, drains, limit))
        feed.collections = ['jobs']
        if is_alive:
            lock = try_lock(run_lock(self.root, name))
            self.alive += [lock] if lock else []
        return feed

    def put(self, *names: str, **keys: Any) -> None:
        for name in names:
            self.queue.enqueue(name, {'of': name}, **keys)

    def state(self, name: str) -> Any:
        entry = self.queue.find(name)
        assert entry is not None
        return entry.state, entry.attempts


@pytest.fixture
def feeds(queue: WorkQueue, clock: FakeClock) -> Iterator[Feeds]:
    feeds = Feeds(queue, clock)
    yield feeds
    for store in feeds.stores:
        store.close()
    for lock in feeds.alive:
        lock.release()


def settle(member: Member, *results: Result) -> Member:
    member.results += results
    return member


# -- how an entry ends: pure -----------------------------------------------------------

def failure(task: Task, error_class: str = PERMANENT, **fields: Any) -> Result:
    return Result(task, BROKEN, 1, **dict(
        {'error': 'exit code 65', 'error_class': error_class, 'exit_code': 1}, **fields))


@pytest.mark.parametrize(('statuses', 'attempt', 'outcome'), [
    pytest.param([DONE, DONE], 1, 'done', id='all done'),
    pytest.param([SKIPPED, DONE], 1, 'done', id='some done'),
    pytest.param([SKIPPED, SKIPPED], 1, 'skipped', id='nothing to do'),
    pytest.param([SKIPPED, SKIPPED], 2, 'done', id='done by an earlier lease'),
])
def test_an_entry_that_came_through_is_done_or_skipped(task, statuses, attempt, outcome):
    member = Member('x', {}, attempt)
    member.results = [Result(task, status, attempt) for status in statuses]

    assert conclude(member) == Conclusion(outcome)


def test_a_failure_for_good_ends_an_entry_in_error_whatever_else_there_was(task):
    member = settle(Member('x', {}, 1), failure(task, TRANSIENT), failure(task),
                    Result(task, STOPPED, 1))
    member.failure, member.delay_s, member.is_cut_short = member.results[1], 5.0, True

    assert conclude(member) == Conclusion('error', 'work: exit code 65')


def test_what_may_pass_is_tried_again_after_the_longest_wait(task):
    member = settle(Member('x', {}, 1), Result(task, DONE, 1), failure(task, TRANSIENT))
    member.delay_s = 5.0

    assert conclude(member) == Conclusion('retry', 'work: exit code 65', 5.0)


def test_what_is_no_failure_of_the_entry_is_no_attempt(task):
    disk = failure(task, exit_code=5)
    full = settle(Member('x', {}, 1), disk)
    full.failure = disk
    stopped = settle(Member('y', {}, 1), Result(task, DONE, 1))
    stopped.is_cut_short = True

    assert conclude(full) == Conclusion('handed back', 'work: exit code 65')
    assert conclude(stopped) == Conclusion('handed back')


@pytest.mark.parametrize(('fields', 'attempt', 'spread', 'delay_s'), [
    pytest.param({'error_class': TRANSIENT}, 1, -1.0, 60.0, id='first, no jitter'),
    pytest.param({'error_class': TRANSIENT}, 1, 1.0, 75.0, id='first, all the jitter'),
    pytest.param({'error_class': TRANSIENT}, 2, -1.0, 120.0, id='doubled'),
    pytest.param({'error_class': TRANSIENT}, 3, -1.0, None, id='the last attempt'),
    pytest.param({'error_class': UNKNOWN}, 1, -1.0, 60.0, id='unknown'),
    pytest.param({'error_class': PERMANENT}, 1, -1.0, None, id='permanent'),
    pytest.param({'error_class': TRANSIENT, 'retry_after_s': 3.0}, 1, 1.0, 3.0, id='asked for'),
    pytest.param({'error_class': TRANSIENT, 'exit_code': 5}, 1, -1.0, None, id='the disk'),
])
def test_the_wait_before_another_lease(task, fields, attempt, spread, delay_s):
    assert verdict_of(failure(task, **fields), attempt, SETTINGS, spread).delay_s == delay_s


def test_a_wait_stays_a_number_after_very_many_attempts(task):
    settings = SETTINGS._replace(max_job_attempts=5000)

    assert verdict_of(failure(task, TRANSIENT), 4000, settings, -1.0).delay_s == 60 * 2.0 ** 20


def test_unknown_errors_are_not_tried_again_where_the_stage_says_so(task):
    policy = task.stage.retry._replace(retries_unknown=False)
    task = task._replace(stage=task.stage._replace(retry=policy))

    assert verdict_of(failure(task, UNKNOWN), 1, SETTINGS, 0.0).delay_s is None


@pytest.mark.parametrize(('hint', 'artifact', 'keys'), [
    (None, {}, ()), ('crossref', {}, ()), ('unpaywall', None, ('resolver:unpaywall',)),
    ('unpaywall', {'url': 'https://A.org:443/x'}, ('resolver:unpaywall', 'host:a.org')),
    (None, {'url': 5}, ()), (None, ['url'], ()), (None, {'url': ''}, ()),
])
def test_the_caps_of_an_entry_are_those_of_its_resolver_and_host(hint, artifact, keys):
    assert limits_of(hint, artifact, SETTINGS._replace(max_per_resolver={'unpaywall': 2})) == keys


# -- coming in -------------------------------------------------------------------------

def test_no_more_is_leased_than_there_is_room_for(feeds):
    feeds.put(*'abcdefghij')
    feed = feeds.make(workers=3)

    assert [member.name for member in feed.take(2)] == ['a', 'b']
    assert feed.take(0) == []
    # Those that wait for a lock or a permit leave room, but not for any number.
    assert [len(feed.take(3)) for _ in range(3)] == [3, 1, 0]
    assert feed.wait_s(3) == 10.0


def test_an_entry_comes_with_its_artifact_and_its_attempt(feeds):
    feeds.put('doi:1/x')
    member, = feeds.make().take(1)

    assert (member.name, member.attempt) == ('doi:1/x', 1)
    assert member.items['jobs'].content == b'{"of":"doi:1/x"}\n'
    assert member.items['jobs'].path == 'state/items/jobs/doi%3A1%2Fx.json'


def test_where_there_is_nothing_it_looks_again_after_a_growing_wait_up_to_a_second(feeds, clock):
    feed = feeds.make()
    waits = []
    for _ in range(8):
        assert feed.take(1) == []
        waits.append(feed.wait_s(1))
        clock.advance(waits[-1])

    assert waits == pytest.approx([0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0])
    feeds.put('a')
    assert len(feed.take(1)) == 1
    assert feed.wait_s(1) == 0.0


def test_a_limit_ends_it_when_all_of_them_are_finished(feeds):
    feeds.put(*'abc')
    feed = feeds.make(limit=2)
    members = feed.take(4)

    assert len(members) == 2 and not feed.is_over()
    feed.finish(members)
    assert feed.is_over() and feed.take(4) == []


def test_draining_ends_when_nothing_is_left_and_waits_for_what_others_hold(feeds, clock):
    feeds.put('a', 'b')
    other = feeds.make('other')
    theirs, = other.take(1)
    feed = feeds.make(drains=True)
    mine, = feed.take(4)
    feed.finish([mine])

    clock.advance(2)
    assert feed.take(4) == [] and not feed.is_over()
    other.finish([theirs])
    clock.advance(2)
    assert feed.take(4) == [] and feed.is_over()


def test_a_paused_queue_is_drained(feeds):
    feeds.put('a')
    feeds.queue.pause()
    feed = feeds.make(drains=True)

    assert feed.take(1) == [] and feed.is_over()


def test_without_an_end_it_is_never_over(feeds):
    feed = feeds.make()

    assert feed.take(1) == [] and not feed.is_over()


# -- keeping ---------------------------------------------------------------------------

def test_leases_are_kept_as_long_as_somebody_asks_in_time(feeds, clock):
    feeds.put('a')
    feed = feeds.make()
    member, = feed.take(1)
    for _ in range(20):
        clock.advance(feed.wait_s(0))
        assert feed.take(0) == [] and feed.lost() == []

    assert clock.monotonic() - 1000 == pytest.approx(200)
    assert feeds.make('other').take(1) == []
    assert feed.finish([member])[0].outcome == 'skipped'


def test_a_lease_is_prolonged_three_times_while_it_lasts(feeds):
    """Also where the config has fewer heartbeats than that."""
    feeds.settings = SETTINGS._replace(lease_ttl_seconds=6, heartbeat_seconds=5)
    feeds.put('a')
    feed = feeds.make()
    feed.take(1)

    assert feed.wait_s(0) == 2.0


def test_what_was_lost_is_told_once_and_is_not_finished(feeds, clock):
    feeds.put('a')
    feed, other = feeds.make(), feeds.make('other')
    mine, = feed.take(1)
    clock.advance(31)
    theirs, = other.take(1)

    feed.take(0)

    assert feed.lost() == [mine] and feed.lost() == []
    assert mine.is_lost and not feed.is_ours('a')
    assert feed.finish([mine])[0].outcome == 'lost'
    assert feeds.queue.refused() == 0
    assert (other.finish([theirs])[0].outcome, feeds.state('a')) == ('done', ('done', 2))


def test_an_entry_is_ours_while_its_lease_lasts_and_after_that_if_the_queue_says_so(feeds, clock):
    feeds.put('a')
    feed = feeds.make()
    feed.take(1)

    clock.advance(29)
    assert feed.is_ours('a')
    clock.advance(2)
    # Nobody has taken it meanwhile, so it is leased anew.
    assert feed.is_ours('a')
    assert feeds.make('other').take(1) == []


def test_a_finish_that_comes_too_late_is_refused(feeds, clock):
    feeds.put('a')
    feed = feeds.make()
    member, = feed.take(1)
    clock.advance(31)
    feeds.make('other').take(1)

    assert feed.finish([member])[0].outcome == 'lost'
    assert feeds.queue.refused() == 1 and feed.counts == {'lost': 1}


def test_what_is_still_being_ended_here_is_not_begun_again_here(feeds, clock):
    """It lost the lease, its processor is not gone yet, and the queue hands it out anew."""
    feeds.put('a')
    feed, other = feeds.make(), feeds.make('other')
    mine, = feed.take(1)
    clock.advance(31)
    other.take(1)
    other.close()

    assert feed.take(1) == [] and feed.lost() == [mine]

    assert feeds.state('a') == ('queued', 1)
    assert feeds.make('third').take(1) == []
    clock.advance(1)
    assert [member.name for member in feeds.make('fourth').take(1)] == ['a']


def test_leases_of_a_run_that_is_dead_are_not_waited_for(feeds):
    """Nobody holds the lock of its id; a live one keeps its entry."""
    feeds.put('a', 'b')
    feeds.make('alive').take(1)
    feeds.make('dead', is_alive=False).take(1)

    assert [(member.name, member.attempt) for member in feeds.make('w').take(2)] == [('b', 2)]


def test_what_may_have_killed_its_runners_has_its_last_attempt_alone(feeds):
    """Two runners died with all three in hand; only one of these can be to blame for the next."""
    feeds.put(*'abc')
    for name in ('first', 'second'):
        assert len(feeds.make(name, is_alive=False).take(4)) == 3
    feeds.put('new', priority=1)
    feed = feeds.make()

    alone, = feed.take(4)
    assert (alone.name, alone.attempt) == ('a', 3)
    assert [feeds.state(name) for name in ('b', 'c', 'new')] == [
        ('queued', 2), ('queued', 2), ('queued', 0)]
    assert feed.take(4) == []

    feed.finish([alone])
    assert [member.name for member in feed.take(4)] == ['b']
    # Another one dies of it.
    feeds.alive.pop().release()
    heir = feeds.make('heir')
    assert [member.name for member in heir.take(4)] == ['c']
    assert [feeds.state(name)[0] for name in 'abc'] == ['done', 'error', 'in_progress']


def test_what_may_have_killed_its_runners_waits_until_nothing_else_is_in_hand(feeds, clock):
    feeds.put('a')
    for name in ('first', 'second'):
        feeds.make(name, is_alive=False).take(1)
    feeds.put('new', 'newer', priority=1)
    feed = feeds.make()
    new, = feed.take(1)

    assert feed.take(3) == []
    assert [feeds.state(name) for name in ('a', 'newer')] == [('queued', 2), ('queued', 0)]
    clock.advance(2)
    assert feed.take(3) == []
    feed.finish([new])
    assert [member.name for member in feed.take(3)] == ['a']


def test_an_entry_that_failed_by_itself_is_no_suspect(feeds, task):
    feeds.put('a', 'b')
    feeds.settings = SETTINGS._replace(max_job_attempts=2)
    feed = feeds.make()
    for member in feed.take(2):
        member.delay_s = 0.0
        feed.finish([settle(member, failure(task, TRANSIENT))])

    assert [(member.name, member.attempt) for member in feed.take(2)] == [('a', 2), ('b', 2)]


def test_a_run_whose_id_is_used_again_is_dead(feeds):
    feeds.put('a')
    feeds.make('w').take(1)

    assert [member.attempt for member in feeds.make('w').take(1)] == [2]


def test_leases_of_others_are_waited_for(feeds, clock):
    """Of runs on other hosts, of programs that embed the queue: nobody here knows of them."""
    feeds.put('a', 'b')
    feeds.queue.lease('other:1:dead', 1, 30)
    feeds.queue.lease('a program', 1, 30)
    feed = feeds.make()

    assert feed.take(2) == []
    clock.advance(31)
    assert len(feed.take(2)) == 2


def test_the_dead_are_looked_for_again_after_a_while(feeds, clock):
    feeds.put('a')
    other = feeds.make('other')
    other.take(1)
    feed = feeds.make()
    assert feed.take(1) == []
    feeds.alive[0].release()
    del feeds.alive[0]

    clock.advance(4)
    assert feed.take(1) == []
    clock.advance(2)
    assert len(feed.take(1)) == 1


# -- leaving ---------------------------------------------------------------------------

def test_entries_are_finished_as_concluded(feeds, task):
    feeds.put(*'abcd')
    feed = feeds.make()
    done, retried, failed, stopped = feed.take(4)
    settle(done, Result(task, DONE, 1))
    retried.delay_s = 5.0
    settle(retried, failure(task, TRANSIENT))
    failed.failure = failure(task)
    stopped.is_cut_short = True

    ended = feed.finish([done, retried, failed, stopped])

    assert [(event.outcome, event.error, event.delay_s) for event in ended] == [
        ('done', None, None), ('retry', 'work: exit code 65', 5.0),
        ('error', 'work: exit code 65', None), ('handed back', None, None)]
    assert [feeds.state(name) for name in 'abcd'] == [
        ('done', 1), ('queued', 1), ('error', 1), ('queued', 0)]


def test_what_is_held_at_the_end_is_given_back(feeds, clock):
    feeds.put('a', 'b')
    feed = feeds.make()
    feed.take(1)
    clock.advance(31)
    feeds.make('other').take(1)

    feed.close()

    assert [feeds.state(name) for name in 'ab'] == [('in_progress', 2), ('queued', 0)]


def test_the_counts_of_the_queue_are_told_when_they_changed_at_most_once_a_second(feeds, clock):
    feeds.put('a', 'b')
    feed = feeds.make()

    assert feed.news() == [QueueCounted('2023-11-14T22:13:20.000000+00:00', 2, 0, 0, 0, 0)]
    feed.take(1)
    assert feed.news() == []
    clock.advance(1)
    assert [event[1:] for event in feed.news()] == [(1, 1, 0, 0, 0)]
    clock.advance(1)
    assert feed.news() == []


def test_who_drains_is_told_once_what_that_waits_for(feeds, clock):
    feeds.put('a')
    feeds.put('late', delay_sec=1000)
    feeds.make('other').take(1)
    feed = feeds.make(drains=True)
    told = []
    for _ in range(20):
        assert feed.take(1) == []
        told += [event.message for event in feed.news() if isinstance(event, Warned)]
        clock.advance(feed.wait_s(1))

    feeds.queue.pause()
    assert feed.take(1) == [] and feed.news() == [] and feed.is_over()
    assert told == ['waits for what is left: 1 entries in other hands, 1 that are due later']
