"""The figures of a run count every task once, whatever became of it."""

import os

import pytest

from stagerunner.events import AttemptEnded
from stagerunner.events import EntryEnded
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.files import read_json
from stagerunner.report.metrics import Metrics


@pytest.fixture
def tell():
    """Return a function that hands events over and returns the file as it is then."""
    metrics = Metrics('metrics.json')

    def receive(*events):
        for event in events:
            metrics.receive(event)
        return read_json('metrics.json')
    return receive


def ended(task, attempt=1, duration_s=1.5):
    return AttemptEnded(task, attempt, 'ok', 'then', duration_s)


def test_a_run_of_every_kind_of_ending_is_counted(tell):
    found = tell(
        RunStarted('r1', 'demo', 'begin', ('a', 'b', 'c', 'd', 'e')),
        TaskSkipped('a', 'now', 'matched', 'key', 'then'),
        TaskStarted('b', 'now', 1, (Reason('never ran'),)), ended('b'),
        TaskRetrying('b', 2, 3, 0.5, 'transient', 'x'), ended('b', 2, 0.25),
        TaskDone('b', 'now', 0.25, 2, 'key'),
        ended('c'), TaskFailed('c', 'now', 1.5, 1, 'permanent', 'exit code 65', '', ()),
        ended('d'), TaskInterrupted('d', 'now', 1.5, 1), TaskCancelled('e', 'c failed'),
        RunEnded('r1', 'end', 9.87654321, 'failed', 'abc'))

    assert found == {
        'runId': 'r1', 'timestamp': 'end', 'pipeline': 'demo', 'state': 'failed',
        'stages': [
            {'stage': 'a', 'status': 'skipped', 'durationSec': 0.0, 'attempts': 0, 'retries': 0},
            {'stage': 'b', 'status': 'ok', 'durationSec': 1.75, 'attempts': 2, 'retries': 1},
            {'stage': 'c', 'status': 'failed', 'durationSec': 1.5, 'attempts': 1, 'retries': 0,
             'error': 'exit code 65', 'class': 'permanent'},
            {'stage': 'd', 'status': 'interrupted', 'durationSec': 1.5, 'attempts': 1,
             'retries': 0},
            {'stage': 'e', 'status': 'cancelled', 'durationSec': 0.0, 'attempts': 0,
             'retries': 0}],
        'totalStages': 5, 'okStages': 1, 'skippedStages': 1, 'failedStages': 1,
        'cancelledStages': 1, 'blockedStages': 0, 'interruptedStages': 1,
        'durationSec': 9.876543, 'retries': 1,
        'attempts': 4, 'throttled': 0, 'throttledSec': 0.0, 'workers': 1, 'auditHead': 'abc'}


def test_what_was_never_told_about_was_cancelled(tell):
    found = tell(RunStarted('r1', 'demo', 'begin', ('a',)), RunEnded('r1', 'end', 1, 'failed'))

    assert (found['cancelledStages'], found['skippedStages'], found['totalStages']) == (1, 0, 1)


def test_nothing_is_written_before_the_end(tell):
    assert tell(RunStarted('r1', 'demo', 'begin', ('a',)), ended('a'),
                TaskDone('a', 'now', 1, 1, 'key')) is None


def test_entries_of_the_queue_are_counted_and_their_tasks_summed_up(tell):
    """Nobody knows beforehand how many there will be."""
    metrics = tell(
        RunStarted('r1', 'p', 'now', ('a',), 1, {'a': 'jobs'}), StageExpanded('a', 0, True),
        EntryEnded('x', 'now', 1, 'retry', 'e', 1.0), EntryEnded('x', 'now', 2, 'done'),
        EntryEnded('y', 'now', 1, 'done'), StageEnded('a', 'now', 1.0, {'ok': 2}),
        RunEnded('r1', 'now', 1.0, 'completed'))

    assert metrics['entries'] == {'retry': 1, 'done': 2}
    assert metrics['stages'][0]['tasks'] == {'total': 2, 'ok': 2}


def test_a_run_that_state_faults_ended_before_its_start_leaves_no_figures():
    """A journal of a newer format, say: the run gives up before it tells anybody of a start."""
    Metrics('metrics.json').receive(RunEnded('r1', 'end', 0.1, 'failed'))

    assert not os.path.exists('metrics.json')
