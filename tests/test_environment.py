"""A processor finds its task in `PIPELINE_*`, and the rest of the caller's world as it was."""

import json
import os

import pytest

from stagerunner.definition import parse
from stagerunner.environment import Given
from stagerunner.environment import local_folders
from stagerunner.environment import variables
from stagerunner.searchpath import SOURCE_FOLDER
from stagerunner.searchpath import python_path
from support import SOURCE
from support import stage


def make_stage(**keys):
    return parse({'name': 'x', 'stages': [stage(**keys)]}).pipeline.stages[0]


def given(**keys):
    return Given(run_id='r1', task='work', stage=make_stage(**keys), attempt=2, line_offset=150,
                 key='abc', root='/ws', output_dir='/ws/data/work/.work.partial',
                 published_dir='/ws/data/work', progress_path='/ws/state/progress_work.json',
                 retry_path='/ws/state/retry_work.json')


def test_a_processor_is_told_everything_about_its_task():
    found = variables(given(params={'b': [1], 'a': 'ü'},
                            checkpoint={'enabled': True, 'lineInterval': 7}), {})

    assert found == {
        'PIPELINE_RUN_ID': 'r1', 'PIPELINE_STAGE_NAME': 'work', 'PIPELINE_ATTEMPT': '2',
        'PIPELINE_LINE_OFFSET': '150', 'PIPELINE_LINE_INTERVAL': '7',
        'PIPELINE_IDEMPOTENCY_KEY': 'abc', 'PIPELINE_ROOT': '/ws',
        'PIPELINE_OUTPUT_DIR': '/ws/data/work/.work.partial',
        'PIPELINE_PUBLISHED_DIR': '/ws/data/work',
        'PIPELINE_PROGRESS_PATH': '/ws/state/progress_work.json',
        'PIPELINE_RETRY_PATH': '/ws/state/retry_work.json',
        'PIPELINE_PARAMS': '{"a": "\\u00fc", "b": [1]}', 'PYTHONPATH': str(SOURCE)}
    assert json.loads(found['PIPELINE_PARAMS']) == {'b': [1], 'a': 'ü'}


def test_what_is_inherited_stays_and_what_the_stage_says_wins():
    found = variables(given(env={'LANG': 'C', 'NEW': ''}), {'LANG': 'de_DE', 'HOME': '/root'})

    assert (found['LANG'], found['NEW'], found['HOME']) == ('C', '', '/root')


@pytest.mark.parametrize('name', ['PIPELINE_RUN_ID', 'PIPELINE_ITEM_ID', 'PIPELINE_MAX_WORKERS',
                                  'pipeline_x'])
def test_variables_of_another_run_are_dropped(name):
    assert variables(given(), {name: 'old'}).get(name) != 'old'


@pytest.mark.parametrize(('processor', 'inherited', 'declared', 'expected'), [
    ('bin/a.py', None, None, str(SOURCE)),
    ('bin/a.py', '', None, str(SOURCE)),
    ('bin/a.py', '/lib', None, f'/lib:{SOURCE}'),
    ('bin/a.py', '/lib', 'own', f'own:{SOURCE}'),
    ('bin/a.sh', '/lib', None, '/lib'),
    ('bin/a.sh', None, None, None),
])
def test_only_python_processors_find_the_package_and_find_it_last(
        processor, inherited, declared, expected):
    keys = {'env': {'PYTHONPATH': declared}} if declared else {}
    around = {} if inherited is None else {'PYTHONPATH': inherited}

    assert variables(given(processor=processor, **keys), around).get('PYTHONPATH') == expected


def test_the_folder_that_is_handed_on_holds_the_package():
    assert python_path(None) == SOURCE_FOLDER == str(SOURCE)
    assert os.path.isfile(os.path.join(SOURCE_FOLDER, 'stagerunner', 'processor.py'))


def test_nothing_that_was_given_is_changed():
    inherited = {'A': '1', 'PYTHONPATH': '/lib'}
    told = given(env={'B': '2'})

    variables(told, inherited)

    assert inherited == {'A': '1', 'PYTHONPATH': '/lib'} and told.stage.env == {'B': '2'}


def test_on_windows_names_are_in_capitals_and_python_prints_utf8(monkeypatch):
    told = given(env={'Path': 'own', 'PythonPath': '/lib'})
    with monkeypatch.context() as patch:
        patch.setattr(os, 'name', 'nt')
        found = variables(told, {'PATH': 'inherited'})
        chosen = variables(told, {'PYTHONIOENCODING': 'cp850'})

    assert (found['PATH'], found['PYTHONPATH']) == ('own', f'/lib:{SOURCE}')
    assert not {'Path', 'PythonPath'} & set(found)
    assert (found['PYTHONIOENCODING'], chosen['PYTHONIOENCODING']) == ('utf-8', 'cp850')


def test_elsewhere_the_encoding_is_that_of_the_machine():
    assert 'PYTHONIOENCODING' not in variables(given(), {})


# -- folders of modules --------------------------------------------------------------

@pytest.mark.parametrize(('inherited', 'declared', 'expected'), [
    pytest.param(None, None, [], id='none'),
    pytest.param('', None, [], id='empty'),
    pytest.param('lib', None, ['lib'], id='relative'),
    pytest.param('{root}/lib', None, ['lib'], id='absolute'),
    pytest.param('/usr/lib', None, [], id='outside'),
    pytest.param('{root}-other', None, [], id='a-name-that-begins-like-the-root'),
    pytest.param('lib:/usr/lib:sub/lib', None, ['lib', 'sub/lib'], id='several'),
    pytest.param('lib', 'own', ['own'], id='declared-wins'),
    pytest.param('lib', '', [], id='declared-as-nothing'),
    # Bug: an empty entry, as `PYTHONPATH=$PYTHONPATH:lib` makes it, is the working folder.
    pytest.param(':lib', None, ['.', 'lib'], id='empty-entry'),
    pytest.param('.', None, ['.'], id='root'),
    pytest.param('link', None, ['lib'], id='link-inside'),
    pytest.param('exit', None, [], id='link-outside'),
    pytest.param(str(SOURCE), None, [], id='the-package-itself'),
])
def test_modules_may_come_from_folders_of_the_workspace(workspace, inherited, declared, expected):
    root = str(workspace.root)
    workspace.path('lib').mkdir()
    workspace.path('link').symlink_to('lib')
    workspace.path('exit').symlink_to('/usr')
    keys = {} if declared is None else {'env': {'PYTHONPATH': declared}}
    around = {} if inherited is None else {'PYTHONPATH': inherited.format(root=root)}

    found = local_folders(make_stage(**keys), around, root)

    assert [os.path.relpath(folder, root) for folder in found] == expected


def test_the_package_is_no_local_module_even_where_it_lies_in_the_workspace():
    """The shipped layout: `src/` lies in the workspace."""
    root = os.path.dirname(SOURCE_FOLDER)

    assert local_folders(make_stage(), {'PYTHONPATH': 'src:bin'}, root) == (
        os.path.join(root, 'bin'),)
