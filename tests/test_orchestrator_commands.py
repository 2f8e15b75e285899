"""The command lines of documents 000 and 001 work as they stand there, from the folder itself."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import Any

import pytest

from support import CHECKOUT
from support import Workspace
from support import stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def reviewed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a workspace with two stages and the config of document 001, and stand in it."""
    workspace.processor()
    workspace.write('data/input/in.txt', 'x')
    workspace.pipeline(stage('journal_reviewer'),
                       stage('judge', inputs=['data/journal_reviewer/in.txt']))
    shutil.copy(str(CHECKOUT / 'tests' / 'configs' / 'document_001.json'),
                str(workspace.path('pipeline_config.json')))
    monkeypatch.chdir(workspace.root)
    return workspace


@pytest.mark.parametrize('command, workers', [
    ('', 1), ('--resume', 1), ('--config pipeline_config.json', 1),
    ('--checkpoint-file my_checkpoint.json', 1), ('--log-file debug.log', 1),
    ('--enable-experimental', 4), ('--enable-experimental --max-workers 3', 3),
    ('--resume --checkpoint-file custom/folder/checkpoint.json', 1),
])
def test_a_command_of_the_documents_runs_everything(reviewed, main, command, workers):
    done = main(*command.split(), '--run-id', 'x')

    assert done.code == 0 and done.lines[-1] == 'Run x state: completed', done
    assert re.findall(r'^\[DONE\] (\w+)', done.out, re.M) == ['journal_reviewer', 'judge']
    assert reviewed.json('state/metrics_x.json')['workers'] == workers


@pytest.mark.parametrize('command', [
    '--dry-run', '--dry-run --log-file debug.log', '--dry-run --enable-experimental'])
def test_a_dry_run_of_the_documents_runs_nothing(reviewed, main, command):
    told = main(*command.split())

    assert told.code == 0 and told.lines[0] == 'DRY-RUN MODE ENABLED'
    assert told.lines[-1] == 'Pipeline Complete!'
    assert not reviewed.path('state').exists() and not reviewed.path('data/judge').exists()


def test_resume_from_a_stage_runs_it_and_what_follows(reviewed, main):
    main()

    done = main('--resume-from', 'judge')

    assert done.code == 0 and '[RUN] judge' in done.out and 'journal_reviewer' not in done.out


def test_the_folder_of_a_checkpoint_is_made(reviewed, main):
    """Document 001 asks its users to make it."""
    main('--checkpoint-file', 'not/there/yet.json')

    found = reviewed.json('not/there/yet.json')
    assert (found['status'], sorted(found['stages'])) == (
        'completed', ['journal_reviewer', 'judge'])


@pytest.mark.parametrize('switch', [
    {'enable_parallel': True}, {'feature_flags': {'enable_parallel_processing': True}}])
def test_either_switch_of_the_config_does_what_the_flag_does(reviewed, main, switch):
    config: Any = reviewed.json('pipeline_config.json')
    features = config['v2_features']
    features.update({key: dict(features[key], **value) if isinstance(value, dict) else value
                     for key, value in switch.items()})
    reviewed.write('pipeline_config.json', json.dumps(config))

    main('--run-id', 'x')

    assert reviewed.json('state/metrics_x.json')['workers'] == 4


def test_a_dry_run_makes_the_folder_of_the_checkpoint_that_is_asked_for(reviewed, main):
    told = main('--dry-run', '--checkpoint-file', 'not/there/yet.json')

    assert told.code == 0 and reviewed.json('not/there/yet.json')['dry_run'] is True


#: What people may name by mistake, and what is said of it.
MISTAKES = pytest.mark.parametrize('name, said', [
    ('pipeline.json', 'is left as it is'), ('bin', ''), ('pipeline.json/x.json', '')])


