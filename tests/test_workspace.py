"""Tests of `stagerunner.workspace`: what only the disk can tell about a definition."""

from __future__ import annotations

import os

import pytest

from stagerunner.errors import DefinitionError
from stagerunner.producers import Producers
from stagerunner.workspace import load
from support import stage

pytestmark = pytest.mark.unit


@pytest.fixture
def workspace(workspace):
    """Return a workspace beside a folder that is not part of it."""
    (workspace.root.parent / 'outside').mkdir()
    (workspace.root.parent / 'outside/work.py').write_text('')
    return workspace


def faults(workspace):
    """Return the lines with which the definition of a workspace is refused."""
    with pytest.raises(DefinitionError) as refused:
        load(str(workspace.pipeline_file))
    return list(refused.value.faults)


def test_a_sound_definition_comes_with_its_folder(workspace):
    workspace.simple()

    loaded = load(str(workspace.pipeline_file))

    assert loaded.root == str(workspace.root)
    assert [stage.name for stage in loaded.pipeline.stages] == ['work']


def test_the_root_is_absolute_wherever_the_runner_was_called_from(workspace, monkeypatch):
    workspace.simple()
    monkeypatch.chdir(str(workspace.root.parent))

    assert load(os.path.join('workspace', 'pipeline.json')).root == str(workspace.root)


def test_a_missing_definition_says_how_to_name_one(workspace):
    with pytest.raises(DefinitionError) as refused:
        load('nowhere.json')

    assert str(refused.value) == 'nowhere.json: there is no such file; name one with --pipeline'


def test_a_folder_in_place_of_a_definition_is_refused(workspace):
    workspace.pipeline_file.mkdir()

    assert faults(workspace) == ['pipeline.json: is a folder, not a file; name the file in it']


def test_a_file_that_is_no_json_is_refused_with_the_place(workspace):
    workspace.write('pipeline.json', '{"name": }')

    assert faults(workspace) == [
        'pipeline.json: not valid JSON at line 1 column 10: Expecting value']


def test_faults_of_the_text_and_of_the_disk_are_told_in_one_go(workspace):
    """Bug: those of the disk were told when those of the text had been mended."""
    workspace.processor()
    workspace.pipeline(stage('a', inputs=['gone'], outputdir='x', processor='bin/gone.py'),
                       stage('b', outputDir='data', timeoutSec='1', inputs=['lost']))
    workspace.path('data').symlink_to('../outside')

    assert faults(workspace) == [
        "pipeline.json: stages[0].processor: 'bin/gone.py' does not exist",
        "pipeline.json: stages[0].inputs[0]: 'gone' does not exist and no earlier stage can "
        "publish it",
        "pipeline.json: stages[0].outputDir: 'data/a' leads outside the workspace through a link",
        "pipeline.json: stages[0]: unknown key 'outputdir', did you mean 'outputDir'?",
        "pipeline.json: stages[1].inputs[0]: 'lost' does not exist and no earlier stage can "
        "publish it",
        "pipeline.json: stages[1].outputDir: 'data' leads outside the workspace through a link",
        "pipeline.json: stages[1].timeoutSec: expected a number above 0, got '1'"]


@pytest.mark.parametrize('broken', [
    {'name': 'b', 'processor': 'bin/work.py'}, {'name': 'b', 'outputDir': '../x'}, 5,
    stage('b', inputs='x'), stage('b', inputs=[1]), stage('b', jobs=['x', 'x'])])
def test_while_a_stage_is_unclear_nobody_is_said_to_miss_an_input(workspace, broken):
    workspace.simple()
    workspace.pipeline(broken, stage('c', inputs=['data/b/x']))

    assert not [fault for fault in faults(workspace) if 'can publish' in fault]


