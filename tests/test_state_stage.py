"""The record of a stage tells its last result to people; a skip leaves it alone."""

import os

import pytest

from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunStarted
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.files import read_json
from stagerunner.state.names import StateNames
from stagerunner.state.stage import KEPT_ATTEMPTS
from stagerunner.state.stage import StageRecords
from stagerunner.state.stage import reasons_to_json

REASON = Reason('input changed', 'in.txt', 'aa', 'bb')


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


@pytest.fixture
def tell(names):
    """Return a function that hands events to the records and returns that of task `a`."""
    records = StageRecords(names, 'r1')

    def receive(*events):
        for event in events:
            records.receive(event)
        return read_json(names.stage('a'))
    return receive


def ended(attempt=1, status='failed', task='a', **fields):
    return AttemptEnded(task, attempt, status, 'then', 0.1234567, **fields)


def test_a_success_leaves_key_reasons_and_attempts(tell):
    found = tell(RunStarted('r1', 'p', 'now', ('a',)), TaskStarted('a', 'now', 1, (REASON,)),
                 ended(status='ok', exit_code=0, log='state/logs/r1/a.1.log', line_offset=5,
                       is_verified=False, isolation={'network': 'deny'},
                       usage=(0.25, 4096, None, 2)),
                 TaskDone('a', 'now', 0.1234567, 1, 'key', 7))

    assert found == {
        'lastStatus': 'ok', 'lastDurationSec': 0.123457, 'idempotencyKey': 'key',
        'lastError': None, 'runId': 'r1', 'staged': True,
        'reasons': [{'cause': 'input changed', 'path': 'in.txt', 'old': 'aa', 'new': 'bb'}],
        'attempts': [{'attempt': 1, 'status': 'ok', 'startedAt': 'then', 'durationSec': 0.123457,
                      'exitCode': 0, 'class': None, 'error': None, 'delaySec': None,
                      'lineOffset': 5, 'verified': False, 'log': 'state/logs/r1/a.1.log',
                      'isolation': {'network': 'deny'}, 'cpuSec': 0.25,
                      'peakMemoryBytes': 4096, 'writtenBytes': None,
                      'leftoverProcesses': 2}]}


def test_outputs_that_were_not_staged_are_told(tell):
    assert tell(TaskDone('a', 'now', 1, 1, 'key', is_staged=False))['staged'] is False


def test_a_failure_that_will_be_tried_again_is_told_at_once(tell):
    found = tell(ended(error='exit code 75', error_class='transient', delay_s=0.5, exit_code=75))

    assert (found['lastStatus'], found['lastError']) == ('failed', 'exit code 75')
    assert found['attempts'][0]['delaySec'] == 0.5


def test_a_last_attempt_is_not_told_before_its_outcome_is(tell):
    assert tell(ended(error='exit code 1')) is None


def test_a_failure_keeps_its_error_and_has_no_key(tell):
    found = tell(ended(error='exit code 1\nlast line', exit_code=1),
                 TaskFailed('a', 'now', 2.0, 1, 'unknown', 'exit code 1\nlast line', '', ()))

    assert (found['lastStatus'], found['lastError'], found['idempotencyKey']) == (
        'failed', 'exit code 1\nlast line', None)


def test_an_interruption_is_told(tell):
    assert tell(TaskInterrupted('a', 'now', 2.0, 1))['lastStatus'] == 'interrupted'


def test_a_skip_leaves_the_record_as_it_is(tell, names):
    before = tell(TaskDone('a', 'now', 1, 1, 'key'))

    assert tell(TaskSkipped('a', 'now', 'matched', 'other', 'then')) == before


@pytest.mark.parametrize('found_busy', [
    (TaskFailed('a', 'now', 0.0, 0, 'busy', 'x', '', ()),),
    (StageExpanded('a', 1, False), TaskFailed('a[x]', 'now', 0.0, 0, 'busy', 'x', '', ()),
     StageEnded('a', 'now', 10.0, {'failed': 1})),
], ids=['plain', 'fan-out'])
def test_a_stage_that_was_busy_leaves_its_record_to_who_works_on_it(found_busy, tell, names):
    assert tell(*found_busy) is None
    assert os.listdir(names.folder) == []


def test_tasks_are_kept_apart(tell, names):
    tell(ended(), TaskDone('a', 'now', 1, 1, 'key'), TaskStarted('b', 'now', 1, ()),
         TaskDone('b', 'now', 1, 1, 'other'))

    assert len(read_json(names.stage('a'))['attempts']) == 1
    assert read_json(names.stage('b'))['attempts'] == []


def test_only_the_newest_attempts_are_kept(tell):
    found = tell(*(ended(number) for number in range(1, KEPT_ATTEMPTS + 6)),
                 TaskFailed('a', 'now', 2.0, 25, 'unknown', 'x', '', ()))

    assert [entry['attempt'] for entry in found['attempts']] == list(range(6, 26))


def test_reasons_are_spelled_out():
    assert reasons_to_json((Reason('never ran'),)) == [
        {'cause': 'never ran', 'path': '', 'old': None, 'new': None}]


# -- stages with many tasks -------------------------------------------------------------

def test_the_record_of_a_fan_out_counts_its_tasks_and_has_the_first_error(tell):
    found = tell(StageExpanded('a', 3, True), ended(task='a[x]', status='ok'),
                 TaskDone('a[x]', 'now', 0.1, 1, 'key', 0),
                 TaskFailed('a[y]', 'now', 0.1, 1, 'permanent', 'exit code 65', '', ()),
                 TaskFailed('a[z]', 'now', 0.1, 1, 'permanent', 'exit code 66', '', ()),
                 StageEnded('a', 'now', 1.5, {'ok': 1, 'failed': 2}))

    assert found == {'lastStatus': 'failed', 'lastDurationSec': 1.5, 'idempotencyKey': None,
                     'lastError': 'a[y]: exit code 65', 'runId': 'r1',
                     'tasks': {'ok': 1, 'failed': 2}, 'attempts': []}


def test_an_item_has_a_record_of_its_own_until_it_is_done(tell, names):
    failed = TaskFailed('a[y]', 'now', 0.1, 1, 'permanent', 'exit code 65', '', ())
    tell(StageExpanded('a', 1, True), failed)
    before = read_json(names.stage('a[y]'))

    tell(TaskDone('a[y]', 'now', 0.1, 1, 'key', 0))

    assert before['lastError'] == 'exit code 65'
    assert read_json(names.stage('a[y]')) is None


@pytest.mark.parametrize('counts', [
    {'skipped': 2},
    {'skipped': 1, 'blocked': 1},
    {'cancelled': 2},
], ids=['skipped', 'blocked', 'cancelled'])
def test_a_fan_out_that_did_nothing_leaves_its_record_alone(counts, tell, names):
    """A stage that waited for another one in vain was not interrupted, nor did it fail."""
    former = tell(StageExpanded('a', 2, True), ended(task='a[x]', status='ok'),
                  StageEnded('a', 'now', 1.5, {'ok': 2}))
    another = StageRecords(names, 'r2')

    for event in (StageExpanded('a', 2, True), StageEnded('a', 'later', 0.1, counts)):
        another.receive(event)

    assert read_json(names.stage('a')) == former and former['lastStatus'] == 'ok'


def test_a_fan_out_that_a_halt_left_unfinished_was_interrupted(tell):
    found = tell(StageExpanded('a', 2, False), ended(task='a[x]', status='ok'),
                 StageEnded('a', 'now', 1, {'ok': 1, 'cancelled': 1}))

    assert (found['lastStatus'], found['tasks']) == ('interrupted', {'ok': 1, 'cancelled': 1})
