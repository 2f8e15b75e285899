"""Tests of `stagerunner.scheduler`: order, retries, waiting for locks, and stopping."""

from __future__ import annotations

import signal
from typing import Any
from typing import Iterator
from typing import List

import pytest

from fakes import FakePerformer
from fakes import ListSink
from stagerunner.clock import Stop
from stagerunner.errors import StateError
from stagerunner.events import AttemptEnded
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import SKIPPED
from stagerunner.retry import PERMANENT
from stagerunner.retry import TRANSIENT
from stagerunner.retry import UNKNOWN
from stagerunner.scheduler import Outcome
from stagerunner.scheduler import Rules
from stagerunner.scheduler import Scheduler
from stagerunner.tasks import Group
from stagerunner.tasks import Task
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit


class Shop:
    """A scheduler over tasks `a`, `b` and `c` whose results a test says beforehand."""

    def __init__(self, workspace: Workspace, performer: FakePerformer):
        self.workspace = workspace.simple()
        self.performer = performer
        self.clock = performer.clock
        self.stop = Stop()
        self.sink = ListSink()
        self.spread = 0.0
        self.lock_timeout_s = 10.0
        self.began_s = self.clock.monotonic()
        self.keys: dict = {}

    def groups(self) -> List[Group]:
        self.workspace.pipeline(*(stage(name, **self.keys) for name in 'abc'))
        return make_groups(load(str(self.workspace.pipeline_file)))

    def run(self) -> Outcome:
        scheduler = Scheduler(self.performer, self.clock, self.stop, self.sink,
                              Rules(self.lock_timeout_s), lambda: self.spread)
        return scheduler.run(self.groups())

    def passed_s(self) -> float:
        """Return how long all of it took."""
        return self.clock.monotonic() - self.began_s

    def delays(self) -> List[float]:
        return [event.delay_s for event in self.sink.of(TaskRetrying)]

    def told(self) -> List[Any]:
        """Return (kind, task) of everything that was told."""
        return [(type(event).__name__, event.task) for event in self.sink.events]


@pytest.fixture(params=[False, True], ids=['waited for', 'immediate'])
def shop(workspace: Workspace, clock: Any, request: Any) -> Iterator[Shop]:
    shop = Shop(workspace, FakePerformer(clock, is_immediate=request.param))
    yield shop
    shop.stop.close()


def failed(error_class: str = TRANSIENT, **fields: Any) -> dict:
    """Return the fields of a result that did not come off."""
    return dict({'status': BROKEN, 'exit_code': 1, 'code': 1, 'error': 'exit code 1\nboom',
                 'error_class': error_class}, **fields)


# -- order ----------------------------------------

def test_all_tasks_are_done_in_their_order(shop):
    assert shop.run() == Outcome(None, 0)
    assert shop.performer.started == [('a', 1), ('b', 1), ('c', 1)]
    assert shop.told() == [(kind, task) for task in 'abc' for kind in ('AttemptEnded', 'TaskDone')]


def test_a_success_is_told_with_its_figures(shop):
    shop.performer.will('a', {'done_at': 'noon', 'duration_s': 1.5, 'key': 'k',
                              'total_lines': 300, 'is_staged': False})
    shop.run()

    assert shop.sink.of(TaskDone)[0] == TaskDone('a', 'noon', 1.5, 1, 'k', 300, False)


def test_a_skip_is_told_and_is_no_attempt(shop):
    shop.performer.will('a', {'status': SKIPPED, 'key': 'k', 'done_at': 'noon'})
    shop.run()

    assert shop.sink.of(TaskSkipped) == [TaskSkipped(
        'a', '2023-11-14T22:13:20.000000+00:00', 'idempotent key matched', 'k', 'noon')]
    assert [event.task for event in shop.sink.of(AttemptEnded)] == ['b', 'c']


def test_after_a_failure_the_rest_is_cancelled(shop):
    shop.performer.will('b', failed(PERMANENT, log='l', tail=('boom',), duration_s=2.0))

    assert shop.run() == Outcome('b', 1)
    assert [name for name, _ in shop.performer.started] == ['a', 'b']
    assert shop.sink.of(TaskCancelled) == [TaskCancelled('c', 'b failed')]
    found = shop.sink.of(TaskFailed)[0]
    assert (found.task, found.attempts, found.error, found.error_class, found.log, found.tail) == (
        'b', 1, 'exit code 1\nboom', PERMANENT, 'l', ('boom',))