@pytest.mark.parametrize('make, said', [
    pytest.param(lambda w: None, "'bin/work.py' does not exist", id='missing'),
    pytest.param(lambda w: w.path('bin/work.py').mkdir(parents=True),
                 "'bin/work.py' is not a file", id='folder'),
    pytest.param(lambda w: (w.path('bin').mkdir(), os.mkfifo(str(w.path('bin/work.py')))),
                 "'bin/work.py' is not a file", id='pipe'),
    pytest.param(lambda w: (w.path('bin').mkdir(), w.path('bin/work.py').symlink_to('gone')),
                 "'bin/work.py' does not exist", id='dangling link'),
    pytest.param(lambda w: (w.path('bin').mkdir(),
                            w.path('bin/work.py').symlink_to('../../outside/work.py')),
                 "'bin/work.py' leads outside the workspace through a link", id='link outside'),
    pytest.param(lambda w: w.path('bin').symlink_to('../outside'),
                 "'bin/work.py' leads outside the workspace through a link", id='folder outside'),
])
def test_a_processor_must_be_a_file_of_the_workspace(workspace, make, said):
    workspace.write('data/input/in.txt')
    workspace.pipeline(stage())

    make(workspace)

    assert faults(workspace) == [f'pipeline.json: stages[0].processor: {said}']


def test_a_command_line_in_place_of_a_processor_is_told_to_be_a_path(workspace):
    workspace.simple()
    workspace.pipeline(stage(processor='python bin/work.py'))

    assert faults(workspace) == [
        "pipeline.json: stages[0].processor: 'python bin/work.py' does not exist; give its path "
        'alone, without interpreter and arguments']


def test_a_link_that_stays_inside_is_a_processor_like_any_other(workspace):
    workspace.simple()
    workspace.path('bin/work.py').rename(workspace.path('bin/other.py'))
    workspace.path('bin/work.py').symlink_to('other.py')

    assert load(str(workspace.pipeline_file)).pipeline.stages[0].processor == 'bin/work.py'


@pytest.mark.parametrize('make, said', [
    pytest.param(lambda w: w.path('data/work').symlink_to('../../outside'),
                 "'data/work' leads outside the workspace through a link", id='outside'),
    pytest.param(lambda w: w.path('data/work').symlink_to('..'),
                 "'data/work' leads outside the workspace through a link", id='the root itself'),
    pytest.param(lambda w: w.write('data/work', 'x'),
                 "'data/work' is in the way: it is not a folder", id='file'),
    pytest.param(lambda w: w.path('data/work').symlink_to('nowhere'),
                 "'data/work' is in the way: it is not a folder", id='dangling link'),
])
def test_an_output_folder_must_be_able_to_be_one(workspace, make, said):
    workspace.simple()

    make(workspace)

    assert faults(workspace) == [f'pipeline.json: stages[0].outputDir: {said}']


def test_a_file_above_an_output_folder_is_named(workspace):
    workspace.simple(outputDir='data/x/y')
    workspace.write('data/x', '')

    assert faults(workspace) == [
        "pipeline.json: stages[0].outputDir: 'data/x' is in the way: it is not a folder"]


@pytest.mark.parametrize('name, said', [
    pytest.param('data/input/gone', "'data/input/gone' does not exist and no earlier stage can "
                 "publish it", id='nowhere'),
    # Bug: a name that starts with two slashes (a share of Windows) was searched for for ever.
    pytest.param('//host/share/x', "'//host/share/x' does not exist and no earlier stage can "
                 "publish it", id='two slashes'),
    pytest.param('data/work/own', "'data/work/own' does not exist and no earlier stage can "
                 "publish it", id='its own output'),
    pytest.param('data/late/x', "'data/late/x' is declared before its producer 'late'; "
                 "move that stage up", id='made later'),
])
def test_an_input_that_nobody_can_have_made_is_refused(workspace, name, said):
    workspace.simple()
    workspace.pipeline(stage(inputs=['data/input/in.txt', name]), stage('late'))

    assert faults(workspace) == [f'pipeline.json: stages[0].inputs[1]: {said}']


@pytest.mark.parametrize('name', [
    'data/early/x', 'data/early', 'data/early/deep/x', 'data//early/./x', 'none/*.txt',
    'data/work/own*'])
def test_an_input_that_may_be_there_in_time_is_no_fault(workspace, name):
    workspace.simple()
    workspace.pipeline(stage('early'), stage(inputs=[name]))

    assert load(str(workspace.pipeline_file))


def test_an_input_may_lie_outside(workspace, tmp_path):
    workspace.simple()
    workspace.path('data/link').symlink_to(tmp_path / 'outside/work.py')
    workspace.pipeline(stage(inputs=[str(tmp_path / 'outside/work.py'), 'data/link']))

    assert load(str(workspace.pipeline_file))


