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
from stagerunner.events import StageEnded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskThrottled
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import SKIPPED
from stagerunner.result import THROTTLED
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


@pytest.mark.parametrize(('asked_s', 'waits'), [
    (None, [0.5]), (0.2, [0.2, 0.2, pytest.approx(0.1)]), (9.0, [0.5])])
def test_nobody_waits_longer_than_a_listener_wants(shop, asked_s, waits):
    shop.performer.is_immediate = True
    shop.performer.will('a', failed())
    scheduler = Scheduler(shop.performer, shop.clock, shop.stop, shop.sink, Rules(1.0),
                          lambda: 0.0, lambda: asked_s)

    assert scheduler.run(shop.groups()) == Outcome(None, 0)
    assert shop.performer.waits == waits


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


def test_a_retry_is_told_with_its_number_delay_class_and_error(shop):
    shop.performer.will('a', failed())
    shop.run()

    assert shop.sink.of(TaskRetrying) == [
        TaskRetrying('a', 2, 3, 0.5, TRANSIENT, 'exit code 1\nboom')]
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


def test_no_attempt_begins_after_the_deadline(shop):
    shop.keys = {'retry': {'maxAttempts': 9, 'baseDelaySec': 10, 'jitter': 0, 'deadlineSec': 35}}
    shop.performer.will('a', *[failed(duration_s=1)] * 9)

    assert shop.run() == Outcome('a', 1)
    assert shop.delays() == [10, 20]


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


def test_to_wait_for_a_lock_in_vain_is_no_attempt(shop):
    shop.lock_timeout_s = 0
    shop.performer.will('a', BUSY_RESULT)

    shop.run()

    failed = shop.sink.of(TaskFailed)[0]
    assert (failed.attempts, failed.error_class) == (0, 'busy')
    assert not shop.sink.of(AttemptEnded)


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


# -- many at once ----------------------------------------

class Plant(Shop):
    """A scheduler with several workers over stages that a test says."""

    def __init__(self, workspace: Workspace, clock: Any):
        super().__init__(workspace, FakePerformer(clock))
        self.rules = Rules(10.0, workers=2)
        self.stages: List[Any] = []
        self.collection: dict = {'list': ['x', 'y', 'z']}

    def groups(self) -> List[Group]:
        self.workspace.pipeline(*self.stages, items={'docs': self.collection})
        return make_groups(load(str(self.workspace.pipeline_file)))

    def run(self, **rules: Any) -> Outcome:
        self.rules = self.rules._replace(**rules)
        scheduler = Scheduler(self.performer, self.clock, self.stop, self.sink, self.rules,
                              lambda: 0.0)
        return scheduler.run(self.groups())

    def names(self) -> List[str]:
        return [name for name, _ in self.performer.started]

    def of(self, kind: type) -> List[str]:
        return [event.task for event in self.sink.of(kind)]


@pytest.fixture
def plant(workspace: Workspace, clock: Any) -> Iterator[Plant]:
    plant = Plant(workspace, clock)
    yield plant
    plant.stop.close()


def items(name: str, source: str = 'data/input/in.txt', **keys: Any) -> Any:
    """Return a stage with a task for each of the items x, y and z."""
    return stage(name, forEach='docs', inputs=[source], outputDir=f'data/{name}/{{item.id}}',
                 **keys)


def test_with_one_worker_a_stage_is_done_before_the_next_begins(plant):
    plant.stages = [items('one'), items('two', 'data/one/{item.id}/f')]

    assert plant.run(workers=1) == Outcome(None, 0)
    assert plant.names() == ['one[x]', 'one[y]', 'one[z]', 'two[x]', 'two[y]', 'two[z]']


def test_with_more_an_item_that_has_come_far_goes_first(plant):
    plant.stages = [items('one'), items('two', 'data/one/{item.id}/f')]

    plant.run(workers=2)

    assert plant.names() == ['one[x]', 'one[y]', 'two[x]', 'two[y]', 'one[z]', 'two[z]']


def test_a_stage_that_depends_on_a_later_one_comes_after_it(plant):
    plant.stages = [stage('a', dependsOn=['c']), stage('b'), stage('c')]

    plant.run(workers=1)

    assert plant.names() == ['b', 'c', 'a']


def test_a_retry_that_waits_takes_no_slot(plant):
    plant.stages = [stage('work', jobs=['j1', 'j2', 'j3'])]
    plant.performer.will('work[j1]', failed())

    assert plant.run(workers=1).exit_code == 0
    assert plant.performer.started == [('work[j1]', 1), ('work[j2]', 1), ('work[j3]', 1),
                                       ('work[j1]', 2)]
    assert plant.passed_s() == 0.5


class Crowded(FakePerformer):
    """Remembers how many attempts were under way at most."""

    most = 0

    def wait(self, timeout_s: Any) -> List[Any]:
        self.most = max(self.most, len(self.under_way))
        return super().wait(timeout_s)


