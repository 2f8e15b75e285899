"""Tests of the command `validate`: every fault of text, disk, config and imports; nothing runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from support import Workspace
from support import stage

pytestmark = pytest.mark.integration

BAD = 'import os\n\nimport socket\nfrom urllib import request\n'


@pytest.fixture
def validate(workspace: Workspace, main: Any) -> Any:
    """Return a function that validates the pipeline of `workspace`, and see that nothing moves."""
    def call(*args: Any) -> Any:
        before = workspace.tree()
        done = main('validate', '--pipeline', workspace.pipeline_file, *args)
        assert workspace.tree() == before
        return done
    return call


def test_a_definition_without_fault_is_valid(validate, workspace):
    workspace.simple()
    one = validate()
    workspace.pipeline(stage('a'), stage('b'))

    assert one == (0, 'pipeline.json: valid: 1 stage\n', '')
    assert validate() == (0, 'pipeline.json: valid: 2 stages\n', '')


def test_every_fault_of_text_is_a_line(validate, workspace):
    workspace.simple().pipeline(stage('a', outputdir='x'), stage('a', retry={'factor': 'x'}))

    done = validate()

    assert (done.code, done.out) == (2, '')
    assert done.err.splitlines() == [
        "pipeline.json: stages[0]: unknown key 'outputdir', did you mean 'outputDir'?",
        "pipeline.json: stages[1].name: 'a' is the name of stages[0] too",
        "pipeline.json: stages[1].retry.factor: expected a number from 0 to 1000, got 'x'"]


def test_faults_of_the_disk_and_of_imports_are_told_together_in_file_order(validate, workspace):
    workspace.simple().write('bin/bad.py', BAD)
    workspace.pipeline(stage('a', processor='bin/none.py'), stage('b', processor='bin/bad.py'),
                       stage('c', inputs=['data/input/none.txt']))

    assert validate().err.splitlines() == [
        "pipeline.json: stages[0].processor: 'bin/none.py' does not exist",
        "pipeline.json: stages[1].processor: Offline violation: forbidden import 'socket' "
        '(bin/bad.py:3)',
        "pipeline.json: stages[1].processor: Offline violation: forbidden import 'urllib' "
        '(bin/bad.py:4)',
        "pipeline.json: stages[2].inputs[0]: 'data/input/none.txt' does not exist and no earlier "
        'stage can publish it']


def test_imports_of_helpers_and_jobs_count_and_an_allowed_network_does_not(validate, workspace):
    workspace.simple('import helper\n')
    workspace.write('bin/helper.py', 'import http\n')
    workspace.write('bin/bad.py', BAD)
    workspace.write('bin/tool', BAD)
    workspace.pipeline(
        stage('a'), stage('free', processor='bin/bad.py', network='allow'),
        stage('tool', processor='bin/tool'),
        stage('c', network='allow', jobs=['x', {'name': 'y', 'processor': 'bin/bad.py'}]),
        stage('d', processor='bin/tool', jobs=['x', {'name': 'y', 'processor': 'bin/work.py'}]))

    said = "Offline violation: forbidden import 'http' (bin/helper.py:1)"
    assert validate().err.splitlines() == [
        f'pipeline.json: stages[0].processor: {said}',
        f'pipeline.json: stages[4].jobs[1].processor: {said}']


@pytest.mark.parametrize('text, said', [
    ('import socket\nx = = 1\n', "'bin/work.py' line 2: invalid syntax; it is no Python "),
    ('x = 1\n  y = 2\n', "'bin/work.py' line 2: unexpected indent; it is no Python "),
    ('return 1\n', "'bin/work.py' line 1: 'return' outside function; it is no Python ")])
def test_a_processor_that_is_no_python_is_told_with_its_line(validate, workspace, text, said):
    workspace.simple(text).pipeline(stage('a'), stage('b', network='allow'))

    lines = validate().err.splitlines()

    assert len(lines) == 2
    assert all(f'stages[{at}].processor: {said}' in line for at, line in enumerate(lines))


def test_words_that_another_interpreter_may_know_are_left_to_it(validate, workspace):
    workspace.simple('x = = 1\n').pipeline(stage('a'), python=sys.executable)

    assert validate().code == 0


def test_the_config_is_checked_too(validate, workspace):
    workspace.simple().pipeline(stage('a', quota='api', retry={'factor': -1}))
    workspace.write('pipeline_config.json', '{"max_worker": 4}')
    broken = validate()
    workspace.simple().pipeline(stage('a', quota='api'))
    workspace.write('pipeline_config.json', '{}')

    assert broken.err.splitlines() == [
        "pipeline_config.json: unknown key 'max_worker', did you mean 'max_workers'?",
        'pipeline.json: stages[0].retry.factor: expected a number from 0 to 1000, got -1']
    assert "stages[0].quota: " in validate().err


@pytest.mark.parametrize('top, said', [
    pytest.param({'items': {'c': {'jsonl': 'rows.jsonl', 'id': 'k'}}}, 'rows.jsonl:2: ',
                 id='rows'),
    pytest.param({'python': 'no-such-python'}, 'pipeline.json: python: ', id='interpreter'),
])
def test_what_a_run_would_be_refused_for_is_told(validate, workspace, top, said):
    workspace.simple().write('rows.jsonl', '{"k": 1}\n{"x": "y"}\n')
    keys = {'forEach': 'c'} if 'items' in top else {}
    workspace.pipeline(stage('a', **keys), **top)

    done = validate()

    assert done.code == 2 and said in done.err


def test_a_definition_that_is_not_there_is_one_line(main, workspace):
    done = main('validate', '--pipeline', workspace.path('none.json'))

    assert (done.code, done.err.count('\n')) == (2, 1)
    assert done.err.endswith('there is no such file; name one with --pipeline\n')


def test_json_has_a_line_per_fault_and_one_that_sums_up(validate, workspace):
    good = workspace.simple() and validate('--json')
    workspace.pipeline(stage('a', x=1, y=2))

    assert [json.loads(line) for line in good.lines] == [
        {'valid': True, 'stages': 1, 'faults': 0}]
    bad = validate('--json')
    assert (bad.code, bad.err) == (2, '')
    assert [json.loads(line) for line in bad.lines] == [
        {'fault': "pipeline.json: stages[0]: unknown key 'x'"},
        {'fault': "pipeline.json: stages[0]: unknown key 'y'"},
        {'valid': False, 'stages': 0, 'faults': 2}]
