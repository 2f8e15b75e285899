"""What documents 000 and 001 ask of the command: resume, why, plans, settings, retries, logs."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from support import Workspace
from support import stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Fails until the file `mended` is there.
UNTIL_MENDED = '''\
import os
import sys
sys.exit(0 if os.path.exists('mended') else 65)
'''

#: Fails as often as `fails` says, with its exit code, then succeeds; counts its launches.
COUNTS = '''\
import json
import os
import sys
with open('launches', 'a') as note:
    note.write('x')
with open('launches') as note:
    n = len(note.read())
params = json.loads(os.environ['PIPELINE_PARAMS'])
if n <= params['fails']:
    if 'asks' in params:
        with open(os.environ['PIPELINE_RETRY_PATH'], 'w') as note:
            json.dump({'retryAfterSec': params['asks']}, note)
    sys.exit(params['code'])
'''

QUICK = {'baseDelaySec': 0, 'jitter': 0}


@pytest.fixture
def run(workspace: Workspace, main: Any) -> Any:
    """Return a function that runs the pipeline of `workspace` within this process."""
    def call(*args: Any) -> Any:
        command = [args[0]] if args and not args[0].startswith('-') else []
        return main(*command, '--pipeline', workspace.pipeline_file, *args[len(command):])
    return call


@pytest.fixture
def four(workspace: Workspace) -> Workspace:
    """Return a workspace with four stages in a row, of which the third is broken."""
    workspace.processor()
    workspace.processor(UNTIL_MENDED, 'bin/mend.py')
    workspace.write('data/input/in.txt', 'x')
    workspace.pipeline(stage('a'), stage('b', inputs=['data/a/in.txt']),
                       stage('c', inputs=['data/b/in.txt'], processor='bin/mend.py'),
                       stage('d', inputs=['data/b/in.txt'], dependsOn=['c']))
    return workspace


def started(finished: Any) -> list:
    return re.findall(r'^\[RUN\] (\S+)', finished.out, re.MULTILINE)


# -- resume ------------------------------------------------------------------------

def test_resume_goes_on_with_the_unfinished_run_under_its_id(run, four):
    assert run('--run-id', 'first').code == 1
    began = four.json('state/run_first.json')['startedAt']
    four.write('mended')

    resumed = run('--resume')

    assert resumed.code == 0 and started(resumed) == ['c', 'd']
    assert resumed.lines[-1] == 'Run first state: completed'
    record = four.json('state/run_first.json')
    assert (record['state'], record['startedAt']) == ('completed', began)


def test_with_nothing_unfinished_resume_says_so_and_starts_a_run(run, four):
    four.write('mended')
    run('--run-id', 'first')

    resumed = run('--resume', '--run-id', 'other')

    assert resumed.code == 0 and resumed.lines[-1] == 'Run other state: completed'
    assert resumed.err == ('note: there is no unfinished run to go on with; '
                           'this is run other\n')


def test_a_failure_before_a_completed_run_is_settled(run, four):
    run('--run-id', 'failed')
    four.write('mended')
    run('--run-id', 'done')

    assert 'there is no unfinished run' in run('--resume').err


def test_resume_from_takes_what_is_before_as_it_is(run, four):
    four.write('mended')
    run()
    four.write('data/input/in.txt', 'changed')

    resumed = run('--resume-from', 'c')

    assert resumed.code == 0 and started(resumed) == ['c', 'd']
    assert resumed.err == ('warning: a: is taken as it is, but is stale '
                           '(input changed: data/input/in.txt)\n')


def test_resume_from_needs_a_marker_of_everything_before(run, four):
    refused = run('--resume-from', 'c')

    assert refused == (2, '', "--resume-from: stage 'a' before it has no marker, so it cannot be "
                              'taken as it is; run it first (--until a)\n')


# -- why, plan, dry run --------------------------------------------------------------

def test_why_tells_each_cause_with_both_values(run, four):
    run()
    four.write('data/input/in.txt', 'changed')
    before = four.tree()

    told = run('why', 'a')
    as_json = json.loads(run('why', 'a', '--json').out)

    assert told.lines[:2] == ['a: run', '  input changed: data/input/in.txt']
    assert re.fullmatch(r'    was [0-9a-f]{60}…, is [0-9a-f]{60}…', told.lines[2])
    assert as_json['decision'] == 'run' and as_json['reasons'][0]['old'] != (
        as_json['reasons'][0]['new'])
    assert [line.split()[-1] for line in run('why', 'b').lines] == ['maybe', 'a']
    assert four.tree() == before


def test_an_empty_collection_is_told_of_once(run, workspace):
    """Bug: `[SKIP] work (0 tasks, idempotent key matched)`, and `why` said that there is none."""
    workspace.processor()
    workspace.pipeline(stage('work', forEach='papers', inputs=['{item.path}']),
                       stage('more', forEach='papers', inputs=['{item.path}']),
                       items={'papers': {'glob': 'data/input/*.pdf'}})

    done, why, plan = run('--run-id', 'x'), run('why', 'work'), run('plan')

    assert done.lines == ['[SKIP] work (no tasks)', '[SKIP] more (no tasks)',
                          'Run x state: completed']
    assert done.err == "warning: work: there is nothing in its collection 'papers'\n"
    assert (why.code, why.out, plan.code, plan.out, plan.err) == (
        0, 'work: no tasks\n', 0, '', done.err)


@pytest.mark.parametrize('name, said', [
    ('e', "there is no stage 'e'; the stages are a, b, c, d\n"),
    ('a[x]', "stage 'a' has no task 'a[x]'\n"),
])
def test_why_of_what_is_not_there_is_refused(run, four, name, said):
    assert run('why', name) == (2, '', said)


def test_plan_check_tells_by_its_exit_code_whether_work_is_pending(run, four):
    four.write('mended')

    assert run('plan', '--check').code == 10
    run()
    assert run('plan', '--check').code == 0 and run('plan').code == 0


def test_a_dry_run_tells_and_changes_nothing(run, four):
    run()
    before = four.tree()

    told = run('--dry-run')

    assert told == (0, '\n'.join([
        'DRY-RUN MODE ENABLED', '[DRY-RUN] Would skip: a (idempotent key matched)',
        'Stage validated: a', '[DRY-RUN] Would skip: b (idempotent key matched)',
        'Stage validated: b', '[DRY-RUN] Would execute: c (failed before)',
        'Stage validated: c', '[DRY-RUN] Would execute: d (never ran)', 'Stage validated: d',
        '[DRY-RUN] 2 to execute, 2 to skip; nothing was changed', 'Pipeline Complete!', '']), '')
    assert four.tree() == before


def test_a_dry_run_says_how_long_it_took_last_time_and_simulates_a_checkpoint(
        run, workspace, tmp_path):
    workspace.simple('import time\ntime.sleep(0.1)\n', forEach='papers', inputs=['{item.path}'])
    document = workspace.json('pipeline.json')
    document['items'] = {'papers': {'glob': 'data/input/*.txt'}}
    workspace.write('pipeline.json', json.dumps(document))
    run()
    workspace.write('data/input/in.txt', 'changed')
    before = workspace.tree()
    simulated, log = tmp_path / 'simulated.json', tmp_path / 'log'

    told = run('--dry-run', '--checkpoint-file', str(simulated), '--log-file', str(log))

    assert re.search(r'1 to execute, 0 to skip, \d+\.\ds of work by what it last took',
                     told.lines[-2])
    data = json.loads(simulated.read_text())
    assert data['dry_run'] is True and list(data['papers']) == ['in.txt']
    assert data['papers']['in.txt']['stage'] == 'not_started'
    assert '[WARNING] DRY-RUN MODE ENABLED' in log.read_text()
    assert workspace.tree() == before


def test_a_config_can_ask_for_a_dry_run(run, four):
    four.write('pipeline_config.json', '{"dry_run": true}')
    before = four.tree()

    assert run().lines[0] == 'DRY-RUN MODE ENABLED' and four.tree() == before


def test_a_dry_run_of_what_can_only_fail_is_refused(run, workspace):
    workspace.simple('import socket\n')

    told = run('--dry-run')

    assert told.code == 2
    assert told.lines[-3:] == [
        'Stage would fail: work', '[DRY-RUN] 1 to execute, 0 to skip; nothing was changed',
        'Pipeline would fail']
    assert told.err == ("warning: work: would fail: Offline violation: forbidden import 'socket' "
                        '(bin/work.py:1)\n')


# -- retries -------------------------------------------------------------------------

@pytest.mark.parametrize('fails, code, config, launches, exit_code', [
    (2, 75, {}, 3, 0), (9, 65, {}, 1, 1), (9, 1, {}, 3, 1),
    (9, 1, {'v2_features': {'feature_flags': {'enable_smart_retry': True}}}, 1, 1),
    (9, 75, {'retry_policy': {'per_stage': {'work': {'max_attempts': 2}}}}, 2, 1),
])
def test_a_stage_is_tried_as_often_as_its_failure_is_worth(
        run, workspace, fails, code, config, launches, exit_code):
    workspace.simple(COUNTS, params={'fails': fails, 'code': code}, retry=QUICK)
    workspace.write('pipeline_config.json', json.dumps(config))
    if 'retry_policy' in config:
        config['retry_policy']['per_stage']['work']['backoff_base'] = 0
        workspace.write('pipeline_config.json', json.dumps(config))

    assert run().code == exit_code
    assert len(workspace.read('launches')) == launches


def test_a_processor_can_say_when_to_try_again(run, workspace):
    workspace.simple(COUNTS, params={'fails': 1, 'code': 75, 'asks': 0.01},
                     retry={'baseDelaySec': 50})

    done = run()

    assert done.code == 0
    assert '[RETRY] work attempt 2 of 3 in 0.01s (transient: exit code 75)' in done.lines
    assert not workspace.path('state/retry_work.json').exists()


def test_permanent_failures_in_a_row_open_the_circuit(run, workspace):
    workspace.simple('import sys\nsys.exit(65)\n', jobs=list('abcdef'))
    workspace.write('pipeline_config.json', '{"retry_policy": {"circuit_breaker_threshold": 3}}')

    failed = run('--keep-going', '--run-id', 'x')

    assert failed.code == 1 and started(failed) == ['work[a]', 'work[b]', 'work[c]']
    assert [line for line in failed.lines if 'BLOCKED' in line] == [
        f'[BLOCKED] work[{job}] (circuit open)' for job in 'def']
    assert workspace.json('state/metrics_x.json')['stages'][0]['tasks'] == {
        'total': 6, 'failed': 3, 'blocked': 3}


# -- settings ------------------------------------------------------------------------

def test_an_unmet_safety_gate_holds_every_request_to_one_worker(run, workspace):
    workspace.simple()
    workspace.write('pipeline_config.json', '{"safetyGate": ["tests-passed"]}')

    held = run('--max-workers', '4', '--run-id', 'x')
    workspace.write('tests-passed')
    let_go = run('--max-workers', '4', '--run-id', 'y')

    assert held.err.startswith("warning: safetyGate: 'tests-passed' is missing")
    assert workspace.json('state/metrics_x.json')['workers'] == 1
    assert let_go.err == '' and workspace.json('state/metrics_y.json')['workers'] == 4


@pytest.mark.parametrize('flag', ['0', '-1', 'many', '1.5', '99999'])
def test_a_number_of_workers_that_makes_no_sense_is_refused(run, workspace, flag):
    workspace.simple()

    refused = run(f'--max-workers={flag}')

    assert refused.code == 2 and refused.err.startswith('--max-workers: expected a whole number')


def test_a_quota_that_nobody_defined_is_refused(run, workspace):
    workspace.simple(quota={'api': {'tokens': 5}})

    refused = run()
    workspace.write('pipeline_config.json', '{"quota": {"api": {"rate": 4, "per_seconds": 1}}}')
    too_many = run()

    assert refused == (2, '', "pipeline.json: stages[0].quota: quota 'api' is not defined; "
                              'define it in pipeline_config.json\n')
    assert too_many.code == 2 and 'never given at once' in too_many.err


def test_a_quota_without_patience_fails_the_attempt_as_transient(run, workspace):
    workspace.simple(quota={'api': {'tokens': 1, 'wait': False}}, jobs=['a', 'b'],
                     idempotency={'enabled': False}, retry={'maxAttempts': 1})
    workspace.write('pipeline_config.json', '{"quota": {"api": {"rate": 1, "per_seconds": 600}}}')

    failed = run()

    assert failed.code == 1
    assert "[FAIL] work[b]: quota 'api' is used up" in failed.lines


def test_a_missing_config_is_told(run, workspace):
    workspace.simple()

    assert run('--config', 'nowhere.json') == (
        2, '', 'nowhere.json: there is no such file; name one with --config\n')


# -- logs and figures ------------------------------------------------------------------

def test_a_log_file_has_time_and_level_on_every_line(run, four, tmp_path):
    log = tmp_path / 'logs' / 'run.log'
    run('--log-file', str(log), '--run-id', 'x')
    run('--log-file', str(log), '--run-id', 'y', '--log-level', 'ERROR')

    lines = log.read_text().splitlines()

    assert all(re.match(r'\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[(INFO|WARNING|ERROR|SUCCESS)\] \S',
                        line) for line in lines)
    said = [line.split('] ', 1)[1] for line in lines]
    assert '[SUCCESS] b: done in' in ' '.join(said) and '[WARNING] d: cancelled (c failed)' in said
    assert [line for line in said if line.startswith('[ERROR] c: failed')] == [
        '[ERROR] c: failed: exit code 65'] * 2
    assert len([line for line in said if line.startswith('[INFO]')]) == 4


def test_a_completed_run_is_added_to_the_history(run, four):
    four.write('pipeline_config.json', '{"version_history_path": "history.json"}')
    run('--run-id', 'failed')
    four.write('mended')
    run('--run-id', 'x')
    torn = '[{"run_id": "x", '
    four.write('history.json', torn)
    run('--run-id', 'y')

    entry, = four.json('history.json')
    assert (entry['run_id'], entry['version']) == ('y', '0') and 'ended_at' in entry
    assert four.read('history.json.corrupt-1') == torn


@pytest.mark.parametrize('content', ['no JSON\n', 'root:x:0:0::/root:/bin/sh\n', '{"a": ', '\xff'])
def test_a_text_that_is_no_history_is_left_alone(run, four, content):
    """Bug: whatever was no JSON was set aside for a damaged history, wherever it lay."""
    four.write('mended')
    four.write('precious.txt', content)
    four.write('pipeline_config.json', '{"version_history_path": "precious.txt"}')

    refused = run()

    assert refused.code == 5 and '[RUN]' not in refused.out
    assert 'is no history of versions and is left as it is' in refused.err
    assert four.read('precious.txt') == content
    assert not four.path('precious.txt.corrupt-1').exists()


@pytest.mark.skipif(os.name == 'nt', reason='links need a right on Windows')
def test_a_link_to_a_history_is_left_alone(run, four):
    four.write('mended')
    four.write('elsewhere.json', '[]')
    four.path('history.json').symlink_to('elsewhere.json')
    four.write('pipeline_config.json', '{"version_history_path": "history.json"}')

    assert run().code == 5
    assert four.path('history.json').is_symlink() and four.read('elsewhere.json') == '[]'


def test_the_figures_are_there_for_a_collector_too(run, workspace):
    workspace.simple()
    run('--run-id', 'x')

    text = workspace.read('state/metrics_x.prom')

    assert 'stagerunner_attempts{pipeline="test",run="x"} 1\n' in text
    assert re.search(r'stage="work",status="ok"} 0\.\d+\n', text)
    assert all(re.match(r'# (HELP|TYPE) |stagerunner_\w+\{.*\} [0-9.]+$', line)
               for line in text.splitlines())
