"""The queue: put in once, leased to one, finished once, whatever the clock does."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

from fakes import FakeClock
from stagerunner.errors import LeaseLost
from stagerunner.errors import StateError
from stagerunner.work.entries import JobState
from stagerunner.work.store import WorkQueue

YEAR_S = 365 * 86_400


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / 'queue.db')


@pytest.fixture
def queue(path: str, clock: FakeClock) -> Iterator[WorkQueue]:
    queue = WorkQueue(path, clock=clock, boot='one')
    yield queue
    queue.close()


def fill(queue: WorkQueue, *names: str, **values: Any) -> None:
    for name in names:
        assert queue.enqueue(name, {'name': name}, **values)


def leased(queue: WorkQueue, limit: int = 10, ttl_s: float = 60, **values: Any) -> List[str]:
    return [job['artifact_id'] for job in queue.lease('w', limit, ttl_s, **values)]


def row(path: str, name: str) -> Any:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return dict(connection.execute('SELECT * FROM jobs WHERE artifact_id = ?',
                                       (name,)).fetchone())
    finally:
        connection.close()


# -- putting in ----------------------------------------------------------------------

def test_an_entry_is_added_once_however_it_ended(queue):
    assert queue.enqueue('a', {'x': 1}) is True
    assert queue.enqueue('a', {'x': 2}) is False
    job, = queue.lease('w', 1, 60)
    queue.ack(job['id'], 'done')

    assert queue.enqueue('a', {}) is False
    assert job['artifact_json'] == '{"x": 1}'


def test_the_table_has_the_columns_of_the_contract(queue, path):
    fill(queue, 'a')

    found = row(path, 'a')
    assert {'id', 'artifact_id', 'artifact_json', 'state', 'attempts', 'lease_expires_at',
            'worker_id', 'last_error', 'created_at', 'updated_at'} <= set(found)
    assert found['created_at'] == '2023-11-14T22:13:20.000000+00:00'


def test_many_are_added_in_one_go_and_the_new_ones_counted(queue):
    fill(queue, 'b')

    assert queue.enqueue_many({'artifact_id': name, 'artifact': 1} for name in 'abcc') == 2
    assert queue.enqueue_many([]) == 0
    assert queue.stats()['total'] == 3


def test_rows_keep_their_order_whatever_is_delayed(queue, clock):
    """The first of two with the same id counts; more rows than one statement takes."""
    rows = [{'artifact_id': f'e{number % 300}', 'artifact': number,
             'delay_sec': number % 3 and number} for number in range(600)]

    assert queue.enqueue_many(rows) == 300
    clock.advance(300)

    found = queue.lease('w', 600, 60)
    assert [(job['artifact_id'], job['artifact_json']) for job in found] == [
        (f'e{number}', str(number)) for number in range(300)]
    assert queue.stats()['in_progress'] == 300


@pytest.mark.parametrize(('row', 'said'), [
    pytest.param(['artifact_id'], 'expected an object', id='no-object'),
    pytest.param({'artifact': 1}, 'artifact_id', id='no-id'),
    pytest.param({'artifact_id': '', 'artifact': 1}, 'artifact_id', id='empty-id'),
    pytest.param({'artifact_id': 'x'}, 'has no artifact', id='no-artifact'),
    pytest.param({'artifact_id': 'x', 'artifact': {1, 2}}, 'set', id='no-json'),
    pytest.param({'artifact_id': 'x', 'artifact': float('nan')}, 'JSON', id='nan'),
    pytest.param({'artifact_id': '\ud800', 'artifact': 1}, 'surrogates', id='half-character'),
    pytest.param({'artifact_id': 'x', 'artifact': 1, 'prio': 1}, "'prio'", id='unknown-key'),
    pytest.param({'artifact_id': 'x', 'artifact': 1, 'priority': '1'}, 'priority', id='priority'),
    pytest.param({'artifact_id': 'x', 'artifact': 1, 'delay_sec': -1}, 'delay_sec', id='delay'),
    pytest.param({'artifact_id': 'x', 'artifact': 1, 'resolver_hint': 1}, 'hint', id='hint'),
])
def test_a_row_with_a_fault_is_named_and_nothing_is_added(queue, row, said):
    with pytest.raises(ValueError, match=f'row 2: .*{said}'):
        queue.enqueue_many([{'artifact_id': 'good', 'artifact': 1}, row])

    assert queue.stats()['total'] == 0


# -- handing out ---------------------------------------------------------------------

def test_the_highest_priority_comes_first_then_the_oldest(queue):
    fill(queue, 'a', 'b')
    fill(queue, 'c', priority=5)
    fill(queue, 'd', priority=-1)

    assert leased(queue, limit=3) == ['c', 'a', 'b']
    assert leased(queue) == ['d']


def test_a_delayed_entry_waits_and_then_keeps_its_place(queue, clock):
    fill(queue, 'late', delay_sec=30, priority=1)
    fill(queue, 'a', 'b')

    assert leased(queue, limit=1) == ['a']
    clock.advance(30)
    assert leased(queue) == ['late', 'b']


def test_a_lease_says_what_is_needed_to_finish_it(queue, path):
    fill(queue, 'a', resolver_hint='unpaywall')

    job, = queue.lease('w', 1, 60)

    assert {key: job[key] for key in ('artifact_id', 'artifact_json', 'attempts',
                                      'resolver_hint')} == {
        'artifact_id': 'a', 'artifact_json': '{"name": "a"}', 'attempts': 1,
        'resolver_hint': 'unpaywall'}
    found = row(path, 'a')
    assert (found['state'], found['worker_id']) == ('in_progress', 'w')
    assert found['lease_expires_at'] == '2023-11-14T22:14:20.000000+00:00'
    assert found['token'] == job['token']


@pytest.mark.parametrize('values', [(-1, 60, 3), (1, 0, 3), (1, float('inf'), 3), (1, 60, 0)])
def test_a_lease_that_makes_no_sense_is_refused(queue, values):
    with pytest.raises(ValueError, match='expected'):
        queue.lease('w', *values)


def test_an_entry_that_kills_its_workers_ends_in_error(queue, clock, path):
    fill(queue, 'poison')
    for _ in range(2):
        assert leased(queue, max_attempts=2) == ['poison']
        assert leased(queue, max_attempts=2) == []
        clock.advance(60)

    assert leased(queue, max_attempts=2) == []
    found = row(path, 'poison')
    assert (found['state'], found['attempts']) == ('error', 2)
    assert 'lease ran out' in found['last_error']


def test_a_heartbeat_keeps_what_this_object_holds_and_nothing_else(queue, path, clock):
    fill(queue, 'mine', 'theirs')
    other = WorkQueue(path, clock=clock, boot='one')
    leased(queue, limit=1)
    leased(other)
    clock.advance(50)

    assert queue.heartbeat('w', 60) == 1
    assert queue.heartbeat('somebody else', 60) == 0
    clock.advance(20)

    assert leased(queue) == ['theirs']
    assert other.heartbeat('w', 60) == 0
    other.close()


# -- finishing -----------------------------------------------------------------------

@pytest.mark.parametrize('outcome', ['done', 'skipped', 'error', JobState.DONE])
def test_an_entry_is_finished_once(queue, path, outcome):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)

    queue.ack(job['id'], outcome, last_error='why')
    with pytest.raises(LeaseLost):
        queue.ack(job['id'], 'done', token=job['token'])

    found = row(path, 'a')
    assert (found['state'], found['last_error'], found['token']) == (outcome, 'why', None)
    assert queue.refused() == 1


@pytest.mark.parametrize('outcome', ['queued', 'in_progress', 'other'])
def test_an_entry_ends_only_in_what_is_an_end(queue, outcome):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)

    with pytest.raises(ValueError, match=outcome):
        queue.ack(job['id'], outcome)


def test_who_lost_the_lease_changes_nothing(queue, clock):
    fill(queue, 'a')
    late, = queue.lease('w', 1, 60)
    clock.advance(60)
    now, = queue.lease('v', 1, 60)

    for finish in (lambda: queue.ack(late['id'], 'done', token=late['token']),
                   lambda: queue.fail_and_retry(late['id'], 0, 3, 'x', token=late['token']),
                   lambda: queue.hand_back(late['id'], token=late['token'])):
        with pytest.raises(LeaseLost, match=f"queue entry {late['id']} is not leased"):
            finish()

    assert queue.refused() == 3
    queue.ack(now['id'], 'done')
    assert queue.stats()['done'] == 1


def test_a_lease_that_ran_out_may_be_finished_until_somebody_takes_it(queue, clock):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)
    clock.advance(3600)

    queue.ack(job['id'], 'done')

    assert queue.stats()['done'] == 1


def test_a_failure_is_queued_for_later_until_the_last_attempt(queue, clock, path):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)
    queue.fail_and_retry(job['id'], 30, 2, 'first')

    assert row(path, 'a')['available_at'] == '2023-11-14T22:13:50.000000+00:00'
    assert leased(queue) == []
    clock.advance(30)
    job, = queue.lease('w', 1, 60)
    queue.fail_and_retry(job['id'], 30, 2, 'second')

    found = row(path, 'a')
    assert (found['state'], found['attempts'], found['last_error']) == ('error', 2, 'second')


def test_a_failure_without_a_wait_is_handed_out_at_once(queue):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)
    queue.fail_and_retry(job['id'], 0, 3, 'x')

    assert leased(queue) == ['a']


def test_what_is_handed_back_was_no_attempt(queue):
    fill(queue, 'a')
    job, = queue.lease('w', 1, 60)
    queue.hand_back(job['id'])

    again, = queue.lease('w', 1, 60)
    assert again['attempts'] == 1


# -- running it ----------------------------------------------------------------------

def test_what_failed_can_be_queued_again_as_new(queue):
    fill(queue, 'a', 'b')
    for job in queue.lease('w', 2, 60):
        queue.ack(job['id'], 'error' if job['artifact_id'] == 'a' else 'done')

    assert queue.retry_failed() == 1
    job, = queue.lease('w', 2, 60)
    assert (job['artifact_id'], job['attempts']) == ('a', 1)


def test_a_paused_queue_hands_out_nothing_to_anybody(queue, path, clock):
    fill(queue, 'a')
    other = WorkQueue(path, clock=clock, boot='one')
    other.pause()

    assert (leased(queue), queue.is_paused()) == ([], True)
    other.resume()
    assert (leased(queue), queue.is_paused()) == (['a'], False)
    other.close()


def test_the_counts_are_those_of_the_table(queue):
    fill(queue, *'abcde')
    queue.lease('w', 4, 60)
    queue.ack(1, 'done')
    queue.ack(2, 'skipped')
    queue.ack(3, 'error')

    assert queue.stats() == {'queued': 1, 'in_progress': 1, 'done': 1, 'skipped': 1, 'error': 1,
                             'total': 5}


def test_finished_entries_are_forgotten_on_demand(queue):
    fill(queue, *'abcd')
    queue.lease('w', 3, 60)
    for job_id, outcome in enumerate(('done', 'skipped', 'error'), 1):
        queue.ack(job_id, outcome)

    assert queue.purge('done') == 1
    assert queue.purge() == 2
    assert queue.stats()['total'] == 1
    with pytest.raises(ValueError, match='only finished'):
        queue.purge('queued')


def test_a_newer_queue_is_refused(queue, path):
    fill(queue, 'a')
    queue.close()
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA user_version=99')
    connection.close()

    with pytest.raises(StateError, match='has format 99'):
        WorkQueue(path).stats()


def test_only_what_was_finished_long_ago_is_forgotten(queue, clock):
    fill(queue, *'ab')
    queue.lease('w', 2, 600)
    queue.ack(1, 'done')
    clock.advance(100)
    queue.ack(2, 'done')
    clock.advance(50)

    assert queue.purge(older_than_sec=151) == 0
    assert queue.purge(older_than_sec=150) == 1
    assert [entry.artifact_id for entry in queue.entries()] == ['b']
    assert queue.attempts(1) == []


def test_many_are_forgotten_in_steps(queue, monkeypatch):
    monkeypatch.setattr('stagerunner.work.store._PURGED_AT_ONCE', 3)
    fill(queue, *'abcdefg')
    for job in queue.lease('w', 7, 60):
        queue.ack(job['id'], 'skipped' if job['id'] % 3 else 'done')

    assert queue.purge('skipped') == 5
    assert queue.stats()['total'] == 2


# -- looking -------------------------------------------------------------------------

def test_entries_come_in_pages(queue):
    fill(queue, *'abcde')
    queue.lease('w', 2, 60)

    first = queue.entries(limit=3)
    assert [entry.artifact_id for entry in first] == ['a', 'b', 'c']
    assert [entry.artifact_id for entry in queue.entries(after=first[-1].id)] == ['d', 'e']
    assert [entry.artifact_id for entry in queue.entries('queued', limit=2)] == ['c', 'd']
    assert queue.entries('error') == []
    with pytest.raises(ValueError, match='other'):
        queue.entries('other')


def test_an_entry_is_found_with_all_that_is_known_of_it(queue, path):
    queue.enqueue('a', {'x': 1}, 'unpaywall', 2, delay_sec=30)

    entry = queue.find('a')

    assert entry == (1, 'a', '{"x": 1}', 'unpaywall', 2, 'queued', 0,
                     '2023-11-14T22:13:50.000000+00:00', None, None, None, None,
                     '2023-11-14T22:13:20.000000+00:00', '2023-11-14T22:13:20.000000+00:00')
    assert queue.find('b') is None


def test_every_attempt_is_told_of_how_it_ended(queue, clock):
    """Failed, lost, failed for good; as new again, handed back, done."""
    fill(queue, 'a')
    queue.lease('v', 1, 60)
    clock.advance(1)
    queue.fail_and_retry(1, 0, 3, 'no luck')
    queue.lease('w', 1, 60)
    clock.advance(60)
    queue.lease('x', 1, 60)
    queue.fail_and_retry(1, 0, 3, 'no luck again')
    queue.retry_failed()
    queue.lease('y', 1, 60)
    queue.hand_back(1)
    queue.lease('z', 1, 60)
    assert queue.find('a').leased_at == '2023-11-14T22:14:21.000000+00:00'
    queue.ack(1, 'done')

    found = queue.attempts(1)

    assert [(one.number, one.worker_id, one.outcome) for one in found] == [
        (1, 'v', 'retry'), (2, 'w', 'lost'), (3, 'x', 'error'), (4, 'z', 'done')]
    assert found[0][2:] == ('2023-11-14T22:13:20.000000+00:00',
                            '2023-11-14T22:13:21.000000+00:00', 'retry', 'no luck')
    assert 'lease ran out' in found[1].error
    assert (queue.find('a').attempts, queue.find('a').last_error) == (1, None)


def test_many_are_finished_at_once_and_the_lost_ones_are_named(queue, clock):
    fill(queue, *'abc')
    late, = queue.lease('v', 1, 60)
    clock.advance(60)
    queue.lease('w', 3, 60)

    lost = queue.ack_many([{'id': 1, 'outcome': 'done', 'token': late['token']},
                           {'id': 2, 'outcome': 'error', 'last_error': 'why'},
                           {'id': 3, 'outcome': 'skipped'}])

    assert lost == [1]
    assert [(entry.state, entry.last_error) for entry in queue.entries()] == [
        ('in_progress', 'its lease ran out: its worker was killed, or hung'),
        ('error', 'why'), ('skipped', None)]
    assert queue.refused() == 1
    assert queue.ack_many([]) == []


def test_what_was_lost_is_known_from_the_next_heartbeat_on(queue, path, clock):
    fill(queue, *'ab')
    job, kept = queue.lease('v', 2, 60)
    clock.advance(60)
    other = WorkQueue(path, clock=clock, boot='one')
    other.lease('w', 1, 60)
    assert queue.holds(job['id'])

    assert queue.heartbeat('v') == 0
    assert not queue.holds(job['id']) and not queue.holds(kept['id'])
    assert other.holds(job['id']) and not other.holds(job['id'], job['token'])
    other.close()


def test_looking_changes_nothing_and_makes_nothing(queue, path):
    """Neither where there is no queue yet, nor where nobody writes it."""
    folder = Path(path).parent

    def look() -> Any:
        return (queue.stats()['total'], queue.is_paused(), queue.refused(), queue.find('a'),
                queue.entries(), queue.attempts(1))
    assert look() == (0, False, 0, None, [], [])
    assert list(folder.iterdir()) == []
    fill(queue, 'a')
    queue.close()
    before = tree(folder)

    assert look()[0] == 1

    assert tree(folder) == before


def tree(folder: Path) -> Any:
    return {found.name: (found.read_bytes(), found.stat().st_mtime_ns)
            for found in folder.iterdir()}, folder.stat().st_mtime_ns


# -- clocks --------------------------------------------------------------------------

@pytest.mark.parametrize('step_s', [-10 * YEAR_S, -3600, 0, 3600, 10 * YEAR_S])
def test_setting_the_clock_neither_ends_a_lease_nor_prolongs_it(queue, clock, step_s):
    """Nor what was delayed, or waits for another attempt."""
    fill(queue, 'a')
    fill(queue, 'later', delay_sec=60)
    fill(queue, 'again', priority=-1)
    leased(queue)
    queue.fail_and_retry(3, 60, 3, 'x')
    clock.set_wall(clock.now() + step_s)

    clock.advance(59)
    assert leased(queue) == []
    clock.advance(1)
    assert leased(queue) == ['a', 'later', 'again']


def test_a_clock_that_stands_still_neither_prolongs_a_lease_nor_ends_it(queue, clock):
    fill(queue, 'a')
    fill(queue, 'later', delay_sec=60)
    leased(queue)

    clock.monotonic_s += 59
    assert leased(queue) == []
    clock.monotonic_s += 1
    assert leased(queue) == ['a', 'later']


def test_a_clock_that_is_set_all_the_time_neither_prolongs_a_lease_nor_ends_it(queue, clock):
    fill(queue, 'a')
    leased(queue)
    for number in range(59):
        clock.advance(1)
        clock.set_wall(clock.now() + (11 if number % 2 else -11))
        assert leased(queue) == []

    clock.advance(1)
    assert leased(queue) == ['a']


@pytest.mark.parametrize('boot', [pytest.param('two', id='other-boot'),
                                  pytest.param('', id='no-boot-id')])
@pytest.mark.parametrize('step_s', [-10 * YEAR_S, -3600, -11])
def test_after_another_start_a_clock_set_back_costs_no_more_than_the_lease(
        queue, clock, path, boot, step_s):
    fill(queue, 'a')
    leased(queue)
    later = FakeClock(clock.now() + step_s, monotonic=5)
    other = WorkQueue(path, clock=later, boot=boot)

    assert leased(other) == []
    later.advance(60)
    assert leased(other) == ['a']
    other.close()


def test_after_another_start_what_is_left_by_the_wall_clock_counts(queue, clock, path):
    fill(queue, 'a')
    leased(queue)
    later = FakeClock(clock.now() + 40, monotonic=5)
    other = WorkQueue(path, clock=later, boot='two')

    later.advance(19)
    assert leased(other) == []
    later.advance(1)
    assert leased(other) == ['a']
    other.close()


def test_without_a_boot_id_a_clock_that_is_set_back_does_not_stall(path, clock):
    queue = WorkQueue(path, clock=clock, boot='')
    fill(queue, 'a')
    leased(queue)
    clock.set_wall(clock.now() - YEAR_S)

    assert leased(queue) == []
    clock.advance(60)
    assert leased(queue) == ['a']
    queue.close()


# -- many at once --------------------------------------------------------------------

def test_of_many_threads_each_entry_goes_to_one(queue):
    fill(queue, *(f'e{number}' for number in range(40)))
    got: List[str] = []

    def work() -> None:
        while True:
            jobs = queue.lease('w', 3, 60)
            if not jobs:
                return
            got.extend(job['artifact_id'] for job in jobs)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == sorted(f'e{number}' for number in range(40))