# -- again ----------------------------------------

def test_a_transient_failure_is_tried_again_after_growing_delays(shop):
    shop.performer.will('a', failed(), failed())

    assert shop.run().exit_code == 0
    assert shop.performer.started[:3] == [('a', 1), ('a', 2), ('a', 3)]
    assert shop.delays() == [0.5, 1.0] and shop.passed_s() == 1.5
    assert shop.sink.of(TaskDone)[0].attempts == 3


def test_a_retry_is_told_with_its_number_delay_class_and_first_line(shop):
    shop.performer.will('a', failed())
    shop.run()

    assert shop.sink.of(TaskRetrying) == [
        TaskRetrying('a', 2, 3, 0.5, TRANSIENT, 'exit code 1')]
    ended = shop.sink.of(AttemptEnded)[0]
    assert (ended.attempt, ended.status, ended.delay_s, ended.error, ended.exit_code) == (
        1, 'failed', 0.5, 'exit code 1\nboom', 1)


def test_after_the_last_attempt_it_has_failed(shop):
    shop.performer.will('a', failed(), failed(), failed(error='the last'))

    assert shop.run() == Outcome('a', 1)
    assert shop.sink.of(TaskFailed)[0].attempts == 3
    assert shop.sink.of(TaskFailed)[0].error == 'the last'
    assert shop.sink.of(AttemptEnded)[-1].delay_s is None


@pytest.mark.parametrize('retry, delays', [
    ({'maxAttempts': 1}, []),
    ({'maxAttempts': 4, 'baseDelaySec': 2, 'factor': 3}, [2, 6, 18]),
    ({'maxAttempts': 4, 'baseDelaySec': 2, 'factor': 3, 'maxDelaySec': 5}, [2, 5, 5]),
    ({'maxAttempts': 3, 'baseDelaySec': 0}, [0, 0]),
])
def test_the_policy_of_the_stage_sets_the_delays(shop, retry, delays):
    shop.keys = {'retry': retry}
    shop.performer.will('a', *[failed()] * 9)
    shop.run()

    assert shop.delays() == delays and shop.passed_s() == sum(delays)


@pytest.mark.parametrize('spread, expected', [(1.0, 0.55), (-1.0, 0.45), (0.0, 0.5)])
def test_the_jitter_comes_from_the_number_that_was_handed_in(shop, spread, expected):
    shop.spread = spread
    shop.performer.will('a', failed())
    shop.run()

    assert shop.delays() == [pytest.approx(expected)]


@pytest.mark.parametrize('unknown, starts', [('retry', 3), ('fail', 1)])
def test_unknown_errors_are_tried_again_unless_the_stage_says_no(shop, unknown, starts):
    shop.keys = {'retry': {'unknown': unknown}}
    shop.performer.will('a', *[failed(UNKNOWN)] * 9)
    shop.run()

    assert len(shop.performer.started) == starts


def test_permanent_errors_are_not_tried_again(shop):
    shop.performer.will('a', failed(PERMANENT))
    shop.run()

    assert shop.performer.started == [('a', 1)] and shop.passed_s() == 0


def test_what_is_no_matter_of_the_stage_is_not_tried_again(shop):
    shop.performer.will('a', failed(TRANSIENT, exit_code=5))

    assert shop.run() == Outcome('a', 5)
    assert shop.performer.started == [('a', 1)]


class Broken(FakePerformer):
    """Cannot even begin."""

    def start(self, task: Task, attempt: int) -> Any:
        raise StateError('/w/data/a', 'no space left on device')


def test_an_attempt_that_cannot_begin_is_a_failure_with_its_exit_code(workspace, clock):
    shop = Shop(workspace, Broken(clock))

    assert shop.run() == Outcome('a', 5)
    assert shop.sink.of(TaskFailed)[0].error == '/w/data/a: no space left on device'
    shop.stop.close()


# -- locks ----------------------------------------

BUSY_RESULT = {'status': BUSY, 'error': 'held by pid 7 on h since noon, run r0'}


def test_a_lock_that_becomes_free_is_waited_for(shop):
    shop.performer.will('a', *[BUSY_RESULT] * 3)

    assert shop.run().exit_code == 0
    assert shop.performer.started[:4] == [('a', 1)] * 4
    assert shop.passed_s() == pytest.approx(0.15)
    assert ('TaskDone', 'a') in shop.told()


