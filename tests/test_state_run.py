"""The record of a run is durable; old runs go with all that belongs to them, live ones stay."""

import os
import subprocess
import sys

import pytest

from limited import as_nobody
from limited import needs_root
from stagerunner import __version__
from stagerunner.errors import StateError
from stagerunner.files import read_json
from stagerunner.locks import lock_folders
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.state.names import StateNames
from stagerunner.state.run import RunRecord
from stagerunner.state.run import forget_old_runs
from stagerunner.state.run import forget_run
from stagerunner.state.run import sweep
from stagerunner.state.run import write_run
from support import wait_until


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


def make_run(names, run_id, age=0):
    """Lay out what a run leaves behind; `age` is in seconds."""
    write_run(names, RunRecord(run_id, 'p', '1', 'then'))
    os.utime(names.run(run_id), (10**9 - age, 10**9 - age))
    os.makedirs(names.logs(run_id))
    for path in (names.metrics(run_id), names.log(run_id, 'a', 1), names.log(run_id, 'a', 2)):
        with open(path, 'w') as file:
            file.write('x')


def left(names):
    return sorted(os.listdir(names.folder)), sorted(os.listdir(os.path.join(names.folder, 'logs')))


def test_a_record_has_the_keys_of_the_contract(names):
    write_run(names, RunRecord('r1', 'demo', '1.0.0', 'start', 'end', 'failed', 7, 'host', 'copy',
                               {'mode': 'off'}, 'abc', {'name': 'x'}))

    assert read_json(names.run('r1')) == {
        'runId': 'r1', 'pipeline': 'demo', 'version': '1.0.0', 'startedAt': 'start',
        'endedAt': 'end', 'state': 'failed', 'pid': 7, 'host': 'host',
        'runnerVersion': __version__, 'firstFailure': 'copy', 'isolation': {'mode': 'off'},
        'auditHead': 'abc', 'hook': {'name': 'x'}}


def test_a_record_is_on_the_disk_when_it_is_written(names, flushed):
    write_run(names, RunRecord('r1', 'demo', '1', 'start'))

    assert len(flushed) == 2 and flushed[1] == names.folder


def test_a_run_that_goes_on_has_no_end(names):
    write_run(names, RunRecord('r1', 'demo', '1', 'start'))

    record = read_json(names.run('r1'))
    assert (record['endedAt'], record['state'], record['firstFailure']) == (None, 'running', None)


def test_a_run_whose_id_is_used_again_loses_figures_and_logs_and_no_other_run_does(names):
    make_run(names, 'r1')
    make_run(names, 'r10')

    forget_run(names, 'r1')

    assert left(names) == (['logs', 'metrics_r10.json', 'run_r1.json', 'run_r10.json'], ['r10'])


def test_a_run_that_left_nothing_can_be_forgotten(names):
    forget_run(names, 'r1')

    assert os.listdir(names.folder) == []


@pytest.mark.parametrize(('keep', 'kept'), [
    (1, ['r0']), (2, ['r0', 'r1']), (3, ['r0', 'r1', 'r2']), (4, ['r0', 'r1', 'r2']),
    (200, ['r0', 'r1', 'r2'])])
def test_the_newest_runs_are_kept_whole_and_of_the_others_nothing(names, tmp_path, keep, kept):
    for age in range(3):
        make_run(names, f'r{age}', age)

    forget_old_runs(names, str(tmp_path), keep)

    assert left(names) == (sorted(['logs', *(f'{kind}_{run_id}.json' for run_id in kept
                                             for kind in ('metrics', 'run'))]), kept)
    assert [name for folder in lock_folders(str(tmp_path)) if os.path.isdir(folder)
            for name in os.listdir(folder) if name.endswith('.lock')] == []


def test_a_live_run_is_kept_however_old(names, tmp_path):
    for age in range(3):
        make_run(names, f'r{age}', age)
    lock = try_lock(run_lock(str(tmp_path), 'r2'))

    forget_old_runs(names, str(tmp_path), 1)
    while_it_lives = left(names)[1]
    lock.release()
    forget_old_runs(names, str(tmp_path), 1)

    assert (while_it_lives, left(names)[1]) == (['r0', 'r2'], ['r0'])


def test_links_among_old_runs_are_removed_and_not_followed(names, tmp_path):
    (tmp_path / 'precious').mkdir()
    (tmp_path / 'precious' / 'x').write_text('x')
    make_run(names, 'old', age=1)
    make_run(names, 'new')
    os.unlink(names.metrics('old'))
    os.symlink(str(tmp_path / 'precious' / 'x'), names.metrics('old'))
    os.rename(names.logs('old'), str(tmp_path / 'elsewhere'))
    os.symlink(str(tmp_path / 'precious'), names.logs('old'))

    forget_old_runs(names, str(tmp_path), 1)

    assert left(names)[1] == ['new'] and os.listdir(str(tmp_path / 'precious')) == ['x']


def test_leftovers_of_dead_processes_are_swept_and_those_of_live_ones_are_not(names, tmp_path):
    with subprocess.Popen([sys.executable, '-S', '-c', '']) as dead:
        pass
    wait_until(lambda: not os.path.exists(f'/proc/{dead.pid}'))
    os.makedirs(os.path.dirname(run_lock(str(tmp_path), 'x')))
    os.makedirs(names.limits())
    os.makedirs(names.item_folder('rows'))
    folders = [names.folder, names.limits(), names.item_folder('rows'),
               *lock_folders(str(tmp_path))]
    for folder in folders:
        for name in (f'x.json.{dead.pid}-0.tmp', 'x.json.1-0.tmp', 'x.json'):
            open(os.path.join(folder, name), 'w').close()

    sweep(names, str(tmp_path))

    assert [sorted(name for name in os.listdir(folder) if name.startswith('x'))
            for folder in folders] == [['x.json', 'x.json.1-0.tmp']] * len(folders)


def test_sweeping_where_nothing_is_yet_is_no_trouble(tmp_path):
    sweep(StateNames(str(tmp_path)), str(tmp_path))

    assert os.listdir('.') == []


def test_a_file_in_the_place_of_the_logs_is_a_state_error(names, tmp_path):
    for age in range(2):
        write_run(names, RunRecord(f'r{age}', 'p', '1', 'then'))
    (tmp_path / 'state' / 'logs').write_text('a file')

    with pytest.raises(StateError, match='not a directory'):
        forget_run(names, 'r1')
    with pytest.raises(StateError, match='not a directory'):
        forget_old_runs(names, str(tmp_path), 1)
    lock = try_lock(run_lock(str(tmp_path), 'r0'))
    assert lock is not None
    lock.release()


@needs_root
def test_what_cannot_be_removed_is_a_state_error():
    names = StateNames('')
    os.mkdir('state')
    make_run(names, 'r1')

    os.chmod(os.curdir, 0o755)
    with as_nobody(), pytest.raises(StateError, match=r'metrics_r1\.json: permission denied; ch'):
        forget_run(names, 'r1')


@needs_root
def test_an_old_run_that_may_not_be_removed_is_left_to_the_next_run():
    names = StateNames('')
    os.mkdir('state')
    make_run(names, 'old', age=1)
    make_run(names, 'new')
    os.makedirs('locks/.run')
    os.chmod('locks/.run', 0o777)

    os.chmod(os.curdir, 0o755)
    with as_nobody():
        forget_old_runs(names, '', 1)

    assert left(names)[1] == ['new', 'old'] and os.listdir('locks/.run') == []
