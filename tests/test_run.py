"""Tests of `stagerunner.run`: one invocation from opening its record to closing it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import Any

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeClock
from fakes import ListSink
from fakes import writes
from stagerunner.errors import LockTimeout
from stagerunner.errors import RunnerError
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskDone
from stagerunner.events import TaskStarted
from stagerunner.launch.job import Fence
from stagerunner.locks import run_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.selection import Wanted
from stagerunner.session import Broadcast
from stagerunner.session import new_run_id
from stagerunner.state.names import StateNames
from stagerunner.state.run import unfinished_run
from support import stage

pytestmark = pytest.mark.unit

NOON = '2023-11-14T22:13:20.000000+00:00'


@pytest.fixture
def engine(engine: Engine) -> Engine:
    """Return an engine on a workspace with one sound stage."""
    engine.workspace.simple()
    return engine


def record(engine: Engine, run_id: str = 'r1') -> Any:
    return engine.workspace.json(f'state/run_{run_id}.json')


# -- the record of a run ----------------------------------------

def test_a_run_is_recorded_with_every_key_of_the_contract(engine):
    engine.workspace.pipeline(stage(), version='1.2')
    engine.launcher.will('work', Ending(after_s=1.5))

    assert engine.run() == 0

    found = record(engine)
    assert {key: found[key] for key in ('runId', 'pipeline', 'version', 'startedAt', 'endedAt',
                                        'state', 'pid', 'host', 'firstFailure')} == {
        'runId': 'r1', 'pipeline': 'test', 'version': '1.2', 'startedAt': NOON,
        'endedAt': '2023-11-14T22:13:21.500000+00:00', 'state': 'completed',
        'pid': os.getpid(), 'host': 'here', 'firstFailure': None}


class Peek(ListSink):
    """Looks at the record of the run while it goes on."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine
        self.seen: Any = None
        self.lock_is_free: Any = None
        self.note: Any = None

    def receive(self, event: Any) -> None:
        if isinstance(event, TaskStarted):
            self.seen = record(self.engine)
            path = run_lock(str(self.engine.workspace.root), 'r1')
            lock = try_lock(path)
            self.lock_is_free = lock is not None
            self.note = self.engine.workspace.json('locks/.run/r1.lock.json')


def test_while_a_run_goes_on_its_record_says_so_and_its_id_is_taken(engine):
    peek = Peek(engine)

    engine.run(sinks=[peek])

    assert (peek.seen['state'], peek.seen['endedAt']) == ('running', None)
    assert peek.lock_is_free is False
    assert peek.note == {'pid': os.getpid(), 'host': 'here', 'runId': 'r1', 'since': NOON}
    free = try_lock(run_lock(str(engine.workspace.root), 'r1'))
    assert free is not None
    free.release()


def audit_head(engine):
    last = engine.workspace.read('state/audit_head.jsonl').splitlines()[-1]
    return json.loads(last)['hash']


def test_events_begin_with_the_start_and_end_with_the_end(engine):
    engine.launcher.will('work', Ending(after_s=1.5))
    engine.run()

    assert engine.sink.kinds() == ['RunStarted', 'TaskStarted', 'AttemptEnded', 'TaskDone',
                                   'RunEnded']
    assert engine.sink.events[0] == RunStarted('r1', 'test', NOON, ('work',))
    assert engine.sink.events[-1] == RunEnded(
        'r1', '2023-11-14T22:13:21.500000+00:00', 1.5, 'completed', audit_head(engine))


def test_a_failed_run_says_what_failed_first(engine):
    engine.launcher.will('work', Ending(exit_code=65))

    assert engine.run() == 1
    assert (record(engine)['state'], record(engine)['firstFailure']) == ('failed', 'work')


