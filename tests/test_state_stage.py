"""The record of a stage tells its last result to people; a skip leaves it alone."""

import pytest

from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunStarted
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


def ended(attempt=1, status='failed', **fields):
    return AttemptEnded('a', attempt, status, 'then', 0.1234567, **fields)


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
                      'leftover_processes': 2}]}


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
