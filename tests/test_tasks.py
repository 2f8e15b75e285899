"""Tests of `stagerunner.tasks`: from declared stages to tasks."""

from __future__ import annotations

import pytest

from stagerunner.tasks import make_tasks
from stagerunner.workspace import load
from support import stage

pytestmark = pytest.mark.unit


def tasks_of(workspace, *stages):
    workspace.processor()
    workspace.write('data/input/in.txt')
    return make_tasks(load(str(workspace.pipeline(*stages))))


def test_there_is_a_task_per_stage_in_the_declared_order(workspace):
    tasks = tasks_of(workspace, stage('b'), stage('a'))

    assert [task.name for task in tasks] == ['b', 'a']
    assert [task.stage.position for task in tasks] == [0, 1]
    assert tasks[0].output_dir == str(workspace.path('data/b'))


def test_a_task_knows_which_earlier_stage_makes_each_of_its_inputs(workspace):
    tasks = tasks_of(
        workspace, stage('a'), stage('b'),
        stage('c', inputs=['data/b/x', 'data/input/in.txt', 'data/a/y', 'data/c/z*', 'data/b']))

    assert tasks[2].producers == ('b', '', 'a', '', 'b')
    assert tasks[0].producers == ('',)