@pytest.mark.parametrize('workers, keys, most', [
    (1, {}, 1), (2, {}, 2), (9, {}, 3), (9, {'maxWorkers': 2}, 2), (2, {'maxWorkers': 9}, 2)])
def test_no_more_run_at_once_than_workers_and_the_cap_allow(plant, clock, workers, keys, most):
    plant.performer = Crowded(clock)
    plant.stages = [items('one', **keys)]

    plant.run(workers=workers)

    assert plant.performer.most == most and len(plant.names()) == 3


def test_a_stage_at_its_cap_leaves_the_other_workers_to_others(plant, clock):
    plant.performer = Crowded(clock)
    plant.stages = [items('one', maxWorkers=1), items('two')]

    plant.run(workers=2)

    assert plant.names()[:2] == ['one[x]', 'two[x]'] and plant.performer.most == 2


def throttled(**fields: Any) -> dict:
    return dict({'status': THROTTLED, 'error': 'gemini', 'wait_s': 0.4}, **fields)


def test_who_waits_for_a_permit_lets_others_go_and_is_told_once(plant):
    plant.stages = [stage('a'), stage('b')]
    plant.performer.will('a', throttled(), throttled(wait_s=0.0))

    assert plant.run(workers=1).exit_code == 0
    assert plant.performer.started == [('a', 1)] * 3 + [('b', 1)]
    assert plant.sink.of(TaskThrottled) == [
        TaskThrottled('a', 'gemini', pytest.approx(0.45))]


def test_a_throttled_stage_does_not_hold_up_another(plant):
    plant.stages = [stage('a'), stage('b')]
    plant.performer.will('a', throttled())

    plant.run(workers=2)

    assert plant.names() == ['a', 'b', 'a']


def test_a_permit_that_comes_back_is_asked_for_at_once(plant):
    """The run went on to wait for the time at which it had wanted to ask again."""
    plant.stages = [stage('work', jobs=['j1', 'j2'], limit='scarce')]
    plant.performer.will('work[j1]', {'duration_s': 1.0})
    plant.performer.will('work[j2]', throttled(wait_s=60.0))

    assert plant.run(workers=2).exit_code == 0
    assert plant.passed_s() < 60
    assert plant.sink.of(TaskThrottled)[0].waited_s == pytest.approx(1.0)


def test_a_stage_that_another_run_has_does_not_hold_up_another(plant):
    plant.stages = [stage('a'), stage('b')]
    plant.performer.will('a', BUSY_RESULT, BUSY_RESULT)

    assert plant.run(workers=2).exit_code == 0
    assert plant.names() == ['a', 'b', 'a', 'a']


def test_a_request_to_stop_ends_the_wait_for_a_permit(plant):
    plant.stages = [stage('a')]
    plant.performer.will('a', *[throttled()] * 99)
    plant.performer.during_wait = lambda: plant.stop.request(signal.SIGTERM)

    plant.run()

    assert plant.of(TaskCancelled) == ['a'] and plant.passed_s() < 1


# -- failures of some ----------------------------------------

DEPENDENT = [stage('a'), stage('b', inputs=['data/a/f']), stage('c'),
             stage('d', inputs=['data/b/f'])]


@pytest.mark.parametrize('workers', [1, 2])
def test_with_keep_going_only_what_needs_a_failed_stage_is_left_out(plant, workers):
    plant.stages = DEPENDENT
    plant.performer.will('a', failed(PERMANENT))

    assert plant.run(workers=workers, keeps_going=True) == Outcome('a', 1)
    assert plant.names() == ['a', 'c']
    assert plant.sink.of(TaskBlocked) == [TaskBlocked('b', 'a did not succeed'),
                                          TaskBlocked('d', 'a did not succeed')]
    assert not plant.sink.of(TaskCancelled)


def test_a_stage_may_say_that_its_failure_stops_nobody(plant):
    plant.stages = [stage('a', stopOnFailure=False), *DEPENDENT[1:]]
    plant.performer.will('a', failed(PERMANENT))

    assert plant.run(workers=1) == Outcome('a', 1)
    assert plant.names() == ['a', 'c'] and plant.of(TaskBlocked) == ['b', 'd']


def test_a_failed_item_blocks_its_own_way_and_what_gathers(plant):
    plant.stages = [items('one'), items('two', 'data/one/{item.id}/f'),
                    stage('all', inputs=['data/two'])]
    plant.performer.will('one[y]', failed(PERMANENT))

    assert plant.run(keeps_going=True) == Outcome('one[y]', 1)
    assert sorted(plant.names()) == ['one[x]', 'one[y]', 'one[z]', 'two[x]', 'two[z]']
    assert plant.sink.of(TaskBlocked) == [TaskBlocked('two[y]', 'one[y] did not succeed'),
                                          TaskBlocked('all', 'two[y] did not succeed')]
    assert [(event.stage, event.counts) for event in plant.sink.of(StageEnded)] == [
        ('one', {'ok': 2, 'failed': 1}), ('two', {'ok': 2, 'blocked': 1})]


