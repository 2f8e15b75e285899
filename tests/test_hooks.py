"""A hook hears how a run ended, inside the fence, for as long as it may, and changes nothing."""

import os
import signal

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeLauncher
from fakes import ListSink
from stagerunner.errors import DefinitionError
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.events import HookEnded
from stagerunner.events import TaskDone
from stagerunner.report.trail import Trail
from stagerunner.selection import Wanted
from stagerunner.state.names import StateNames
from support import Workspace
from support import run_cli
from support import stage

#: Says what it was told, and in which environment.
TELL = '''\
import json, os, sys
told = json.load(sys.stdin)
told['env'] = {name: os.environ.get(name) for name in (
    'PIPELINE_RUN_ID', 'PIPELINE_RUN_STATE', 'PIPELINE_ROOT', 'PIPELINE_AUDIT_KEY_FILE')}
told['argv'], told['cwd'] = sys.argv, os.getcwd()
json.dump(told, open('told.json', 'w'))
print('it was', told['state'])
'''


@pytest.fixture
def workspace(tmp_path):
    found = Workspace(tmp_path).simple()
    found.processor(TELL, 'bin/tell.py')
    return found


@pytest.fixture
def engine(workspace):
    found = Engine(workspace, FakeLauncher())
    yield found
    found.close()


def hooked(workspace, *stages, **hooks):
    workspace.pipeline(*(stages or [stage()]), **hooks)


# -- when, and with what ------------------------------------------------------------------

@pytest.mark.parametrize(('code', 'called'), [(0, 'onSuccess'), (65, 'onFailure')])
def test_one_of_the_two_is_called(engine, code, called):
    hooked(engine.workspace, onSuccess='bin/tell.py', onFailure='bin/tell.py')
    engine.launcher.will('work', Ending(exit_code=code, stderr=('broken',)) if code
                         else engine.launcher.otherwise)

    assert engine.run() == (1 if code else 0)
    assert [job.task for job in engine.launcher.jobs] == ['work', called]
    assert [event.hook for event in engine.sink.of(HookEnded)] == [called]


def test_a_run_in_which_all_is_skipped_was_completed(engine):
    engine.run('r1')
    hooked(engine.workspace, onSuccess='bin/tell.py')

    engine.run('r2')
    assert engine.skipped() == ['work'] and len(engine.sink.of(HookEnded)) == 1


def test_an_interrupted_run_calls_on_failure(engine):
    hooked(engine.workspace, onFailure='bin/tell.py')
    engine.launcher.will('work', Ending(after_s=5))
    engine.launcher.later(1, lambda: engine.stop.request(signal.SIGTERM))

    assert engine.run() == 128 + signal.SIGTERM
    assert engine.workspace.json('state/logs/r1/hook_onFailure.json')['state'] == 'interrupted'


def test_where_no_hook_is_for_this_end_nothing_is_called(engine):
    hooked(engine.workspace, onFailure='bin/tell.py')
    engine.run()

    assert len(engine.launcher.jobs) == 1
    assert engine.workspace.json('state/run_r1.json')['hook'] is None


def test_a_refused_run_and_a_plan_call_nothing(engine):
    hooked(engine.workspace, onSuccess='bin/tell.py', onFailure='bin/tell.py')
    engine.plan()
    with pytest.raises(UsageError):
        engine.run('r1', wanted=Wanted(only=('nowhere',)))

    assert engine.launcher.jobs == []


def test_a_run_whose_state_cannot_be_written_calls_on_failure(engine):
    hooked(engine.workspace, onFailure='bin/tell.py')
    full = ListSink(fails_on=TaskDone, error=StateError('x', 'disk full'))

    with pytest.raises(StateError):
        engine.run(sinks=[full])
    assert [job.task for job in engine.launcher.jobs] == ['work', 'onFailure']
    assert engine.workspace.json('state/logs/r1/hook_onFailure.json')['exitCode'] == 5
    assert engine.workspace.json('state/run_r1.json')['hook']['exitCode'] == 0


