"""`clean` removes what the runner made and nobody changed, and nothing else."""

import json
import os
import shutil

import pytest

from stagerunner.cleaning import remove
from stagerunner.cleaning import sweep_holdings
from stagerunner.holdings import find_holdings
from stagerunner.locks import run_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.state.names import StateNames
from support import stage

pytestmark = pytest.mark.integration


@pytest.fixture
def clean(workspace, main):
    """Return a function that cleans in this process."""
    def call(*args):
        return main('clean', '--pipeline', workspace.pipeline_file, *args)
    return call


@pytest.fixture
def ran(engine, workspace):
    """Return a workspace in which `one` and then `two` have copied their input."""
    workspace.simple()
    workspace.pipeline(stage('one'), stage('two', inputs=['data/one/in.txt']))
    assert engine.run('r1') == 0
    return workspace


def files_in(workspace, name='data'):
    return sorted(workspace.contents(name))


# -- outputs ----------------------------------------

def test_outputs_go_with_their_markers_and_the_stages_run_again(ran, engine, clean):
    done = clean('--outputs')

    assert (done.code, done.err) == (0, '')
    assert done.lines == ['removed data/one/in.txt', 'removed data/two/in.txt',
                          '2 files (16 bytes) and 2 markers removed']
    assert files_in(ran) == ['input/in.txt']
    assert engine.run('r2') == 0 and engine.ran() == ['one', 'two']


def test_a_file_that_was_changed_is_never_removed_and_is_named(ran, clean):
    ran.write('data/one/in.txt', 'edited')

    done = clean('--outputs')

    assert done.lines[0] == 'kept data/one/in.txt: it was changed since it was published'
    assert done.lines[-1] == '1 file (8 bytes) and 2 markers, 1 kept, removed'
    assert ran.read('data/one/in.txt') == 'edited' and not ran.path('data/two/in.txt').exists()


def test_files_of_others_stay_where_they_are(ran, clean):
    ran.write('data/one/notes.txt', 'mine')
    ran.write('data/two/sub/.other.done', '{}')
    ran.write('data/three/.one.done', ran.read_bytes('data/one/.one.done'))
    ran.write('data/three/in.txt', ran.read_bytes('data/one/in.txt'))

    done = clean('--outputs', '--orphans')

    assert files_in(ran) == ['input/in.txt', 'one/notes.txt', 'three/.one.done', 'three/in.txt',
                             'two/sub/.other.done']
    assert done.err.startswith('warning: ') and '.other.done' in done.err


def test_folders_that_are_empty_then_go_but_for_the_output_folder_itself(engine, ran, clean):
    ran.pipeline(stage('one', jobs=[{'name': 'x', 'outputDir': 'data/one/x'}]), stage('two'))
    engine.run('r2')
    clean('--outputs')

    assert sorted(path.name for path in ran.path('data').iterdir()) == ['input', 'one', 'two']
    assert not ran.path('data/one/x').exists()


def test_what_lies_behind_a_link_is_left_alone(ran, clean, tmp_path):
    shutil.move(str(ran.path('data/one')), str(tmp_path / 'elsewhere'))
    ran.path('data/one').symlink_to(tmp_path / 'elsewhere')

    clean('--outputs', '--orphans')

    assert (tmp_path / 'elsewhere' / 'in.txt').exists()


def test_what_was_killed_in_the_middle_is_finished_by_the_next_and_never_believed(
        ran, engine, clean):
    root, names = str(ran.root), StateNames(str(ran.root))
    holdings = find_holdings(root, names, [])

    class Killed(BaseException):
        pass

    def kill(piece):
        raise Killed

    with pytest.raises(Killed):
        remove(root, names, sweep_holdings(root, holdings, holdings), kill)

    assert not ran.path('data/one/in.txt').exists() and ran.path('data/one/.one.done').exists()
    assert clean('--outputs').lines == [
        'removed data/two/in.txt', '1 file (8 bytes) and 2 markers removed']
    assert files_in(ran) == ['input/in.txt']


# -- orphans ----------------------------------------

def renamed(ran):
    ran.pipeline(stage('uno', outputDir='data/uno'), stage('two', inputs=['data/uno/in.txt']))


def test_of_a_renamed_stage_exactly_the_old_outputs_are_listed_and_nothing_is_changed(ran, clean):
    ran.write('data/one/notes.txt', 'mine')
    renamed(ran)
    before = ran.tree()

    done = clean('--orphans', '--dry-run')

    assert done.lines == ['would remove data/one/in.txt',
                          '1 file (8 bytes) and 1 marker would be removed']
    assert ran.tree() == before


