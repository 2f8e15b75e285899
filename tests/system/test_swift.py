"""A run that has nothing to do leaves what any run leaves, and loads next to nothing for it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time

import pytest

from support import FRONT_DOOR
from support import Workspace
from support import processes_below
from support import run_process
from support import stage
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow,
              pytest.mark.skipif(os.name != 'posix', reason='stats are not believed there')]

#: What only work needs.
HEAVY = ['argparse', 'typing', 'stagerunner.definition', 'stagerunner.scheduler',
         'stagerunner.task', 'stagerunner.run', 'stagerunner.launch.job', 'subprocess', 'ast',
         'glob']


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Return a workspace whose two stages are known to stand."""
    workspace = Workspace(tmp_path).simple()
    workspace.pipeline(stage('one'), stage('two', inputs=['data/one/in.txt']), version='7')
    assert workspace.run('--run-id', 'cold').code == 0
    time.sleep(0.15)
    assert workspace.run('--run-id', 'known').code == 0
    return workspace


def loaded(workspace, *args):
    """Return which modules a run loads."""
    done = run_process(sys.executable, '-X', 'importtime', FRONT_DOOR, '--pipeline',
                       workspace.pipeline_file, *args, cwd=workspace.root, is_measured=False)
    assert done.code == 0
    return set(re.findall(r'\|\s*(\S+)$', done.err, re.MULTILINE))


def without_times(value):
    """Return what is left when times, durations and ids are taken out."""
    text = re.sub(r'\d{4}-\d\d-\d\dT[\d:.]+\+00:00', 'T', json.dumps(value))
    text = re.sub(r'((auditHead|prev|hash)\\?": \\?")[0-9a-f]+', r'\1H', text)
    return re.sub(r'(durationSec\\?": |pid": )[\d.e-]+', r'\1 0', text)


def test_nothing_is_loaded_that_only_work_needs(workspace):
    assert loaded(workspace) & set(HEAVY) == set()
    assert loaded(workspace, '--lock-timeout', '5') & set(HEAVY) == set(HEAVY) - {
        'subprocess', 'ast'}
    workspace.write('data/input/in.txt', 'other')
    assert not loaded(workspace) & {'typing', 'subprocess', 'argparse'}


def test_it_prints_and_leaves_what_the_long_way_does(workspace):
    left = {}
    for way, args in (('short', []), ('long', ['--lock-timeout', '5'])):
        if way == 'long':
            workspace.path('state/index.json').unlink()
        done = workspace.run('--run-id', 'r', '--max-workers', '2', *args)
        state = {name: workspace.json(f'state/{name}') for name in
                 ('run_r.json', 'metrics_r.json', 'pipeline_checkpoint.json')}
        state['audit'] = [json.loads(line) for line in
                          workspace.read('state/audit_r.jsonl').splitlines()]
        workspace.path('state/audit_r.jsonl').unlink()
        names = sorted(path.name for path in workspace.path('locks').rglob('*'))
        left[way] = done, without_times(state), [name for name in names if 'json' in name]

    assert left['short'] == left['long']
    assert left['short'][0] == (0, '[SKIP] one (idempotent key matched)\n'
                                   '[SKIP] two (idempotent key matched)\n'
                                   'Run r state: completed\n', '')


@pytest.mark.parametrize('args', [['--json'], ['--quiet'], ['--json', '--quiet']])
def test_it_prints_the_same_in_every_form(workspace, args):
    short = workspace.run('--run-id', 'r', *args)
    long = workspace.run('--run-id', 'r', '--lock-timeout', '5', *args)

    assert without_times(short.lines) == without_times(long.lines)
    assert (short.code, short.err) == (long.code, long.err) == (0, '')


@pytest.mark.parametrize('args, code, said', [
    (['--run-id', '../x'], 2, '--run-id: expected a name'),
    (['--max-workers', '0'], 2, '--max-workers: expected a whole number from 1'),
    (['--max-workers', 'x'], 2, '--max-workers: expected a whole number from 1'),
    (['--pipeline', 'nowhere.json'], 2, 'there is no such file'),
])
def test_what_is_refused_is_refused_in_the_same_words(workspace, args, code, said):
    done = workspace.run(*args)

    assert done.code == code and said in done.err and done.out == ''


