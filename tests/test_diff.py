"""Tests of the command `diff` and of `report.comparison`: two runs side by side."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import Workspace
from support import stage

pytestmark = pytest.mark.integration

#: Writes its inputs and its params, so what it makes depends on both.
MAKE = '''\
import os, sys
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'made.txt'), 'w') as made:
    made.write(os.environ['PIPELINE_PARAMS'])
    for path in sys.argv[1:]:
        made.write(open(path).read())
'''


@pytest.fixture
def two(workspace: Workspace, main: Any) -> Any:
    """Return a workspace of two stages, and functions that run and compare."""
    workspace.simple(MAKE)
    define(workspace)
    workspace.go = lambda *args: main('--pipeline', workspace.pipeline_file, '--run-id', *args)
    workspace.diff = lambda *args: main('diff', *args, '--pipeline', workspace.pipeline_file)
    return workspace


def define(workspace: Workspace, *more: Any, **keys: Any) -> None:
    workspace.pipeline(stage('first', **keys),
                       stage('second', inputs=['data/first/made.txt']), *more)


def without_times(text: str) -> str:
    return text.partition('durations:')[0] + text.splitlines()[-1]


def test_a_run_and_its_repetition_have_equal_outputs(two):
    two.go('one')
    two.go('two')

    done = two.diff('one', 'two')

    assert (done.code, done.err) == (0, '')
    assert without_times(done.out) == 'one -> two\noutputs are equal: 2 tasks'


def test_a_changed_input_is_told_with_what_follows_from_it(two):
    two.go('one')
    two.write('data/input/in.txt', 'other\n')
    two.go('two')

    done = two.diff('one', 'two')

    lines = done.lines
    assert done.code == 1
    assert lines[1] == 'first: input changed: data/input/in.txt'
    assert lines[2].startswith('    was ') and ', is ' in lines[2]
    assert [line for line in lines if not line.startswith(' ')] == [
        'one -> two', 'first: input changed: data/input/in.txt',
        'first: output changed: data/first/made.txt',
        'second: input changed: data/first/made.txt',
        'second: output changed: data/second/made.txt', 'durations:',
        'outputs differ: 2 of 2 tasks']


def test_a_changed_param_is_told_with_both_values(two):
    define(two, params={'level': 1})
    two.go('one')
    define(two, params={'level': 2})
    two.go('two')

    lines = two.diff('one', 'two').lines

    assert lines[1:3] == ['first: param changed: level', '    was 1, is 2']


def test_another_input_with_the_same_outputs_is_no_difference_of_outputs(two):
    two.processor('import os\n'
                  'open(os.environ["PIPELINE_OUTPUT_DIR"] + "/made.txt", "w").close()\n')
    two.go('one')
    two.write('data/input/in.txt', 'other\n')
    two.go('two')

    done = two.diff('one', 'two')

    assert done.code == 0
    assert 'first: input changed: data/input/in.txt' in done.lines
    assert done.lines[-1] == 'outputs are equal: 2 tasks'


def test_a_skip_stands_for_the_run_that_made_its_outputs(two):
    """Of the skipped runs neither made anything; a third and a fourth did."""
    two.go('made1')
    two.go('skipped1')
    two.write('data/input/in.txt', 'other\n')
    two.go('made2')
    two.go('skipped2')

    done = two.diff('skipped1', 'skipped2')

    assert done.code == 1
    assert 'first: input changed: data/input/in.txt' in done.lines
    assert 'second: output changed: data/second/made.txt' in done.lines
    assert two.diff('made1', 'skipped1').code == two.diff('skipped2', 'made2').code == 0


def test_what_nobody_knows_any_more_is_no_equality(two):
    two.go('made1')
    two.go('skipped1')
    two.write('data/input/in.txt', 'other\n')
    two.go('made2')
    two.path('state/audit_made1.jsonl').unlink()

    done = two.diff('skipped1', 'made2')

    assert done.code == 1
    assert 'first: what made its outputs is not known any more' in done.out


def test_a_failure_and_a_stage_of_one_run_only_are_differences(two):
    two.go('one')
    define(two, stage('third', inputs=['data/second/made.txt']))
    two.processor('import sys\nsys.exit(65)\n')
    two.go('two')

    done = two.diff('one', 'two')

    assert done.code == 1
    assert [line for line in done.lines if not line.startswith(' ')] == [
        'one -> two', 'first: was ok, is failed', 'second: was ok, is cancelled',
        'third: only in two (cancelled)', 'durations:', 'outputs differ: 2 of 3 tasks']


def test_durations_of_stages_and_runs_are_told(two):
    two.go('one')
    two.go('two')

    lines = two.diff('one', 'two').lines
    at = lines.index('durations:')

    assert [line.split()[0] for line in lines[at + 1:at + 3]] == ['first', 'second']
    assert lines[at + 1].endswith('s -> -') and lines[at + 3].split()[:2] == ['the', 'run']


def test_items_are_compared_one_by_one(two):
    two.write('data/docs/a', 'a\n')
    two.write('data/docs/b', 'b\n')
    two.pipeline(stage('each', forEach='docs', inputs=['{item.path}'],
                       outputDir='data/each/{item.id}'), items={'docs': {'glob': 'data/docs/*'}})
    two.go('one')
    two.write('data/docs/b', 'other\n')
    two.go('two')

    done = two.diff('one', 'two')

    assert done.lines[1] == 'each[b]: input changed: data/docs/b'
    assert 'each[b]: output changed: data/each/b/made.txt' in done.lines
    assert done.lines[-1] == 'outputs differ: 1 of 2 tasks'


def test_json_has_a_line_per_task_and_one_that_sums_up(two):
    two.go('one')
    two.write('data/input/in.txt', 'other\n')
    two.go('two')

    done = two.diff('one', 'two', '--json')

    first, second, whole = map(json.loads, done.lines)
    assert done.code == 1 and first['task'] == 'first' and first['status'] == ['ok', 'ok']
    assert first['reasons'][0]['path'] == 'data/input/in.txt'
    assert first['outputs'][0]['path'] == 'data/first/made.txt'
    assert first['outputs'][0]['old'] != first['outputs'][0]['new']
    assert second['outputsDiffer'] is True and len(second['durationSec']) == 2
    assert (whole['runs'], whole['tasks'], whole['differing'], whole['outputsDiffer']) == (
        ['one', 'two'], 2, 2, True)


@pytest.mark.slow
def test_of_very_many_files_the_digest_of_all_is_compared(two):
    """More than the audit lists one by one."""
    two.processor('import os\nos.chdir(os.environ["PIPELINE_OUTPUT_DIR"])\n'
                  'for number in range(1001):\n    open(str(number), "w").close()\n'
                  'open("1", "w").write(str(os.getpid()))\n')
    two.pipeline(stage('many'), stage('uses', inputs=['data/many/*'], processor='bin/uses.py'))
    two.processor('', 'bin/uses.py')
    two.go('one')
    two.go('two', '--force', 'many')

    done = two.diff('one', 'two')

    assert done.code == 1 and 'many: output changed: data/many: all 1001 outputs' in done.lines
    assert 'uses: input changed: all 1001 inputs' in done.lines


def test_outputs_that_appear_and_go_and_links_are_told(two):
    two.processor('import json, os\nos.chdir(os.environ["PIPELINE_OUTPUT_DIR"])\n'
                  'name = json.loads(os.environ["PIPELINE_PARAMS"])["name"]\n'
                  'open(name, "w").close()\nos.symlink(name, "link")\n')
    two.pipeline(stage('a', params={'name': 'x'}))
    two.go('one')
    two.pipeline(stage('a', params={'name': 'y'}))
    two.go('two')

    lines = two.diff('one', 'two').lines

    assert 'a: output is gone: data/a/x' in lines and 'a: output is new: data/a/y' in lines
    at = lines.index('a: output changed: data/a/link')
    assert lines[at + 1] == '    was -> x, is -> y'


def test_comparing_changes_nothing(two):
    two.go('one')
    two.go('two')
    before = two.tree()

    two.diff('one', 'two')

    assert two.tree() == before


def test_a_run_that_is_not_there_is_one_line(two):
    two.go('one')

    assert two.diff('one', 'onw') == (2, '', "there is no run 'onw', did you mean 'one'?\n")