def test_orphans_go_and_what_is_declared_stays(ran, engine, clean):
    renamed(ran)
    engine.run('r2')

    assert clean('--orphans').lines[0] == 'removed data/one/in.txt'
    assert files_in(ran) == ['input/in.txt', 'two/.two.done', 'two/in.txt', 'uno/.uno.done',
                             'uno/in.txt']
    engine.run('r3')
    assert engine.ran() == [] and clean('--orphans').lines == [
        '0 files (0 bytes) removed']


def test_what_a_renamed_stage_has_published_anew_is_its_own(ran, engine, clean):
    ran.pipeline(stage('uno', outputDir='data/one'), stage('two', inputs=['data/one/in.txt']))
    engine.run('r2')

    assert clean('--orphans').lines == ['0 files (0 bytes) and 1 marker removed']
    assert files_in(ran, 'data/one') == ['.uno.done', 'in.txt']


def test_a_stage_with_another_folder_has_left_the_old_one(ran, engine, clean):
    ran.pipeline(stage('one', outputDir='data/new'), stage('two', inputs=['data/new/in.txt']))

    assert clean('--orphans', '--dry-run').lines[0] == 'would remove data/one/in.txt'


def test_an_edited_orphan_is_kept(ran, clean):
    ran.write('data/one/in.txt', 'edited')
    renamed(ran)

    assert clean('--orphans').lines[0].startswith('kept data/one/in.txt')
    assert ran.read('data/one/in.txt') == 'edited'
    assert clean('--orphans').lines == ['0 files (0 bytes) removed']


@pytest.fixture
def papers(engine, workspace):
    """Return a workspace with a stage over three papers, each with a folder of its own."""
    workspace.simple()
    for name in 'abc':
        workspace.write(f'data/input/{name}.txt', name)
    workspace.pipeline(
        stage('read', forEach='papers', inputs=['{item.path}'], outputDir='data/read/{item.id}'),
        items={'papers': {'glob': 'data/input/?.txt'}})
    assert engine.run('r1') == 0
    return workspace


def test_what_former_items_left_goes_and_the_others_need_not_run_again(papers, engine, clean):
    papers.path('data/input/b.txt').unlink()

    assert clean('--orphans').lines == ['removed data/read/b.txt/b.txt',
                                        '1 file (1 byte) removed']
    assert files_in(papers, 'data/read') == ['.read.done', 'a.txt/a.txt', 'c.txt/c.txt']
    assert not papers.path('data/read/b.txt').exists()
    engine.run('r2')
    assert engine.ran() == [] and engine.warnings() == []


def test_a_renamed_fan_out_leaves_nothing_behind(papers, engine, clean):
    papers.pipeline(
        stage('lire', forEach='papers', inputs=['{item.path}'], outputDir='data/lire/{item.id}'),
        items={'papers': {'glob': 'data/input/?.txt'}})

    assert clean('--orphans').lines[-1] == '3 files (3 bytes) and 1 marker removed'
    assert files_in(papers, 'data/read') == []
    assert not papers.path('state/items_read.jsonl').exists()


def test_items_that_only_a_run_can_tell_are_not_taken_for_gone(papers, engine, clean):
    """The stage that makes them was not done again yet."""
    papers.pipeline(
        stage('make', inputs=['data/input/a.txt'], outputDir='data/made'),
        stage('read', forEach='papers', inputs=['{item.path}'], outputDir='data/read/{item.id}'),
        items={'papers': {'glob': 'data/made/*.txt'}})

    assert clean('--orphans').lines == ['0 files (0 bytes) removed']


def test_all_outputs_of_a_fan_out_go_with_marker_and_journal(papers, engine, clean):
    assert clean('--outputs').lines[-1] == '3 files (3 bytes) and 1 marker removed'
    assert not papers.path('state/items_read.jsonl').exists()
    engine.run('r2')
    assert len(engine.ran()) == 3


# -- records and logs ----------------------------------------

def test_records_that_decide_nothing_go_and_the_others_stay(papers, engine, clean):
    kept = ['audit_head.jsonl.corrupt-1', 'items_read.jsonl.corrupt-1', 'workqueue.sqlite',
            'limits/api.json', 'notes.txt', 'run_.json']
    for name in kept:
        papers.write(f'state/{name}', 'x')
    for name in ('stage_x.json.corrupt-1', 'run_r9.json.123-0.tmp', 'items/papers/1.json',
                 'retry_read[a.txt].json'):
        papers.write(f'state/{name}', '{}')
    papers.write('data/read/a.txt/.read[a.txt].partial/half', 'x')

    done = clean('--state')

    assert done.code == 0
    assert sorted(papers.contents('state')) == sorted([
        *kept, 'audit_head.jsonl', 'audit_r1.jsonl', 'items_read.jsonl'])
    assert not papers.path('data/read/a.txt/.read[a.txt].partial').exists()
    engine.run('r2')
    assert engine.ran() == []


