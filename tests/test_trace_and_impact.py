"""A file is traced back to its sources, and forward to all that would change with it."""

import json
import os

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeLauncher
from fakes import writes
from support import Workspace
from support import stage


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace with two stages in a row, a helper module, and one beside them."""
    found = Workspace(tmp_path)
    found.processor('import lib\n', 'bin/work.py')
    found.write('bin/lib.py', '')
    for name in ('a', 'b', 'x'):
        found.write(f'data/input/{name}.txt', name)
    found.pipeline(stage('first', inputs=['data/input/[ab].txt']),
                   stage('second', inputs=['data/first', 'data/input/b.txt']),
                   stage('other', inputs=['data/input/x.txt']))
    return found


@pytest.fixture
def engine(workspace):
    found = Engine(workspace, FakeLauncher())
    found.launcher.will('second', Ending(does=writes({'a.txt': 'A', 'b.txt': 'B'})))
    yield found
    found.close()


@pytest.fixture
def call(main, workspace):
    """Return a function that calls the command line within this process."""
    def inner(*args):
        return main(*args, '--pipeline', workspace.pipeline_file)
    return inner


def objects(done):
    assert (done.code, done.err) == (0, '')
    return [json.loads(line) for line in done.lines]


# -- back -----------------------------------------------------------------------------

def test_an_output_is_traced_to_its_sources(engine, workspace, call):
    engine.run('r1')
    at = workspace.json('data/first/.first.done')
    done = call('trace', workspace.path('data/second/b.txt'))

    again = workspace.json('data/second/.second.done')
    assert done.lines == [
        'data/second/b.txt',
        f'  made by second in run r1 at {again["doneAt"]}, key {again["key"][:12]}…',
        '    bin/work.py (processor)', '    bin/lib.py (helper)', '    data/first (folder)',
        '        data/first/a.txt',
        f'          made by first in run r1 at {at["doneAt"]}, key {at["key"][:12]}…',
        '            bin/work.py (processor)', '            bin/lib.py (helper)',
        '            data/input/a.txt (source)', '            data/input/b.txt (source)',
        '        data/first/b.txt', f'          made by first in run r1 at {at["doneAt"]} (see '
        'above)', '    data/input/b.txt (source)']


def test_what_is_not_as_it_was_is_said(engine, workspace, call):
    engine.run('r1')
    workspace.write('data/first/a.txt', 'new')
    os.unlink(str(workspace.path('data/input/b.txt')))
    done = call('trace', workspace.path('data/second/b.txt'))

    assert '        data/first/a.txt (changed since)' in done.lines
    assert '    data/input/b.txt (source, gone)' in done.lines


def test_json_has_a_line_per_file_with_its_depth(engine, workspace, call):
    engine.run('r1')
    told = objects(call('trace', 'data/first/a.txt', '--json'))

    assert [(one['depth'], one['path'], one['role'], one['state']) for one in told] == [
        (0, 'data/first/a.txt', 'output', 'same'), (1, 'bin/work.py', 'processor', 'same'),
        (1, 'bin/lib.py', 'helper', 'same'), (1, 'data/input/a.txt', 'input', 'same'),
        (1, 'data/input/b.txt', 'input', 'same')]
    assert (told[0]['madeBy']['task'], told[0]['madeBy']['runId']) == ('first', 'r1')
    assert told[-1]['madeBy'] is None


@pytest.mark.slow
def test_a_long_way_back_is_no_trouble(tmp_path, main):
    workspace = Workspace(tmp_path)
    workspace.processor()
    workspace.write('data/s/in.txt', 'x')
    workspace.pipeline(*(stage(f's{number}', outputDir=f'data/s{number}', inputs=[
        f'data/s{number - 1 if number else ""}/in.txt']) for number in range(120)))
    engine = Engine(workspace, FakeLauncher())
    try:
        engine.run()
    finally:
        engine.close()
    done = main('trace', workspace.path('data/s119/in.txt'), '--json', '--pipeline',
                workspace.pipeline_file)

    assert objects(done)[-1]['path'] == 'data/s/in.txt'
    assert objects(done)[-1]['depth'] == 120
    reached = main('impact', 'data/s/in.txt', '--json', '--pipeline', workspace.pipeline_file)
    assert len(objects(reached)) == 120


def test_a_source_and_a_file_that_nobody_knows(workspace, call):
    assert call('trace', workspace.path('data/input/a.txt')).lines == [
        'data/input/a.txt (source)']
    refused = call('trace', 'nix')
    assert (refused.code, refused.err) == (
        2, 'nix: there is no such file, and none that was published\n')


def test_items_are_traced_by_their_journal(workspace, call):
    workspace.pipeline(stage('first', forEach='papers', inputs=['{item.path}']),
                       items={'papers': {'glob': 'data/input/*.txt'}})
    engine = Engine(workspace, FakeLauncher())
    try:
        engine.run('r1')
    finally:
        engine.close()

    told = objects(call('trace', 'data/first/b.txt', '--json'))
    assert told[0]['madeBy']['task'] == 'first[b.txt]'
    assert told[-1]['path'] == 'data/input/b.txt'
    assert [one['task'] for one in objects(call('impact', 'data/input/b.txt', '--json'))] == [
        'first[b.txt]']


# -- and forward -----------------------------------------------------------------------

def reached(done):
    return [(one['task'], [(why['cause'], why['path']) for why in one['reasons']], one['outputs'])
            for one in objects(done)]


def test_what_a_file_reaches_is_told_in_order(engine, workspace, call):
    engine.run('r1')
    before = workspace.tree()
    done = call('impact', workspace.path('data/input/a.txt'))

    assert (done.code, done.lines) == (0, [
        'first (input data/input/a.txt)', '  data/first/a.txt', '  data/first/b.txt',
        'second (input data/first/a.txt)', '  data/second/a.txt', '  data/second/b.txt',
        '2 tasks and 4 outputs would change with data/input/a.txt'])
    assert workspace.tree() == before


@pytest.mark.parametrize(('name', 'tasks'), [
    ('data/input/b.txt', ['first', 'second']), ('data/input/x.txt', ['other']),
    ('bin/work.py', ['first', 'second', 'other']), ('bin/lib.py', ['first', 'second', 'other']),
    ('data/first/b.txt', ['second']), ('data/second/a.txt', []),
    ('data/input/[ab].txt', []), ('data/input/ab.txt', []), ('data/first/new/deep', ['second'])])
@pytest.mark.parametrize('has_run', [True, False])
def test_a_change_goes_on_through_outputs(engine, call, name, tasks, has_run):
    """Where nothing was published yet the whole output folder is taken to change."""
    if has_run:
        engine.run('r1')

    assert [task for task, _, _ in reached(call('impact', name, '--json'))] == (
        tasks if name != 'data/input/[ab].txt' else ['first', 'second'])


def test_what_was_never_published_is_told_as_the_folder(workspace, call):
    assert reached(call('impact', 'data/input/a.txt', '--json')) == [
        ('first', [('input', 'data/input/a.txt')], ['data/first/…']),
        ('second', [('input', 'data/first/…')], ['data/second/…'])]


def test_rows_and_items_without_inputs_count(workspace, call):
    workspace.write('data/rows.jsonl', '{"id": "p1"}\n{"id": "p2"}\n')
    workspace.pipeline(
        stage('rows', forEach='rows', inputs=[], outputDir='data/rows/{item.id}'),
        stage('papers', forEach='papers', inputs=[], outputDir='data/papers/{item.id}'),
        stage('after', inputs=['data/papers/*/x.txt']),
        items={'rows': {'jsonl': 'data/rows.jsonl', 'id': 'id'},
               'papers': {'glob': 'data/input/?.txt'}})

    assert [task for task, _, _ in reached(call('impact', 'data/rows.jsonl', '--json'))] == [
        'rows[p1]', 'rows[p2]']
    assert [task for task, _, _ in reached(call('impact', 'data/input/x.txt', '--json'))] == [
        'papers[x.txt]', 'after']


def test_items_that_cannot_be_told_yet_are_told_as_one(workspace, call):
    workspace.pipeline(
        stage('make', inputs=['data/input/a.txt'], outputDir='data/made'),
        stage('each', forEach='rows', inputs=['data/made/{item.id}.txt'],
              outputDir='data/each/{item.id}'),
        stage('fed', forEach='entries', inputs=['{item.path}']),
        items={'rows': {'jsonl': 'data/made/rows.jsonl', 'id': 'id'}, 'entries': {'queue': True}})

    assert [task for task, _, _ in reached(call('impact', 'data/input/a.txt', '--json'))] == [
        'make', 'each[*]']


@pytest.mark.parametrize('where', ['root', 'inside', 'outside'])
def test_a_file_is_named_from_where_the_caller_is(engine, workspace, call, monkeypatch, where,
                                                  tmp_path_factory):
    engine.run('r1')
    folders = {'root': workspace.root, 'inside': workspace.path('data/first'),
               'outside': tmp_path_factory.mktemp('elsewhere')}
    monkeypatch.chdir(str(folders[where]))
    name = 'a.txt' if where == 'inside' else 'data/first/a.txt'

    assert call('trace', name).lines[0] == 'data/first/a.txt'


def test_a_file_outside_that_is_an_input_reaches_its_stage(workspace, call, tmp_path_factory):
    outside = tmp_path_factory.mktemp('outside') / 'in.txt'
    outside.write_text('x')
    workspace.pipeline(stage('first', inputs=[str(outside)]))

    assert [task for task, _, _ in reached(call('impact', outside, '--json'))] == ['first']
    assert call('impact', workspace.path('nix')).lines == [
        'nothing would change with nix (which is not there)']
