"""`status` tells how runs stand, from outside, and changes nothing."""

import json
import os

import pytest

from stagerunner.clock import stamp
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.queue import WorkQueue
from support import stage

pytestmark = pytest.mark.integration


@pytest.fixture
def status(workspace, main):
    """Return a function that asks for the status in this process."""
    def call(*args):
        return main('status', '--pipeline', workspace.pipeline_file, *args)
    return call


@pytest.fixture
def engine(engine, workspace):
    """Return the engine on a workspace with one stage; it writes no audit of its own clock."""
    workspace.simple()
    return engine


def record(workspace, run_id, **fields):
    """Write the record of a run by hand."""
    at = stamp(1_700_000_000 + 10 * len(list(workspace.path('state').glob('run_*')))
               if workspace.path('state').exists() else 1_700_000_000)
    workspace.write(f'state/run_{run_id}.json', json.dumps(dict({
        'runId': run_id, 'pipeline': 'p', 'version': '1', 'startedAt': at, 'endedAt': None,
        'state': 'running', 'pid': 1, 'host': 'h', 'firstFailure': None}, **fields)))


def audit(workspace, run_id, *events):
    """Write the records of what a run told, as they are read; the chain is not looked at."""
    lines = [json.dumps(dict({'schema': 1, 'seq': number, 'runId': run_id,
                              'at': stamp(1_700_000_000 + number)}, **event)).replace('": ', '":')
             .replace(', "', ',"') for number, event in enumerate(events, 1)]
    workspace.write(f'state/audit_{run_id}.jsonl', ''.join(f'{line}\n' for line in lines))


def told(kind, task=None, **fields):
    return dict({'event': kind}, **({'task': task} if task else {}), **fields)


BEGUN = told('run_started', pipeline='p', stages=['a', 'b', 'c'], workers=2)


def test_before_the_first_run_there_is_nothing_to_tell(workspace, status):
    workspace.simple()

    assert status() == (0, 'nothing has run yet\n', '')
    assert status('--json') == (0, '', '')


def test_runs_are_listed_the_latest_first_with_what_became_of_their_tasks(engine, status):
    engine.run('r1')
    engine.run('r2')

    shown = [line.split() for line in status().lines]

    assert shown[0] == ['RUN', 'STATE', 'STARTED', '(UTC)', 'TOOK', 'OK', 'SKIPPED', 'FAILED',
                        'NOT', 'RUN']
    assert [(row[0], row[1], *row[5:]) for row in shown[1:]] == [
        ('r2', 'completed', '0', '1', '0', '0'), ('r1', 'completed', '1', '0', '0', '0')]


def test_one_run_is_told_in_full_as_json(engine, status):
    engine.run('r1')

    found = json.loads(status('r1', '--json').out)

    assert (found['runId'], found['state'], found['pipeline'], found['firstFailure']) == (
        'r1', 'completed', 'test', None)
    assert found['tasks'] == {'ok': 1, 'skipped': 0, 'failed': 0, 'blocked': 0, 'cancelled': 0,
                              'interrupted': 0, 'total': 1}
    assert found['durationSec'] >= 0 and found['startedAt'] <= found['endedAt']


def test_of_a_fan_out_the_tasks_are_counted(engine, workspace, status):
    workspace.pipeline(stage('work', jobs=[
        {'name': name, 'outputDir': f'data/{name}'} for name in 'xyz']))
    engine.run('r1')

    assert json.loads(status('--json').out)['tasks']['ok'] == 3


def test_what_failed_first_is_named(engine, workspace, status):
    workspace.path('bin/work.py').write_text('import socket\n')
    engine.run('r1')

    assert status('r1').lines[-1] == 'first failure: work'
    assert status().lines[1].split()[5:] == ['0', '0', '1', '0']


def test_no_more_runs_are_listed_than_asked_for(workspace, status):
    workspace.simple()
    for number in range(12):
        record(workspace, f'r{number:02d}', state='completed')

    assert [line.split()[0] for line in status('--limit', '2').lines[1:]] == ['r11', 'r10']
    assert len(status().lines) == 11
    assert status('--limit', '0').code == 2


@pytest.mark.parametrize(('asked', 'hint'), [
    ('nightl', ", did you mean 'nightly'?"), ('zzz', '; the last one is nightly')])
def test_an_unknown_run_is_a_mistake_of_the_caller(workspace, status, asked, hint):
    workspace.simple()
    record(workspace, 'nightly')

    assert status(asked) == (2, '', f"there is no run '{asked}'{hint}\n")


def test_a_folder_without_a_pipeline_is_a_mistake_of_the_caller(workspace, status):
    assert status().code == 2


# -- alive or not ----------------------------------------

def test_a_run_whose_lock_nobody_holds_has_crashed_whatever_its_record_says(workspace, status):
    workspace.simple()
    record(workspace, 'r1', pid=os.getpid())
    audit(workspace, 'r1', BEGUN, told('task_started', 'a', attempt=1, reasons=[]),
          told('attempt_ended', 'a', attempt=1, status='ok', startedAt='x', durationSec=1.0),
          told('task_done', 'a', durationSec=1.0, attempts=1, key='k'),
          told('task_started', 'b', attempt=1, reasons=[]))

    assert status().lines[1].split()[:2] == ['r1', 'crashed']
    found = json.loads(status('r1', '--json').out)
    assert (found['state'], found['durationSec'], found['tasks']['ok'], found['tasks']['total']) \
        == ('crashed', None, 1, 3)
    assert 'running' not in found


