"""Every path under `state/` comes from one place and stays there."""

import os

import pytest

from stagerunner.state.names import StateNames


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


@pytest.mark.parametrize(('call', 'path'), [
    (lambda names: names.run('r1'), 'run_r1.json'),
    (lambda names: names.metrics('r1'), 'metrics_r1.json'),
    (lambda names: names.stage('a'), 'stage_a.json'),
    (lambda names: names.stage('a[b]'), 'stage_a[b].json'),
    (lambda names: names.checkpoint('a'), 'checkpoint_a.json'),
    (lambda names: names.progress('a'), 'progress_a.json'),
    (lambda names: names.retry('a'), 'retry_a.json'),
    (lambda names: names.logs('r1'), 'logs/r1'),
    (lambda names: names.log('r1', 'a', 2), 'logs/r1/a.2.log'),
    (lambda names: names.bug_log(), f'logs/bug-{os.getpid()}.log'),
    (lambda names: names.limits(), 'limits'),
    (lambda names: names.quota('gemini api'), 'limits/gemini%20api.json'),
    (lambda names: names.index(), 'index.json'),
    (lambda names: names.pipeline_checkpoint(), 'pipeline_checkpoint.json'),
    (lambda names: names.items('copy'), 'items_copy.jsonl'),
    (lambda names: names.item_file('papers', 'a%2Fb'), 'items/papers/a%2Fb.json'),
])
def test_the_names_are_those_of_the_contract(names, call, path):
    assert call(names) == os.path.join(names.folder, path)
    assert names.relative(call(names)) == f'state/{path}'


def test_no_two_kinds_of_file_can_share_a_name(names):
    """The checkpoint file of a pipeline lies beside those of stages."""
    made = [names.run('x'), names.metrics('x'), names.stage('x'), names.checkpoint('x'),
            names.progress('x'), names.retry('x'), names.index(), names.pipeline_checkpoint()]

    assert len(set(made)) == len(made)
    assert not os.path.basename(names.pipeline_checkpoint()).startswith('checkpoint_')


def test_runs_are_listed_by_the_age_of_their_records(names):
    for age, run_id in enumerate(['new', 'Mid', 'a.old', 'older']):
        with open(names.run(run_id), 'w'):
            os.utime(names.run(run_id), (1000 - age, 1000 - age))

    assert names.finished_runs() == ['older', 'a.old', 'Mid', 'new']


@pytest.mark.parametrize('name', [
    # Bug: the first three led to `state/logs/` and to `state/` itself, which were removed.
    'run_.json', 'run_..json', 'run_...json',
    'run_a b.json', 'run_x.json.tmp', 'run_x.json.corrupt-1', 'metrics_x.json', 'xrun_x.json'])
def test_a_foreign_file_is_no_record_of_a_run(names, name):
    with open(os.path.join(names.folder, name), 'w'):
        assert names.finished_runs() == []


def test_a_record_that_is_a_dangling_link_is_listed_and_no_trouble(names):
    """Bug: it ended every run with exit code 3."""
    os.symlink('nowhere', names.run('x'))

    assert names.finished_runs() == ['x']


def test_a_record_that_is_removed_while_runs_are_listed_is_not_among_them(names, monkeypatch):
    for run_id in ('gone', 'kept'):
        open(names.run(run_id), 'w').close()
    plain = os.scandir

    def scandir(folder):
        entries = list(plain(folder))
        os.unlink(names.run('gone'))
        return entries

    monkeypatch.setattr(os, 'scandir', scandir)

    assert names.finished_runs() == ['kept']