def test_it_is_told_the_figures_of_the_run(engine):
    hooked(engine.workspace, onFailure={'command': ['bin/tell.py', 'x'], 'timeoutSec': 7})
    engine.launcher.will('work', Ending(exit_code=65, stderr=('broken',)))
    engine.launcher.will('onFailure', Ending())
    engine.run()

    told = engine.workspace.json('state/logs/r1/hook_onFailure.json')
    figures = engine.workspace.json('state/metrics_r1.json')
    assert {key: told[key] for key in ('stages', 'failedStages', 'state', 'runId', 'attempts')} \
        == {key: figures[key] for key in ('stages', 'failedStages', 'state', 'runId', 'attempts')}
    assert (told['hook'], told['exitCode'], told['firstFailure'], told['version']) == (
        'onFailure', 1, 'work', '0')
    job = engine.launcher.jobs[-1]
    assert (job.argv, job.timeout_s, job.cwd, job.is_fenced, job.env['PIPELINE_RUN_STATE']) == (
        ('bin/tell.py', 'x'), 7, str(engine.workspace.root), True, 'failed')


@pytest.mark.parametrize(('asked', 'hook', 'is_fenced'), [
    ({}, {'network': 'allow'}, False), ({'isolation': 'off'}, {}, False), ({}, {}, True)])
def test_the_fence_is_that_of_stages(engine, asked, hook, is_fenced):
    hooked(engine.workspace, onSuccess=dict({'command': 'bin/tell.py'}, **hook))
    engine.run(**asked)

    assert engine.launcher.jobs[-1].is_fenced is is_fenced


# -- how it ends -----------------------------------------------------------------------------

@pytest.mark.parametrize(('ending', 'error'), [
    (Ending(exit_code=3, stderr=('oh', 'no')), 'exit code 3: no'),
    (Ending(exit_code=-9), 'killed by signal 9'),
    (Ending(after_s=100), 'timed out after 60s'),
    (Ending(start_error='no such thing'), 'bin/tell.py cannot be started: no such thing'),
])
def test_a_hook_that_fails_is_told_and_changes_nothing(engine, ending, error):
    hooked(engine.workspace, onSuccess='bin/tell.py')
    engine.launcher.will('onSuccess', ending)

    assert engine.run() == 0
    assert engine.sink.of(HookEnded)[0].error == error
    printed = '; what it printed is in state/logs/r1/hook_onSuccess.log' if ending.stderr else ''
    assert engine.warnings() == [f'onSuccess: {error}{printed}']
    record = engine.workspace.json('state/run_r1.json')
    assert (record['state'], record['hook']['error']) == ('completed', error)
    assert [told['event'] for told in Trail(StateNames(str(engine.workspace.root)), 'r1').read()
            ][-3:] == ['hook_ended', 'warned', 'run_ended']


def test_who_asks_the_run_to_end_meanwhile_ends_the_hook(engine):
    hooked(engine.workspace, onSuccess={'command': 'bin/tell.py', 'timeoutSec': 1000})
    engine.launcher.will('onSuccess', Ending(after_s=900))
    engine.launcher.later(1, lambda: engine.stop.request(signal.SIGINT))

    assert engine.run() == 0
    assert engine.sink.of(HookEnded)[0].error == 'killed by signal 15'


def test_a_script_that_reaches_for_the_network_is_not_started(engine):
    engine.workspace.processor('import socket\n', 'bin/tell.py')
    hooked(engine.workspace, onSuccess='bin/tell.py')
    engine.run()

    assert engine.warnings() == [
        "onSuccess: Offline violation: forbidden import 'socket' (bin/tell.py:1)"]
    assert len(engine.launcher.jobs) == 1


def test_a_name_is_looked_up_and_may_be_missing(engine):
    hooked(engine.workspace, onSuccess=['sh', '-c', 'true'])
    engine.launcher.will('onSuccess', Ending())
    engine.run('r1')
    assert os.path.isabs(engine.launcher.jobs[-1].argv[0])

    hooked(engine.workspace, onSuccess='no-such-program')
    engine.run('r2')
    assert engine.warnings() == ['onSuccess: no-such-program is not found on PATH']