def test_a_lock_that_stays_taken_is_given_up_with_the_holders_name(shop):
    shop.lock_timeout_s = 0.12
    shop.performer.will('a', *[BUSY_RESULT] * 99)

    assert shop.run() == Outcome('a', 4)
    assert shop.passed_s() == pytest.approx(0.12)
    assert shop.sink.of(TaskFailed)[0].error == (
        "stage 'a' is busy: locks/a.lock still locked after 0.12s (held by pid 7 on h since noon, "
        'run r0); wait for that run or stop it')
    assert not shop.sink.of(TaskRetrying)


def test_without_patience_a_taken_lock_is_given_up_at_once(shop):
    shop.lock_timeout_s = 0
    shop.performer.will('a', BUSY_RESULT)

    assert shop.run() == Outcome('a', 4)
    assert shop.performer.started == [('a', 1)] and shop.passed_s() == 0


def test_a_request_to_stop_ends_the_wait_for_a_lock(shop):
    shop.performer.will('a', *[BUSY_RESULT] * 99)
    shop.performer.during_wait = lambda: shop.stop.request(signal.SIGTERM)

    shop.run()

    assert [event.task for event in shop.sink.of(TaskCancelled)] == ['a', 'b', 'c']
    assert shop.passed_s() < 0.2


# -- stopping ----------------------------------------

def test_a_request_before_the_start_cancels_everything(shop):
    shop.stop.request(signal.SIGINT)

    assert shop.run() == Outcome(None, 0)
    assert shop.sink.of(TaskCancelled) == [
        TaskCancelled(task, 'the run was asked to end') for task in 'abc']


def test_a_request_during_a_back_off_ends_it(shop):
    shop.keys = {'retry': {'baseDelaySec': 3600, 'maxDelaySec': 3600}}
    shop.performer.will('a', failed())

    def stop() -> None:
        if shop.sink.of(TaskRetrying):
            shop.stop.request(signal.SIGTERM)

    shop.performer.during_wait = stop
    shop.run()

    assert shop.performer.started == [('a', 1)]
    assert [event.task for event in shop.sink.of(TaskInterrupted)] == ['a']
    assert len(shop.sink.of(AttemptEnded)) == 1


@pytest.fixture
def waiting(workspace: Workspace, clock: Any) -> Iterator[Shop]:
    """Return a shop whose attempts are waited for."""
    shop = Shop(workspace, FakePerformer(clock))
    yield shop
    shop.stop.close()


class Stubborn(FakePerformer):
    """Its attempts end only when they were told to end at once."""

    def __init__(self, clock: Any, shop_stop: Stop, requests: int):
        super().__init__(clock)
        self.shop_stop = shop_stop
        self.requests = requests

    def wait(self, timeout_s: Any) -> List[Any]:
        self.waits.append(timeout_s)
        assert len(self.waits) < 100, 'waited for ever'
        self.clock.advance(1.0)
        if self.stops and self.stops[-1] or self.stops and self.requests == 1:
            return [result._replace(code=-9, duration_s=len(self.waits))
                    for result in self.under_way]
        self.shop_stop.request(signal.SIGTERM)
        return []


@pytest.mark.parametrize('requests, stops', [(1, [False]), (2, [False, True])])
def test_one_request_asks_what_runs_to_end_and_a_second_one_kills_it(
        workspace, clock, requests, stops):
    """The attempt counts: a run of hours was once recorded with 0 attempts and 0 seconds."""
    shop = Shop(workspace, FakePerformer(clock))
    shop.performer = Stubborn(clock, shop.stop, requests)

    shop.run()

    assert shop.performer.stops == stops
    assert shop.told() == [('AttemptEnded', 'a'), ('TaskInterrupted', 'a'),
                           ('TaskCancelled', 'b'), ('TaskCancelled', 'c')]
    assert shop.sink.of(AttemptEnded)[0].status == 'interrupted'
    shop.stop.close()


def test_a_failure_that_comes_while_stopping_is_not_tried_again(waiting):
    waiting.performer.will('a', failed())
    waiting.performer.during_wait = lambda: waiting.stop.request(signal.SIGTERM)

    waiting.run()

    assert waiting.performer.started == [('a', 1)]
    assert [event.task for event in waiting.sink.of(TaskInterrupted)] == ['a']
