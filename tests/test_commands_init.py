"""`init` makes a workspace that runs at once, and overwrites nothing."""

import json
import os
import shutil
import sys

import pytest

from support import CHECKOUT
from support import SOURCE
from support import Workspace
from support import run_process

pytestmark = pytest.mark.integration

FILES = ['.gitignore', 'README.md', 'bin/count.py', 'bin/number.py', 'data/input/sample.txt',
         'pipeline.json', 'pipeline.schema.json']


def made_in(folder):
    return sorted(Workspace(folder).contents('.'))


@pytest.mark.slow
def test_a_new_workspace_runs_green_at_once_and_is_skipped_then(tmp_path, main):
    done = main('init', 'new')

    assert (done.code, done.err) == (0, '') and made_in(tmp_path / 'new') == FILES
    command = done.lines[-1].partition('run it with: ')[2].split()
    first, second = (run_process(sys.executable, *command[1:], cwd=tmp_path) for _ in range(2))
    assert (first.code, first.err) == (second.code, second.err) == (0, '')
    assert [line.split()[0] for line in second.lines] == ['[SKIP]', '[SKIP]', 'Run']
    new = Workspace(tmp_path / 'new')
    assert new.json('data/count/count.json') == {'lines': 2, 'words': 18}
    assert new.read('data/numbered/numbered.txt').startswith('1\tThe first line')


@pytest.mark.slow
def test_it_works_with_a_copy_of_the_runner_as_its_readme_says(tmp_path, main):
    main('init', 'new')
    shutil.copytree(str(SOURCE), str(tmp_path / 'new/src'),
                    ignore=shutil.ignore_patterns('__pycache__'))

    done = run_process(sys.executable, 'src/pipeline_runner.py', cwd=tmp_path / 'new')

    assert (done.code, done.err) == (0, '')
    assert 'python3 src/pipeline_runner.py' in (tmp_path / 'new/README.md').read_text()


def test_the_definition_is_valid_and_editors_find_its_schema(tmp_path, main):
    main('init')

    assert main('validate').code == 0
    schema = json.loads((tmp_path / 'pipeline.json').read_text())['$schema']
    assert (tmp_path / schema).read_bytes() == (
        CHECKOUT / 'src/stagerunner/pipeline.schema.json').read_bytes()


@pytest.mark.parametrize('name', FILES)
def test_nothing_is_overwritten_and_what_is_there_is_named(tmp_path, main, name):
    path = tmp_path / 'new' / name
    path.parent.mkdir(parents=True)
    path.write_text('mine')

    done = main('init', 'new')

    assert done == (2, '', f'{os.path.join("new", name)}: is there already; nothing was made\n')
    assert made_in(tmp_path / 'new') == [name] and path.read_text() == 'mine'


def test_other_files_are_no_obstacle(tmp_path, main):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'mine.txt').write_text('x')

    assert main('init').lines[-1].endswith('pipeline_runner.py')
    assert made_in(tmp_path) == sorted([*FILES, 'data/mine.txt'])


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, main):
    (tmp_path / 'file').write_text('')

    done = main('init', 'file/new')

    assert done.code == 5 and done.err.count('\n') == 1


def test_as_json_it_says_what_was_made_and_how_to_run_it(tmp_path, main):
    found = json.loads(main('init', 'a b', '--json').out)

    assert (found['folder'], sorted(found['files'])) == ('a b', FILES)
    assert found['run'].endswith(f'--pipeline "{os.path.join("a b", "pipeline.json")}"')