def test_all_faults_of_the_disk_are_reported_in_the_order_of_the_file(workspace):
    workspace.write('data/a')
    workspace.write('pipeline.json', '''{"name": "x", "stages": [
        {"name": "a", "inputs": ["gone"], "outputDir": "data/a", "processor": "bin/a.py"},
        {"name": "b", "processor": "bin/b.py", "outputDir": "data/b", "inputs": ["lost"]}]}''')

    places = [fault.split(':')[1].strip() for fault in faults(workspace)]

    assert places == ['stages[0].inputs[0]', 'stages[0].outputDir', 'stages[0].processor',
                      'stages[1].processor', 'stages[1].inputs[0]']


# -- who makes what ----------------------------------------

@pytest.fixture
def producers(workspace):
    workspace.simple()
    workspace.pipeline(stage('a', outputDir='data/x'), stage('b', outputDir='data/x/deep'),
                       stage('c', outputDir='data/x'))
    return Producers(load(str(workspace.pipeline_file)).pipeline.stages)


@pytest.mark.parametrize('name, before, expected', [
    ('data/x/f', None, 'c'), ('data/x/f', 2, 'a'), ('data/x/f', 0, None),
    ('data/x/deep/f', 2, 'b'), ('data/x/deep/f', None, 'c'), ('data/x/deep', 2, 'b'),
    ('data/xx/f', None, None), ('data', None, 'c'), ('data/*/f', None, 'c'),
    ('data/y*/f', None, None), ('**/f', 2, 'b'), ('/data/x/f', None, None),
])
def test_the_last_stage_before_whose_folder_holds_a_name_is_its_producer(
        producers, name, before, expected):
    found = producers.of(name, before=before)

    assert (found.name if found else None) == expected


# -- jobs and items ----------------------------------------------------------------

def test_faults_of_a_job_are_told_where_they_are_written(workspace):
    workspace.write('bin/work.py')
    workspace.write('data/file')
    workspace.pipeline(stage(inputs=['gone'], jobs=[
        'a', 'b', {'name': 'c', 'processor': 'bin/no.py', 'inputs': ['lost'],
                   'outputDir': 'data/file/x'}]))

    assert faults(workspace) == [
        "pipeline.json: stages[0].inputs[0]: 'gone' does not exist and no earlier stage can "
        'publish it',
        "pipeline.json: stages[0].jobs[2].processor: 'bin/no.py' does not exist",
        "pipeline.json: stages[0].jobs[2].inputs[0]: 'lost' does not exist and no earlier stage "
        'can publish it',
        "pipeline.json: stages[0].jobs[2].outputDir: 'data/file' is in the way: it is not a "
        'folder']


def test_what_a_job_or_an_item_publishes_may_be_an_input(workspace):
    workspace.write('bin/work.py')
    jobs = stage('a', inputs=[], jobs=[{'name': 'j', 'outputDir': 'data/j'}])
    each = stage('b', inputs=['{item.path}'], forEach='papers', outputDir='data/b/{item.stem}')
    workspace.pipeline(jobs, each, stage('c', inputs=['data/j/x', 'data/b/1/x', 'data/b']),
                       items={'papers': {'glob': 'data/none/*'}})

    assert len(load(str(workspace.pipeline_file)).pipeline.stages) == 3


def test_an_output_folder_of_items_is_checked_as_far_as_it_is_the_same_for_all(workspace):
    workspace.write('bin/work.py')
    workspace.write('data/file')
    workspace.pipeline(stage(inputs=[], forEach='papers', outputDir='data/file/{item.id}'),
                       items={'papers': {'list': ['x']}})

    assert faults(workspace) == ["pipeline.json: stages[0].outputDir: 'data/file' is in the way: "
                                 'it is not a folder']


def test_rows_must_exist_or_come_from_a_stage(workspace):
    workspace.simple()
    rows = {'jsonl': 'data/work/rows.jsonl', 'id': 'id'}
    workspace.pipeline(stage(), items={'ours': rows, 'gone': dict(rows, jsonl='rows.jsonl')})

    assert faults(workspace) == [
        "pipeline.json: items.gone.jsonl: 'rows.jsonl' does not exist and no stage can publish it"]
