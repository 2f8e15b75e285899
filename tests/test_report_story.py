"""Tests of `stagerunner.report.story` and `.revived`: a run, gathered from what it told."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from runs import made_up
from stagerunner import events
from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunStarted
from stagerunner.events import StageExpanded
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskResumed
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import TaskThrottled
from stagerunner.files import read_json
from stagerunner.report import story as module
from stagerunner.report.metrics import Metrics
from stagerunner.report.revived import revive
from stagerunner.report.revived import revived
from stagerunner.report.story import Story
from stagerunner.wording import plain

pytestmark = pytest.mark.unit

NOW = '2025-12-01T10:00:00.000000+00:00'


def story_of(*told: Any) -> Story:
    story = Story()
    for event in told:
        story.receive(event)
    return story


START = RunStarted('r', 'demo', NOW, ('a', 'b'), 2)


def test_the_figures_are_those_of_the_metrics(rng):
    """Two gatherers of one story: what the report shows is what the file says."""
    told = list(made_up(rng, 30, 400))
    metrics = Metrics('metrics.json')
    for event in told:
        metrics.receive(event)
    file = read_json('metrics.json')
    story = story_of(*told)

    for row in file['stages']:
        stage = story.stages[row['stage']]
        assert (stage.status, stage.attempts, stage.retries) == (
            row['status'], row['attempts'], row['retries'])
        assert stage.duration_s == pytest.approx(row['durationSec'])
        assert stage.peak_bytes == row.get('peakMemoryBytes')
    assert len(story.stages) == file['totalStages']
    assert story.ended is not None and story.ended.state == file['state']


def test_a_stage_that_was_not_told_of_was_cancelled():
    ended = story_of(START, TaskDone('a', NOW, 1, 1, 'k'), events.RunEnded('r', NOW, 1, 'failed'))

    assert [stage.status for stage in ended.stages.values()] == ['ok', 'cancelled']


def test_a_run_that_is_not_over_tells_what_runs_and_what_waits():
    story = story_of(START, TaskStarted('a', NOW, 1, ()))

    assert [stage.told_status(is_over=False) for stage in story.stages.values()] == [
        'running', 'waiting']
    assert [stage.told_status(is_over=True) for stage in story.stages.values()] == [
        'unfinished', 'not started']
    assert list(story.running) == ['a'] and story.stages['a'].n_running == 1


def test_of_many_tasks_a_bounded_number_is_kept():
    story = story_of(START, StageExpanded('a', 5000))
    for number in range(5000):
        task = f'a[{number}]'
        for event in (TaskStarted(task, NOW, 1, (Reason('never ran'),)),
                      AttemptEnded(task, 1, 'failed', NOW, 1 + number / 1000),
                      TaskResumed(task, 7, ''), events.Warned(task, 'x'),
                      TaskFailed(task, NOW, 1, 1, 'unknown', 'x', '', ())):
            story.receive(event)

    stage = story.stages['a']
    assert (len(story.bars), len(stage.slowest), len(stage.failures), len(stage.notes)) == (
        module.BARS, module.SLOWEST, module.FAILURES, module.NOTES)
    assert min(bar.duration_s for bar in stage.slowest) == pytest.approx(5.98)
    assert (story.n_bars, stage.counts, stage.tries, story.running) == (
        5000, {'failed': 5000}, [], {})
    assert len(story.warnings) == module.WARNINGS and story.n_warnings == 5000


def test_waits_notes_and_reasons_are_kept():
    story = story_of(START, TaskThrottled('a', 'api', 0.5),
                     TaskStarted('a', NOW, 1, (Reason('x'),)),
                     TaskResumed('a', 150, 'outputs not verified'), TaskStarted('a', NOW, 2, ()),
                     TaskCancelled('b', 'a failed'))

    assert (story.stages['a'].throttled, story.stages['a'].throttled_s) == (1, 0.5)
    assert story.stages['a'].notes == ['resumed at line 150 (outputs not verified)']
    assert story.stages['a'].reasons == (Reason('x'),)
    assert story.stages['b'].why == 'a failed'


def test_many_skips_at_once_are_as_many_skips():
    story = story_of(START)
    story.receive_skips(TasksSkipped(['a', 'b'], NOW, 'same', ['k', 'l'], [NOW, NOW]))

    assert [stage.status for stage in story.stages.values()] == ['skipped', 'skipped']
    assert story.stages['b'].skipped is not None and story.stages['b'].skipped.key == 'l'


# -- events read back ----------------------------------------------------------------

def test_what_was_written_is_read_back(rng):
    told = list(made_up(rng, 6, 20))
    lines = [json.dumps(dict(plain(event), seq=1, prev='x')) for event in told]

    assert list(revived(json.loads(line) for line in lines)) == told


@pytest.mark.parametrize('record', [
    {}, {'event': 'unheard_of'}, {'event': 'task_done'}, {'event': 'task_done', 'task': 'a'},
    {'event': 'reason'}, {'event': 'sink'}])
def test_what_is_no_event_of_this_version_is_passed_over(record):
    assert revive(record) is None


def test_a_field_of_a_later_version_is_passed_over():
    record = dict(plain(TaskCancelled('a', 'why')), colour='blue')

    assert revive(record) == TaskCancelled('a', 'why')


def test_a_run_of_the_engine_is_read_back_whole(engine):
    engine.workspace.simple()
    engine.run('r')

    assert len(engine.sink.events) > 4
    for event in engine.sink.events:
        again = revive(json.loads(json.dumps(plain(event))))
        assert plain(again) == plain(event)


def test_a_record_with_a_value_of_another_type_is_passed_over():
    """Nobody but an editor wrote it; what is read back can be relied on."""
    rng = random.Random(5)
    story = Story()
    for event in made_up(rng, 4, 10):
        record = json.loads(json.dumps(plain(event)))
        for key in set(record) - {'event'}:
            again = revive(dict(record, **{key: rng.choice([5, 'x', True, [], {}, [5], [None]])}))
            if again is not None:
                story.receive(again)

    assert revive({'event': 'task_cancelled', 'task': 5, 'why': 'x'}) is None
    assert revive({'event': 'task_started', 'task': 'a', 'at': NOW, 'attempt': 1,
                   'reasons': [{'cause': 5}]}) is None