def test_a_name_that_somebody_wrote_into_the_audit_cannot_move_the_cursor(workspace, status):
    workspace.simple()
    record(workspace, 'r1')
    audit(workspace, 'r1', BEGUN, told('task_started', 'b\x1b[2J', attempt=1, reasons=[]))
    lock = try_lock(run_lock(str(workspace.root), 'r1'))
    try:
        shown = status().out
    finally:
        lock.release()

    assert '\x1b' not in shown and 'b\\x1b[2J' in shown


def test_a_run_whose_lock_is_held_shows_how_far_it_is(workspace, status):
    workspace.simple()
    record(workspace, 'r1')
    audit(workspace, 'r1', BEGUN, told('task_started', 'a', attempt=1, reasons=[]),
          told('task_failed', 'a', durationSec=1.0, attempts=1, errorClass='unknown', error='x',
               log='', tail=[]),
          told('task_started', 'b', attempt=2, reasons=[]),
          told('task_resumed', 'b', lineOffset=50, note=''))
    workspace.write('state/progress_b.json', '{"lineOffset": 250}')
    lock = try_lock(run_lock(str(workspace.root), 'r1'))
    try:
        shown, found = status().lines, json.loads(status('--json').out)
    finally:
        lock.release()

    assert shown[1].split()[:2] == ['r1', 'running'] and shown[2] == ''
    assert shown[3].startswith('r1  [0/3] 1 failed, 1 running, 1 waiting')
    assert shown[4].split()[0] == 'b' and '  line 250 (' in shown[4]
    assert shown[4].endswith('  attempt 2')
    assert found['tasks']['running'] == 1 and found['tasks']['waiting'] == 1
    assert [(task['task'], task['attempt'], task['lineOffset']) for task in found['running']] == [
        ('b', 2, 250)]
    assert found['running'][0]['linesPerSec'] > 0 and found['remainingSec'] is None


def test_nothing_is_changed_by_a_look_neither_at_dead_runs_nor_at_live_ones(workspace, status):
    """A killed run leaves the note of its lock behind: that is not ours to remove."""
    workspace.simple()
    for run_id in ('dead', 'live'):
        record(workspace, run_id)
        audit(workspace, run_id, BEGUN)
    workspace.write('locks/.run/dead.lock')
    workspace.write('locks/.run/dead.lock.json', '{}')
    lock = try_lock(run_lock(str(workspace.root), 'live'))
    try:
        before = workspace.tree()
        asked = [status(), status('--json'), status('dead'), status('live')]
        after = workspace.tree()
    finally:
        lock.release()

    assert [done.code for done in asked] == [0] * 4
    assert after == before


# -- what is damaged, what is elsewhere ----------------------------------------

@pytest.mark.parametrize('spoilt', ['{', '[]', '{"runId": 1}', ''])
def test_a_record_that_cannot_be_read_is_no_run(workspace, status, spoilt):
    workspace.simple()
    workspace.write('state/run_r1.json', spoilt)

    assert status().out == 'nothing has run yet\n'


@pytest.mark.parametrize('line', [
    '{"event": "task_done"}', '{"event": "run_started", "at": 5}', 'x', '{"event": []}',
    '{"event":"run_started","at":"2023-11-14T22:13:20.000000+00:00","stages":7}',
    '{"event":"stage_expanded","at":"2023-11-14T22:13:20.000000+00:00","stage":"a","tasks":"x"}'])
def test_records_that_say_nothing_sensible_are_passed_over(workspace, status, line):
    workspace.simple()
    record(workspace, 'r1')
    audit(workspace, 'r1', BEGUN)
    with workspace.path('state/audit_r1.jsonl').open('a') as file:
        file.write(f'{line}\n')

    assert status().code == 0


def test_a_run_without_figures_is_counted_by_its_events(workspace, status):
    workspace.simple()
    record(workspace, 'r1', state='failed', endedAt=stamp(1_700_000_500), startedAt='?')
    audit(workspace, 'r1', BEGUN, told('task_cancelled', 'b', why='x'))
    workspace.write('state/metrics_r1.json', '{"stages": [{}]}')

    found = json.loads(status('r1', '--json').out)

    assert found['tasks']['cancelled'] == 1 and found['durationSec'] is None
    assert status().lines[1].split()[-1] == '3'


def test_an_audit_that_is_no_file_is_told_and_no_obstacle(workspace, status):
    workspace.simple()
    record(workspace, 'r1')
    workspace.path('state/audit_r1.jsonl').mkdir()

    shown = status()

    assert shown.code == 0 and shown.lines[-1].startswith('warning: ')


def test_entries_of_a_queue_are_counted_too(workspace, status):
    workspace.simple()
    record(workspace, 'r1', state='completed')
    queue = WorkQueue(str(workspace.path('state/workqueue.sqlite')))
    queue.enqueue('a1', {})
    queue.enqueue('a2', {})
    queue.close()

    assert status().lines[-1] == 'queue: 2 queued, 2 total'
    workspace.write('state/workqueue.sqlite', 'no database')
    assert status().lines[-1].startswith('r1')


# -- again and again ----------------------------------------

def test_watching_what_has_ended_is_one_look(workspace, status):
    workspace.simple()
    record(workspace, 'r1', state='completed')

    assert status('--watch').lines == status().lines
    assert status('r1', '--watch', '--json').out.count('\n') == 1