@pytest.mark.parametrize('workers', [1, 2])
def test_a_fan_out_after_a_failed_stage_is_blocked_as_a_whole_with_all_that_follow(
        plant, workers):
    """With one worker the next stage over the same items looked for the first one's tasks."""
    plant.stages = [stage('a'), items('one', 'data/a/f'), items('two', 'data/one/{item.id}/f'),
                    stage('all', inputs=['data/two'])]
    plant.performer.will('a', failed(PERMANENT))

    plant.run(keeps_going=True, workers=workers)

    assert plant.sink.of(TaskBlocked) == [TaskBlocked('one', 'a did not succeed'),
                                          TaskBlocked('two', 'a did not succeed'),
                                          TaskBlocked('all', 'a did not succeed')]
    assert not plant.sink.of(StageEnded)


def test_after_a_failure_what_runs_ends_and_the_rest_is_cancelled(plant):
    plant.stages = [items('one'), items('two', 'data/one/{item.id}/f')]
    plant.performer.will('one[x]', failed(PERMANENT))

    assert plant.run(workers=2) == Outcome('one[x]', 1)
    assert plant.of(TaskDone) == ['one[y]']
    assert plant.of(TaskBlocked) == ['two[x]']
    assert plant.sink.of(TaskCancelled) == [
        TaskCancelled(task, 'one[x] failed') for task in ('one[z]', 'two[y]', 'two[z]')]
    assert {event.stage: event.counts for event in plant.sink.of(StageEnded)} == {
        'one': {'failed': 1, 'ok': 1, 'cancelled': 1}, 'two': {'blocked': 1, 'cancelled': 2}}


def test_what_waited_for_another_attempt_when_the_run_halts_has_failed(plant):
    plant.stages = [stage('a', retry={'baseDelaySec': 3600, 'maxDelaySec': 3600}), stage('b')]
    plant.performer.will('a', failed(error='too busy'))
    plant.performer.will('b', failed(PERMANENT, duration_s=1.0))

    assert plant.run(workers=2) == Outcome('b', 1)
    assert plant.of(TaskFailed) == ['b', 'a'] and plant.passed_s() == 1.0


def test_of_several_failures_the_gravest_gives_the_exit_code(plant):
    plant.stages = [stage('a'), stage('b'), stage('c')]
    plant.performer.will('a', failed(PERMANENT))
    plant.performer.will('b', failed(PERMANENT, exit_code=5))

    assert plant.run(keeps_going=True) == Outcome('a', 5)


def test_a_fan_out_over_nothing_is_done(plant):
    plant.collection = {'glob': 'data/input/*.nothing'}
    plant.stages = [items('one'), stage('all', dependsOn=['one'])]

    assert plant.run() == Outcome(None, 0)
    assert plant.names() == ['all']
    assert [(event.stage, event.counts) for event in plant.sink.of(StageEnded)] == [('one', {})]


class Lost(FakePerformer):
    """Cannot tell the items of stage `one`; remembers which stages came to an end, and how."""

    def __init__(self, clock: Any):
        super().__init__(clock)
        self.finished: List[Any] = []

    def expand(self, group: Group) -> bool:
        if group.stage.name == 'one':
            raise StateError('rows.jsonl', 'is damaged')
        return super().expand(group)

    def finish(self, group: Group, *, is_ok: bool) -> None:
        self.finished.append((group.stage.name, is_ok))


@pytest.mark.parametrize('workers', [1, 2])
def test_a_stage_whose_items_cannot_be_told_has_failed_as_a_whole(plant, clock, workers):
    plant.performer = Lost(clock)
    plant.stages = [items('one'), items('two', 'data/one/{item.id}/f'), stage('c')]

    assert plant.run(keeps_going=True, workers=workers) == Outcome('one', 5)
    assert plant.of(TaskFailed) == ['one'] and plant.of(TaskBlocked) == ['two']
    assert plant.names() == ['c']
    assert sorted(plant.performer.finished) == [('c', True), ('one', False), ('two', False)]


def test_stages_that_a_run_leaves_in_the_middle_are_let_go_of(plant, clock):
    plant.performer = Lost(clock)
    plant.stages = [stage('a'), stage('b'), stage('c')]
    plant.performer.will('a', failed(PERMANENT))

    plant.run(workers=1)

    assert plant.performer.finished == [('a', False)]


def test_a_request_to_stop_interrupts_what_runs_and_cancels_the_rest(plant):
    plant.stages = [items('one'), stage('all', inputs=['data/one'])]
    plant.performer.during_wait = lambda: plant.stop.request(signal.SIGTERM)

    assert plant.run(workers=2) == Outcome(None, 0)
    assert plant.of(TaskDone) == ['one[x]'] and plant.of(TaskInterrupted) == ['one[y]']
    assert plant.of(TaskCancelled) == ['one[z]', 'all']
    assert [event.counts for event in plant.sink.of(StageEnded)] == [
        {'ok': 1, 'interrupted': 1, 'cancelled': 1}]