@pytest.mark.parametrize('signum, code', [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_says_so_and_has_the_exit_code_of_the_signal(engine, signum, code):
    engine.launcher.will('work', Ending(after_s=3600))
    engine.launcher.later(1, lambda: engine.stop.request(signum))

    assert engine.run() == code
    assert record(engine)['state'] == 'interrupted'
    assert engine.launcher.stops == [('interrupted', False)]


def test_a_second_request_kills_at_once(engine):
    engine.launcher.will('work', Ending(after_s=3600, ignores_stop=True))
    for second in (1, 2):
        engine.launcher.later(second, lambda: engine.stop.request(signal.SIGTERM))
    before = engine.clock.monotonic()

    assert engine.run() == 143
    assert engine.launcher.stops == [('interrupted', False), ('interrupted', True)]
    assert engine.clock.monotonic() - before == 2


def test_an_interruption_outranks_a_failure(engine):
    engine.workspace.simple(timeoutSec=1)
    engine.launcher.will('work', Ending(after_s=3600, ignores_stop=True))
    engine.launcher.later(2, lambda: engine.stop.request(signal.SIGINT))

    assert engine.run() == 130


class Late(ListSink):
    """Asks to stop when everything is over."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine

    def receive(self, event: Any) -> None:
        if isinstance(event, RunEnded):
            self.engine.stop.request(signal.SIGTERM)


def test_a_signal_that_comes_when_all_is_told_changes_nothing(engine):
    """The exit code was once that of the signal, while the record said `completed`."""
    assert engine.run(sinks=[Late(engine)]) == 0
    assert record(engine)['state'] == 'completed' and engine.stop.is_requested


# -- ids ----------------------------------------

def test_a_live_run_keeps_its_id_to_itself(engine):
    path = run_lock(str(engine.workspace.root), 'r1')
    holder = try_lock(path)
    holder.note({'pid': 4121, 'host': 'build-3', 'since': 'noon', 'runId': 'r1'})
    try:
        with pytest.raises(LockTimeout) as busy:
            engine.run()
    finally:
        holder.release()

    assert str(busy.value) == (
        "run 'r1' is busy: locks/.run/r1.lock locked (held by pid 4121 on build-3 since noon, "
        'run r1); wait for that run or stop it')
    assert not engine.workspace.path('state/run_r1.json').exists()


def test_an_id_that_is_used_again_begins_anew(engine):
    engine.launcher.will('work', Ending(exit_code=65, stderr=('first time',)))
    engine.run()
    assert engine.workspace.path('state/logs/r1/work.1.log').exists()

    engine.run()

    assert record(engine)['state'] == 'completed'
    assert engine.workspace.json('state/metrics_r1.json')['failedStages'] == 0
    assert not engine.workspace.path('state/logs/r1').exists()


def test_ids_sort_by_time():
    first = new_run_id(FakeClock(now=999_999_999.999999), 7)
    second = new_run_id(FakeClock(now=1_000_000_000.0), 7)

    assert first == '20010909T014639.999999-7' < second


def test_only_the_newest_runs_are_kept(engine):
    engine.workspace.pipeline(stage(idempotency={'enabled': False}), keepRuns=2)
    for number in range(4):
        engine.launcher.will('work', Ending(stdout=('printed',)))
        engine.run(f'r{number}')
        os.utime(str(engine.workspace.path(f'state/run_r{number}.json')), (number, number))
    engine.run('last')

    names = os.listdir(str(engine.workspace.path('state')))
    assert sorted(name for name in names if name.startswith(('run_', 'metrics_'))) == [
        'metrics_last.json', 'metrics_r3.json', 'run_last.json', 'run_r3.json']
    assert os.listdir(str(engine.workspace.path('state/logs'))) == ['r3']
    assert sorted(os.listdir(str(engine.workspace.path('locks/.run')))) == [
        'last.lock', 'r3.lock']


def test_a_live_run_is_kept_however_old_it_is(engine):
    engine.workspace.pipeline(stage(), keepRuns=1)
    engine.run('old')
    holder = try_lock(run_lock(str(engine.workspace.root), 'old'))
    try:
        engine.run('new')
    finally:
        holder.release()

    assert record(engine, 'old')['runId'] == 'old'


def test_what_killed_writers_left_is_swept(engine):
    engine.workspace.write('state/run_x.json.999999999-0.tmp', 'half')
    own = engine.workspace.write(f'state/run_x.json.{os.getpid()}-7.tmp', 'being written')

    engine.run()

    assert not engine.workspace.path('state/run_x.json.999999999-0.tmp').exists()
    assert own.exists()


# -- state that cannot be written ----------------------------------------

@pytest.mark.parametrize('kind, done', [(TaskStarted, False), (TaskDone, True),
                                        (RunEnded, True)])
def test_a_sink_that_cannot_write_fails_the_run_and_the_record_says_so(engine, kind, done):
    broken = ListSink(kind, StateError('/w/state/x', 'no space left on device'))

    if kind is TaskStarted:
        # It is raised within the attempt, which fails with the exit code that belongs to it.
        assert engine.run(sinks=[broken]) == 5
    else:
        with pytest.raises(StateError):
            engine.run(sinks=[broken])

    assert record(engine)['state'] == 'failed' and record(engine)['endedAt']
    assert engine.sink.of(RunEnded)[-1].state == ('failed')
    assert engine.workspace.path('data/work/.work.done').exists() == done


class Muddle(ListSink):
    """Puts a folder where the record of the run is to be written, and cannot write either."""

    def __init__(self, engine: Engine):
        super().__init__(TaskDone, StateError('/w/state/x', 'the first error'))
        self.engine = engine

    def receive(self, event: Any) -> None:
        if isinstance(event, TaskDone):
            os.rename(str(self.engine.workspace.path('state')),
                      str(self.engine.workspace.path('state-gone')))
            self.engine.workspace.write('state', 'a file now')
        super().receive(event)


def test_when_nothing_can_be_written_any_more_the_first_error_is_told(engine):
    with pytest.raises(StateError) as failed:
        engine.run(sinks=[Muddle(engine)])

    assert failed.value.fault == 'the first error'
    assert engine.sink.of(RunEnded)[-1].state == 'failed'


def test_a_state_folder_that_cannot_be_made_is_a_fault_of_the_state(engine):
    engine.workspace.write('state', 'a file')

    with pytest.raises(StateError):
        engine.run()

    assert engine.launcher.jobs == []


def test_a_workspace_that_is_gone_is_a_fault_of_the_state(engine):
    def replace() -> None:
        shutil.rmtree(str(engine.workspace.root))
        engine.workspace.root.write_text('a file')

    engine.after_load = replace

    with pytest.raises(StateError, match='not a directory'):
        engine.run()


def test_a_lock_that_cannot_be_made_is_a_fault_of_the_state(engine):
    engine.workspace.write('locks', 'a file')

    with pytest.raises(StateError):
        engine.run()


def test_a_bug_in_a_sink_is_not_hidden(engine):
    with pytest.raises(ZeroDivisionError):
        engine.run(sinks=[ListSink(TaskDone, ZeroDivisionError())])

    # Bug: its record said `running` for ever.
    assert (record(engine)['state'], record(engine)['endedAt']) == ('failed', NOON)

    lock = try_lock(run_lock(str(engine.workspace.root), 'r1'))
    assert lock is not None
    lock.release()


def test_a_sink_that_cannot_write_does_not_keep_the_others_from_hearing():
    first = ListSink(TaskDone, StateError('a', 'first'))
    second = ListSink(TaskDone, StateError('b', 'second'))
    third = ListSink()
    event = TaskDone('work', NOON, 1.0, 1, 'k')

    with pytest.raises(StateError, match='first'):
        Broadcast([first, second, third])(event)

    assert third.events == [event]


class Restless(ListSink):
    """A sink that wants to be asked again soon, or cannot write what it holds."""

    def __init__(self, again_s=None, fault=None):
        super().__init__()
        self.again_s = again_s
        self.fault = fault
        self.asked = 0

    def idle(self):
        self.asked += 1
        if self.fault:
            raise self.fault
        return self.again_s


def test_before_a_wait_every_sink_is_asked_and_the_most_impatient_one_counts():
    sinks = [ListSink(), Restless(0.25), Restless(), Restless(0.1)]

    assert Broadcast(sinks).idle() == 0.1
    assert Broadcast(sinks[:1]).idle() is None


def test_a_sink_that_cannot_write_before_a_wait_does_not_keep_the_others_from_it():
    sinks = [Restless(fault=StateError('a', 'first')), Restless(fault=StateError('b', 'second')),
             Restless(1.0)]

    with pytest.raises(StateError, match='first'):
        Broadcast(sinks).idle()

    assert [sink.asked for sink in sinks] == [1, 1, 1]


def test_a_run_asks_its_sinks_whenever_it_is_about_to_wait(engine):
    sink = Restless(0.25)
    engine.launcher.otherwise = Ending(after_s=1.0)

    assert engine.run(sinks=[sink]) == 0
    assert sink.asked == 4


# -- the exit code ----------------------------------------

def test_a_stage_that_another_run_holds_makes_the_run_busy(engine):
    holder = try_lock(stage_lock(str(engine.workspace.root), 'work'))
    try:
        assert engine.run(lock_timeout_s=0.1) == 4
    finally:
        holder.release()

    assert record(engine)['state'] == 'failed'
    assert engine.workspace.json('state/metrics_r1.json')['attempts'] == 0
    assert not engine.workspace.path('state/stage_work.json').exists()
    assert "stage 'work' is busy: locks/work.lock still locked after 0.1s" in engine.error()


@pytest.mark.parametrize('spoil', [
    pytest.param({'wanted': Wanted(force=('wrok',))}, id='usage'),
    pytest.param({'isolation': 'strict'}, id='isolation')])
def test_a_run_that_is_refused_leaves_no_record_and_what_was_stopped_can_be_resumed(engine, spoil):
    """Bug: `--resume` went on with the slip of the hand, of which there was nothing to resume."""
    engine.launcher.will('work', Ending(exit_code=65))
    engine.run('stopped')
    engine.launcher.surrounding = Fence()

    with pytest.raises(RunnerError) as refused:
        engine.run('refused', **spoil)

    assert refused.value.exit_code == 2
    assert unfinished_run(StateNames(str(engine.workspace.root)),
                          str(engine.workspace.root)) == 'stopped'
    assert not [name for name in os.listdir(str(engine.workspace.path('state')))
                if 'refused' in name]


def test_a_slip_of_the_hand_costs_no_figures_of_the_run_with_the_same_id(engine):
    engine.run('r1')
    before = engine.workspace.tree('state')

    with pytest.raises(UsageError):
        engine.run('r1', wanted=Wanted(only=('wrok',)))

    assert engine.workspace.tree('state') == before


def test_a_full_disk_in_a_processor_is_a_fault_of_the_state(engine):
    engine.launcher.will('work', Ending(exit_code=1, stderr=('No space left on device',)))

    assert engine.run() == 5


# -- through all parts ----------------------------------------

def test_retries_go_through_all_parts(engine):
    engine.launcher.will('work', Ending(exit_code=75, stderr=('again',)),
                         Ending(exit_code=75, stderr=('and again',)),
                         Ending(does=writes({'a': '1'})))
    before = engine.clock.monotonic()

    assert engine.run() == 0

    assert [job.env['PIPELINE_ATTEMPT'] for job in engine.launcher.jobs] == ['1', '2', '3']
    assert engine.clock.monotonic() - before == 1.5
    assert sorted(os.listdir(str(engine.workspace.path('state/logs/r1')))) == [
        'work.1.log', 'work.2.log']


def test_the_next_attempt_of_the_same_run_resumes(engine):
    engine.workspace.simple(checkpoint={'enabled': True})

    def half(job: Any) -> None:
        writes({'r': 'abc'})(job)
        engine.workspace.write('state/progress_work.json',
                               '{"lineOffset": 7, "outputs": {"r": 2}}')

    engine.launcher.will('work', Ending(exit_code=75, does=half), Ending())

    assert engine.run() == 0
    assert engine.resumed_at() == [7]
    assert engine.workspace.read('data/work/r') == 'ab'


def test_digests_survive_the_run_in_the_index(engine):
    engine.clock.set_wall(4_000_000_000)
    engine.run()

    assert str(engine.workspace.path('bin/work.py')) in engine.workspace.read('state/index.json')


def test_two_stages_that_publish_the_same_path_at_run_time(engine):
    """The definition does not tell: the second one fails, naming the first."""
    engine.workspace.pipeline(stage('a', outputDir='data/o'), stage('b', outputDir='data/o'))

    assert engine.run() == 1
    assert engine.error() == ("output 'in.txt' was already published by 'a'; two tasks cannot "
                              'publish the same file')
    assert engine.run('r2') == 1
    assert engine.skipped() == ['a']


def test_an_input_still_missing_after_its_producer_fails_at_once(engine):
    engine.workspace.pipeline(stage('first'), stage('second', inputs=['data/first/x']))

    assert engine.run() == 1
    assert engine.error() == 'input data/first/x is missing after first'
    assert engine.attempts()[-1].error_class == 'permanent'


# -- state files ----------------------------------------

def metrics(engine: Engine, run_id: str = 'r1') -> Any:
    return engine.workspace.json(f'state/metrics_{run_id}.json')


def statuses(engine: Engine, run_id: str = 'r1') -> Any:
    return {row['stage']: row['status'] for row in metrics(engine, run_id)['stages']}


def test_metrics_of_a_success_and_a_skip(engine):
    engine.launcher.will('work', Ending(exit_code=75, after_s=1), Ending(after_s=2))
    engine.run('r1')
    engine.run('r2')

    assert metrics(engine) == {
        'runId': 'r1', 'timestamp': '2023-11-14T22:13:23.500000+00:00', 'pipeline': 'test',
        'state': 'completed', 'totalStages': 1, 'okStages': 1, 'skippedStages': 0,
        'failedStages': 0, 'cancelledStages': 0, 'blockedStages': 0, 'interruptedStages': 0,
        'durationSec': 3.5,
        'retries': 1, 'attempts': 2, 'throttled': 0, 'throttledSec': 0.0, 'workers': 1,
        'auditHead': engine.workspace.json('state/run_r1.json')['auditHead'],
        'stages': [{'stage': 'work', 'status': 'ok', 'durationSec': 3.0, 'attempts': 2,
                    'retries': 1}]}
    assert statuses(engine, 'r2') == {'work': 'skipped'}
    assert (metrics(engine, 'r2')['skippedStages'], metrics(engine, 'r2')['attempts']) == (1, 0)


def test_metrics_of_a_failed_run_have_a_row_for_every_stage(engine):
    engine.workspace.pipeline(*(stage(name) for name in 'abc'))
    engine.launcher.will('b', Ending(exit_code=65, stderr=('boom',)))
    engine.run()

    assert statuses(engine) == {'a': 'ok', 'b': 'failed', 'c': 'cancelled'}
    found = metrics(engine)
    assert (found['state'], found['okStages'], found['failedStages'], found['skippedStages'],
            found['cancelledStages']) == ('failed', 1, 1, 0, 1)
    assert found['stages'][1]['error'] == 'exit code 65\nboom'


def test_metrics_of_a_fan_out_that_never_began_count_its_tasks_all_the_same(engine):
    """What makes the rows of `later` failed, so nobody could tell how many there would be."""
    engine.workspace.pipeline(
        stage('a'), stage('jobs', jobs=['x', 'y'], outputDir='data/jobs'),
        stage('later', forEach='rows', inputs=['{item.path}'], outputDir='data/later/{item.id}'),
        items={'rows': {'jsonl': 'data/a/rows.jsonl', 'id': 'id'}})
    engine.launcher.will('a', Ending(exit_code=65))
    engine.run()

    assert {row['stage']: row.get('tasks') for row in metrics(engine)['stages']} == {
        'a': None, 'jobs': {'total': 2, 'cancelled': 2}, 'later': {'total': 0, 'cancelled': 0}}


def test_metrics_of_an_interrupted_run_count_the_attempt(engine):
    engine.workspace.pipeline(*(stage(name) for name in 'ab'))
    engine.launcher.will('a', Ending(after_s=3600))
    engine.launcher.later(7, lambda: engine.stop.request(signal.SIGTERM))
    engine.run()

    assert statuses(engine) == {'a': 'interrupted', 'b': 'cancelled'}
    assert (metrics(engine)['state'], metrics(engine)['attempts']) == ('interrupted', 1)
    assert metrics(engine)['stages'][0]['durationSec'] == 7.0


def stage_record(engine: Engine) -> Any:
    return engine.workspace.json('state/stage_work.json')


def test_the_record_of_a_stage_has_every_key_of_the_contract(engine):
    engine.launcher.will('work', Ending(exit_code=75, stderr=('try', 'again'), after_s=1),
                         Ending(after_s=2))
    engine.run()

    key = engine.workspace.json('data/work/.work.done')['key']
    first, second = stage_record(engine)['attempts']
    assert {name: value for name, value in stage_record(engine).items()
            if name not in ('attempts', 'reasons')} == {
        'lastStatus': 'ok', 'lastDurationSec': 2.0, 'idempotencyKey': key, 'lastError': None,
        'runId': 'r1', 'staged': True}
    assert {name: first[name] for name in list(first)[:11]} == {
        'attempt': 1, 'status': 'failed', 'startedAt': NOON, 'durationSec': 1.0, 'exitCode': 75,
        'class': 'transient', 'error': 'exit code 75\ntry\nagain', 'delaySec': 0.5,
        'lineOffset': 0, 'verified': True, 'log': 'state/logs/r1/work.1.log'}
    assert (second['attempt'], second['status'], second['error'], second['log']) == (
        2, 'ok', None, None)


def test_the_last_error_ends_in_the_last_lines_of_stderr(engine):
    lines = tuple(f'line {number}' for number in range(30))
    engine.launcher.will('work', Ending(exit_code=65, stderr=lines))
    engine.run()

    found = stage_record(engine)
    assert found['lastStatus'] == 'failed' and found['idempotencyKey'] is None
    assert found['lastError'] == '\n'.join(['exit code 65', *lines[-20:]])


def test_an_interrupted_stage_is_recorded_with_its_attempt(engine):
    engine.launcher.will('work', Ending(after_s=3600))
    engine.launcher.later(7, lambda: engine.stop.request(signal.SIGTERM))
    engine.run()

    found = stage_record(engine)
    assert (found['lastStatus'], found['lastError'], found['lastDurationSec']) == (
        'interrupted', 'interrupted', 7.0)
    assert [attempt['status'] for attempt in found['attempts']] == ['interrupted']


def test_a_skip_leaves_the_record_of_a_stage_alone(engine):
    engine.run()
    before = engine.workspace.read_bytes('state/stage_work.json')

    engine.run('r2')

    assert engine.workspace.read_bytes('state/stage_work.json') == before


def test_progress_without_outputs_is_recorded_as_not_verified(engine):
    engine.workspace.simple(checkpoint={'enabled': True})

    def half(job: Any) -> None:
        engine.workspace.write('state/progress_work.json', '{"lineOffset": 7}')

    engine.launcher.will('work', Ending(exit_code=75, does=half))
    engine.run()

    assert [(attempt['lineOffset'], attempt['verified'])
            for attempt in stage_record(engine)['attempts']] == [(0, True), (7, False)]


def test_direct_writes_are_recorded_as_not_staged(engine):
    engine.launcher.will('work', Ending(
        does=lambda job: engine.workspace.write('data/work/direct', 'x') and None))
    engine.run()

    assert engine.warnings() == ['wrote to data/work directly; use PIPELINE_OUTPUT_DIR']
    assert stage_record(engine)['staged'] is False
    assert engine.run('r2') == 0 and engine.skipped() == ['work']


def test_the_checkpoint_file_shows_all_stages_at_a_glance(engine):
    engine.workspace.pipeline(*(stage(name) for name in 'ab'))
    engine.launcher.will('a', Ending(exit_code=75), Ending(after_s=1))
    engine.run()

    done = '2023-11-14T22:13:21.500000+00:00'
    assert engine.workspace.json('state/pipeline_checkpoint.json') == {
        'run_id': 'r1', 'version': '2.0.0', 'created_at': NOON, 'last_updated': done,
        'status': 'completed', 'stages': {'a': done, 'b': done},
        'stats': {'total_stages': 2, 'completed_stages': 2, 'retries': 1},
        'config': {'max_workers': 1}}


class CheckpointWatch(ListSink):
    """Reads the checkpoint file whenever a stage is done."""

    def __init__(self, engine: Engine):
        super().__init__()
        self.engine = engine
        self.seen: list = []

    def receive(self, event: Any) -> None:
        if isinstance(event, TaskDone):
            found = self.engine.workspace.json('state/pipeline_checkpoint.json')
            self.seen.append((found['status'], sorted(found['stages'])))


def test_the_checkpoint_file_is_written_after_each_stage(engine):
    engine.workspace.pipeline(*(stage(name) for name in 'ab'))
    watch = CheckpointWatch(engine)
    engine.run(sinks=[watch])

    assert watch.seen == [('in_progress', ['a']), ('in_progress', ['a', 'b'])]