@pytest.mark.parametrize(('command', 'fault'), [
    ('bin/nowhere.py', "'bin/nowhere.py' does not exist"), ('nowhere.py', "'nowhere.py' does not "
                                                            'exist'),
    (['./bin', 'x'], "'./bin' is not a file"),
    ({'command': 'out/x.sh'}, "'out/x.sh' leads outside the workspace through a link")])
def test_a_file_that_cannot_be_called_is_refused(engine, tmp_path_factory, command, fault):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    (elsewhere / 'x.sh').write_text('')
    engine.workspace.path('out').symlink_to(elsewhere)
    hooked(engine.workspace, onSuccess=command)

    with pytest.raises(DefinitionError) as refused:
        engine.run()
    assert refused.value.faults == (f'pipeline.json: onSuccess: {fault}',)


# -- as real processes -------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('launcher', ['auto', 'spawn'])
def test_a_hook_reads_the_run_from_its_stdin(workspace, launcher):
    hooked(workspace, onSuccess=['bin/tell.py', 'done'])
    done = workspace.run('--run-id', 'r1', '--launcher', launcher,
                         env={'PIPELINE_AUDIT_KEY_FILE': ''})

    assert (done.code, done.err) == (0, '')
    told = workspace.json('told.json')
    assert (told['runId'], told['state'], told['okStages'], told['argv'][1:], told['cwd']) == (
        'r1', 'completed', 1, ['done'], str(workspace.root))
    assert told['env'] == {'PIPELINE_RUN_ID': 'r1', 'PIPELINE_RUN_STATE': 'completed',
                           'PIPELINE_ROOT': str(workspace.root), 'PIPELINE_AUDIT_KEY_FILE': None}
    assert workspace.read('state/logs/r1/hook_onSuccess.log') == 'it was completed\n'
    assert done.lines[-1] == 'Run r1 state: completed'
    again = workspace.run('--run-id', 'r2')
    assert again.lines == ['[SKIP] work (idempotent key matched)', 'Run r2 state: completed']
    third = workspace.run('--run-id', 'r3')
    assert (third.lines[1:], workspace.json('told.json')['runId']) == (
        ['Run r3 state: completed'], 'r3')


@pytest.mark.slow
@pytest.mark.integration
def test_a_program_is_fenced_and_its_end_is_that_of_all_it_started(workspace):
    workspace.processor('#!/bin/sh\ncat > got.json\nsleep 100 &\nexit 7\n', 'bin/hook')
    hooked(workspace, onFailure=['./bin/hook'], **{'defaults': {'retry': {'maxAttempts': 1}}})
    workspace.processor('raise SystemExit(3)\n')
    done = workspace.run('--run-id', 'r1')

    assert done.code == 1
    assert 'warning: onFailure: exit code 7\n' in done.err
    assert workspace.json('got.json')['firstFailure'] == 'work'


@pytest.mark.slow
@pytest.mark.integration
def test_a_hook_that_hangs_is_ended(workspace):
    workspace.processor('import time\nprint("on and on", flush=True)\ntime.sleep(60)\n',
                        'bin/slow.py')
    hooked(workspace, onSuccess={'command': 'bin/slow.py', 'timeoutSec': 0.3})
    done = workspace.run('--run-id', 'r1')

    assert (done.code, done.err) == (0, 'warning: onSuccess: timed out after 0.3s; what it printed'
                                        ' is in state/logs/r1/hook_onSuccess.log\n')


@pytest.mark.slow
@pytest.mark.integration
def test_validate_looks_at_hooks_and_a_dry_run_calls_none(workspace):
    hooked(workspace, onSuccess='bin/nowhere.py')
    assert run_cli('validate', cwd=workspace.root).err == (
        "pipeline.json: onSuccess: 'bin/nowhere.py' does not exist\n")
    hooked(workspace, onSuccess='bin/tell.py')
    assert workspace.run('--dry-run').code == 0
    assert not workspace.path('told.json').exists()