@MISTAKES
@pytest.mark.parametrize('where', ['flag', 'config', 'dry run'])
def test_a_checkpoint_file_that_is_something_else_is_left_alone(reviewed, main, where, name,
                                                                said):
    """Bug: the definition was overwritten, a folder moved, or the run failed after its work."""
    config: Any = reviewed.json('pipeline_config.json')
    config['v2_features']['checkpoint_file'] = name
    if where == 'config':
        reviewed.write('pipeline_config.json', json.dumps(config))
    before = reviewed.tree('bin'), reviewed.read('pipeline.json')

    done = main(*{'config': [], 'flag': ['--checkpoint-file', name],
                  'dry run': ['--dry-run', '--checkpoint-file', name]}[where])

    assert done.code == 5 and '[RUN]' not in done.out, done
    assert said in done.err.splitlines()[-1]
    assert (reviewed.tree('bin'), reviewed.read('pipeline.json')) == before


@pytest.mark.skipif(os.name == 'nt', reason='links need a right on Windows')
@pytest.mark.parametrize('how', ['flag', 'config', 'dry run'])
def test_a_checkpoint_file_that_is_a_link_is_written_where_that_leads(reviewed, main, how):
    """Bug: a file took the place of the link, and what that led to grew old."""
    reviewed.path('elsewhere').mkdir()
    reviewed.path('link.json').symlink_to('elsewhere/kept.json')
    config: Any = reviewed.json('pipeline_config.json')
    config['v2_features']['checkpoint_file'] = 'link.json'
    if how == 'config':
        reviewed.write('pipeline_config.json', json.dumps(config))

    main(*{'config': [], 'flag': ['--checkpoint-file', 'link.json'],
           'dry run': ['--dry-run', '--checkpoint-file', 'link.json']}[how])

    assert reviewed.path('link.json').is_symlink()
    assert reviewed.json('elsewhere/kept.json')['run_id']
    assert os.listdir(str(reviewed.path('elsewhere'))) == ['kept.json']


def test_a_dry_run_leaves_the_checkpoint_of_a_real_run_alone(reviewed, main):
    """Bug: the simulated one took its place, and what items had come to was gone."""
    main('--checkpoint-file', 'kept.json')
    kept = reviewed.read('kept.json')

    told = main('--dry-run', '--checkpoint-file', 'kept.json')
    again = [main('--dry-run', '--checkpoint-file', 'simulated.json') for _ in range(2)]

    assert told.code == 0 and reviewed.read('kept.json') == kept
    assert told.err == ('warning: kept.json: is the checkpoint of a real run and is left as it '
                        'is; name another file\n')
    assert [done.err for done in again] == ['', '']
    assert reviewed.json('simulated.json')['dry_run'] is True


@MISTAKES
def test_a_history_that_is_something_else_is_left_alone(reviewed, main, name, said):
    """Bug: it was set aside, with all processors in it, and a missing folder failed at the end."""
    config: Any = reviewed.json('pipeline_config.json')
    reviewed.write('pipeline_config.json', json.dumps(dict(config, version_history_path=name)))
    before = reviewed.tree('bin'), reviewed.read('pipeline.json')

    done = main()

    assert done.code == 5 and '[RUN]' not in done.out, done
    assert said in done.err.splitlines()[-1]
    assert (reviewed.tree('bin'), reviewed.read('pipeline.json')) == before


def test_the_folder_of_the_history_is_made(reviewed, main):
    config: Any = reviewed.json('pipeline_config.json')
    reviewed.write('pipeline_config.json',
                   json.dumps(dict(config, version_history_path='not/there/yet.json')))

    done = main('--run-id', 'x')

    assert done.code == 0 and [entry['run_id'] for entry in
                               reviewed.json('not/there/yet.json')] == ['x']


@pytest.mark.parametrize('level, has_info', [
    ('DEBUG', True), ('INFO', True), ('WARNING', False), ('ERROR', False), ('CRITICAL', False)])
def test_the_log_level_of_the_config_holds(reviewed, main, level, has_info):
    """Bug: `CRITICAL` logged everything, and a dry run did not look at the config."""
    config: Any = reviewed.json('pipeline_config.json')
    reviewed.write('pipeline_config.json', json.dumps(dict(config, log_level=level)))

    main('--dry-run', '--log-file', 'dry.log')
    main('--log-file', 'run.log')

    dry, log = reviewed.read('dry.log'), reviewed.read('run.log')
    assert dry.count('[INFO] [DRY-RUN] Would execute: ') == (2 if has_info else 0)
    assert ('[INFO]' in log, '[SUCCESS]' in log) == (has_info, has_info)