def test_a_run_id_in_use_is_busy(workspace):
    workspace.write('bin/work.py', 'import time\nopen("up", "w").close()\ntime.sleep(60)\n')
    with workspace.start('--run-id', 'r') as process:
        wait_until(workspace.path('up').exists)
        done = workspace.run('--run-id', 'r')
        process.send_signal(signal.SIGINT)
        process.communicate()

    assert done.code == 4 and "run 'r'" in done.err


@pytest.mark.parametrize('make', [
    pytest.param(lambda workspace: workspace.write('pipeline_config.json', '{}'), id='config'),
    pytest.param(lambda workspace: workspace.path('data/two/.two.done').unlink(), id='marker'),
    pytest.param(lambda workspace: workspace.write('bin/json.py'), id='helper'),
])
def test_with_any_doubt_the_whole_command_takes_place(workspace, make):
    make(workspace)

    assert 'stagerunner.run' in loaded(workspace)


def test_another_interpreter_is_asked_for_its_version_each_time(tmp_path):
    """So nothing is noted of such a pipeline: the index is not told which version it was."""
    workspace = Workspace(tmp_path).simple()
    workspace.pipeline(stage(), python=sys.executable)
    for _ in range(3):
        assert workspace.run().code == 0

    assert 'stages' not in workspace.json('state/index.json')


def test_a_changed_input_runs_its_stage_and_what_follows_from_it(workspace):
    workspace.write('data/input/in.txt', 'other')

    done = workspace.run('--run-id', 'r')

    assert [re.sub('in .*s$', 'in', line) for line in done.lines] == [
        '[RUN] one (input changed: data/input/in.txt)', '[DONE] one in',
        '[RUN] two (input changed: data/one/in.txt)', '[DONE] two in',
        'Run r state: completed']


def test_stages_that_stand_are_told_in_the_declared_order(tmp_path):
    workspace = Workspace(tmp_path).simple()
    workspace.write('data/input/other.txt', 'x')
    workspace.pipeline(*(stage(f's{number}', inputs=[
        'data/input/other.txt' if number == 2 else 'data/input/in.txt']) for number in range(5)))
    workspace.run()
    time.sleep(0.15)
    workspace.run()
    workspace.write('data/input/other.txt', 'y')

    done = workspace.run()

    assert [line.split()[:2] for line in done.lines[:-1]] == [
        ['[SKIP]', 's0'], ['[SKIP]', 's1'], ['[RUN]', 's2'], ['[DONE]', 's2'], ['[SKIP]', 's3'],
        ['[SKIP]', 's4']]


def test_no_keeper_is_begun_where_all_may_turn_out_to_be_done(tmp_path):
    """After the first success nothing is known to stand, and nothing has to be done."""
    workspace = Workspace(tmp_path).simple()
    workspace.pipeline(stage('one'))
    assert workspace.run().code == 0
    time.sleep(0.15)

    assert 'subprocess' not in loaded(workspace)
    assert 'subprocess' not in loaded(workspace)
    assert 'subprocess' in loaded(workspace, '--force', 'one')


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='there are no keepers')
def test_in_a_folder_made_a_moment_ago_the_keeper_is_begun_before_the_run_is_loaded(tmp_path):
    """Only then is it a fork of the runner; later it is started by `subprocess`."""
    workspace = Workspace(tmp_path).simple()

    assert {'ctypes', 'subprocess'} & loaded(workspace) == {'ctypes'}


@pytest.mark.parametrize('spoil', [
    lambda workspace: workspace.path('state').rename(workspace.path('aside')),
    lambda workspace: workspace.write('data/input/in.txt', 'other')],
    ids=['a first run', 'a changed input'])
def test_a_keeper_that_was_begun_for_a_run_that_is_refused_is_gone_with_it(workspace, spoil):
    spoil(workspace)
    workspace.path('bin/work.py').unlink()
    time.sleep(0.15)

    done = workspace.run('--run-id', 'r')

    assert done.code == 2 and 'does not exist' in done.err and done.out == ''
    wait_until(lambda: not processes_below(workspace.root), 'the end of the keeper')


def test_a_processor_that_goes_missing_is_refused_before_anything_runs(workspace):
    workspace.write('data/input/in.txt', 'other')
    workspace.path('bin/work.py').unlink()

    done = workspace.run('--run-id', 'r')

    assert done.code == 2 and 'does not exist' in done.err and done.out == ''
