"""Tests of `stagerunner.tasks`: from declared stages to tasks."""

from __future__ import annotations

import pytest

from stagerunner.items import entry_item
from stagerunner.tasks import make_groups
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


QUEUE = {'items': {'jobs': {'queue': True}}}


def groups_of(workspace, *stages):
    workspace.processor()
    workspace.write('data/input/in.txt')
    return make_groups(load(str(workspace.pipeline(*stages, **QUEUE))))


def test_a_stage_that_the_queue_feeds_waits_for_another_one_entry_by_entry(workspace):
    """Neither for a folder of the other one, nor by `dependsOn`: it has no end."""
    groups = groups_of(
        workspace, stage('first'), stage('a', forEach='jobs', outputDir='data/a/{item.id}'),
        stage('b', forEach='jobs', inputs=['data/a', 'data/first']),
        stage('c', forEach='jobs', dependsOn=['a']), stage('last', inputs=['data/a']))

    assert [(group.needs, group.pairs, group.data_needs) for group in groups] == [
        ((), (), ()), ((), (), ()), ((0,), (1,), (0,)), ((), (1,), ()), ((1,), (), (1,))]
    assert [group.is_fed for group in groups] == [False, True, True, True, False]


def test_entries_of_the_queue_join_and_leave(workspace):
    group, = groups_of(workspace, stage('a', forEach='jobs', inputs=['{item.path}'],
                                        outputDir='data/a/{item.id}'))
    group.expand()
    assert list(group) == []

    numbers = [group.join(entry_item(group.root, 'jobs', name, {'n': name}))
               for name in ('x/1', 'y')]

    assert numbers == [0, 1]
    task = group.task(0)
    assert (task.name, task.stage.inputs) == ('a[x%2F1]', ('state/items/jobs/x%2F1.json',))
    assert task.item.content == b'{"n":"x/1"}\n'
    group.leave(0)
    assert group.name(1) == 'a[y]'


@pytest.mark.parametrize(('id', 'is_known'), [
    ('doi:10/ü', True), ('..', True), ('plain', True), ('x' * 200, False)])
def test_the_task_of_a_former_entry_is_known_by_its_name(workspace, id, is_known):
    group, = groups_of(workspace, stage('a', forEach='jobs', outputDir='data/{item.stem}'))
    group.expand()
    number = group.join(entry_item(group.root, 'jobs', id, {}))

    task = group.task_of(group.name(number))

    assert (task is not None) == is_known
    if is_known:
        assert task[:3] == group.task(number)[:3] and task.home == group.home


def test_failures_can_be_judged_by_another_policy(workspace):
    group, = groups_of(workspace, stage('a', forEach='jobs', outputDir='data/{item.id}',
                                        retry={'maxAttempts': 9}))
    group.retry_as(group.stage.retry._replace(max_attempts=2))
    group.expand()
    group.join(entry_item(group.root, 'jobs', 'x', {}))

    assert group.task(0).stage.retry.max_attempts == 2
