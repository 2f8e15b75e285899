"""Tests of `stagerunner.source`: what a plain run makes of stages that the queue feeds."""

from __future__ import annotations

import json

import pytest

from support import stage

pytestmark = pytest.mark.unit

SAYS = "fetch, read: fed by the queue, so without tasks here; they are run by 'queue run'"


@pytest.fixture
def fed(workspace):
    """Make a pipeline: an ordinary stage, two that the queue feeds, and one that gathers."""
    workspace.simple()
    workspace.pipeline(
        stage('first'), stage('fetch', forEach='jobs', outputDir='data/fetch/{item.id}'),
        stage('read', forEach='jobs', inputs=['data/fetch/{item.id}'],
              outputDir='data/read/{item.id}'),
        stage('gather', inputs=['data/read/*/in.txt']), items={'jobs': {'queue': True}})
    workspace.write('data/read/a/in.txt', 'read before')
    return workspace


def test_a_plain_run_has_no_tasks_of_the_queue_says_so_once_and_runs_the_rest(fed, engine):
    assert engine.run() == 0

    assert engine.ran() == ['first', 'gather']
    assert engine.warnings() == [SAYS]
    assert fed.read('data/gather/in.txt') == 'read before'
    assert not fed.path('state/workqueue.sqlite').exists()
    rows = json.loads(fed.read('state/metrics_r1.json'))['stages']
    assert [(row['stage'], row['status']) for row in rows] == [
        ('first', 'ok'), ('fetch', 'skipped'), ('read', 'skipped'), ('gather', 'ok')]


def test_a_plan_says_so_too(fed, engine):
    assert engine.plan().pending == 2

    assert engine.warnings() == [SAYS]
    assert engine.planned() == {'first': 'run', 'gather': 'run'}


def test_a_run_can_begin_after_stages_that_the_queue_feeds_which_have_no_marker(fed, engine, main):
    engine.run()

    done = main('--pipeline', fed.pipeline_file, '--resume-from', 'gather')

    assert done.code == 0
    assert '[RUN] gather' in done.out


def test_a_pipeline_without_a_queue_is_not_told_of_it(workspace, engine):
    workspace.simple()

    assert engine.run() == 0
    assert engine.warnings() == []