def test_partial_outputs_elsewhere_are_nobody_s_to_remove(ran, clean, tmp_path):
    private = tmp_path / 'other' / '.one.partial'
    private.mkdir(parents=True)
    ran.write('state/checkpoint_one.json', json.dumps({'privateDir': str(private)}))
    ran.write('data/copy/.one.partial/x')

    clean('--state')

    assert private.exists() and ran.path('data/copy/.one.partial/x').exists()


def test_logs_go_by_run(ran, clean):
    for name in ('r1/one.1.log', 'r0/one.1.log', 'bug-7.log', 'notes.txt'):
        ran.write(f'state/logs/{name}', 'x')

    assert clean('--logs').lines == [
        'removed state/logs/bug-7.log', 'removed state/logs/r0', 'removed state/logs/r1',
        '3 entries (3 bytes) removed']
    assert files_in(ran, 'state/logs') == ['notes.txt']
    assert not ran.path('locks/.run/r0.lock').exists()


# -- age ----------------------------------------

def test_only_what_is_old_enough_goes(ran, clean):
    """The outputs are of 2023, and the log is new."""
    ran.write('state/logs/r1/one.1.log', 'x')
    ran.write('state/logs/r0/one.1.log', 'x')
    os.utime(str(ran.path('state/logs/r0')), (0, 0))

    assert clean('--outputs', '--older-than', '500000d', '--dry-run').lines == [
        '0 files (0 bytes) would be removed']
    assert clean('--logs', '--outputs', '--older-than', '7d').lines == [
        'removed data/one/in.txt', 'removed data/two/in.txt', 'removed state/logs/r0',
        '3 entries (17 bytes) and 2 markers removed']


# -- who is in the way ----------------------------------------

@pytest.mark.parametrize(('path', 'what'), [
    (lambda root: run_lock(root, 'r5'), "run 'r5' is busy: locks/.run/r5.lock locked"),
    (lambda root: stage_lock(root, 'one'), "stage 'one' is busy: locks/one.lock locked")])
def test_while_somebody_works_nothing_is_removed(ran, clean, path, what):
    lock = try_lock(path(str(ran.root)))
    lock.note({'pid': 7, 'host': 'h', 'since': 'noon', 'runId': 'r5'})
    try:
        before = files_in(ran)
        done = clean('--outputs')
    finally:
        lock.release()

    assert done == (4, '', f'{what} (held by pid 7 on h since noon, run r5); wait for that run '
                           f'or stop it\n')
    assert files_in(ran) == before


# -- usage ----------------------------------------

def test_without_a_flag_it_says_what_each_would_remove(ran, clean):
    before = ran.tree()
    done = clean()

    assert (done.code, done.err) == (
        2, 'say what to remove: --outputs, --state, --logs, --orphans; --dry-run lists it\n')
    assert [line.split(':')[0] for line in done.lines[:1]] == [
        '--outputs  2 files (16 bytes) and 2 markers']
    assert len(done.lines) == 4 and ran.tree() == before


def test_an_age_that_is_none_is_a_mistake(ran, clean):
    assert clean('--logs', '--older-than', 'soon').code == 2


def test_with_a_broken_definition_nothing_is_known_and_nothing_removed(ran, clean):
    ran.write('pipeline.json', '{"name": "x"}')
    before = files_in(ran)

    assert clean('--orphans', '--outputs').code == 2
    assert files_in(ran) == before


def test_inputs_that_are_gone_are_no_obstacle(ran, clean):
    ran.path('data/input/in.txt').unlink()
    ran.path('bin/work.py').unlink()

    assert clean('--outputs').code == 0


def test_as_json_there_is_an_object_per_piece(ran, clean):
    ran.write('data/two/in.txt', 'edited')

    found = [json.loads(line) for line in clean('--outputs', '--json').lines]

    assert [(piece['action'], piece['kind'], piece['path']) for piece in found] == [
        ('remove', 'output', 'data/one/in.txt'), ('remove', 'marker', 'data/one/.one.done'),
        ('keep', 'output', 'data/two/in.txt'), ('remove', 'marker', 'data/two/.two.done')]
    assert found[2]['why'] == 'was changed since it was published'
    assert found[0] == {'action': 'remove', 'kind': 'output', 'path': 'data/one/in.txt',
                        'sizeBytes': 8, 'why': None, 'dryRun': False}


def test_markers_of_a_former_version_are_left_alone(ran, clean):
    for name in ('one', 'two'):
        marker = ran.json(f'data/{name}/.{name}.done')
        del marker['outputDir']
        ran.write(f'data/{name}/.{name}.done', json.dumps(marker))

    assert clean('--outputs').lines == ['0 files (0 bytes) removed']
