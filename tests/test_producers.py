"""Tests of `stagerunner.producers`: which stages can publish a path, told by names alone."""

from __future__ import annotations

from typing import Any
from typing import List

import pytest

from stagerunner.producers import Producers
from stagerunner.workspace import load
from support import stage

pytestmark = pytest.mark.unit


@pytest.fixture
def producers(workspace: Any) -> Producers:
    """Return the producers of a plain stage, nested folders, jobs, and items."""
    workspace.simple()
    workspace.pipeline(
        stage('plain'), stage('deep', outputDir='data/x/y/z'), stage('again', outputDir='data/x'),
        stage('jobs', jobs=[{'name': 'p', 'outputDir': 'data/p'},
                            {'name': 'q', 'outputDir': 'data/q'}]),
        stage('each', forEach='docs', inputs=[], outputDir='data/each/{item.id}/out'),
        items={'docs': {'list': ['i']}})
    return Producers(load(str(workspace.pipeline_file)).pipeline.stages)


def names(producers: Producers, path: str, **options: Any) -> List[str]:
    return [found.name for found in producers.all_of(path, **options)]


@pytest.mark.parametrize('path, expected', [
    ('data/input/in.txt', []),
    ('/data/plain/f', []),
    ('data/plainer/f', []),
    ('data/plain/f', ['plain']),
    ('data/plain', ['plain']),
    ('./data//plain/', ['plain']),
    ('data/x/y/z/f', ['deep', 'again']),
    ('data/x/f', ['again']),
    ('data/x', ['deep', 'again']),
    ('data/x/y', ['deep', 'again']),
    ('data', ['plain', 'deep', 'again', 'jobs', 'each']),
    ('data/p/f', ['jobs']),
    ('data/jobs/f', ['jobs']),
    ('data/*/f', ['plain', 'again', 'jobs', 'each']),
    ('data/[pq]/f', ['jobs']),
    ('data/**', ['plain', 'deep', 'again', 'jobs', 'each']),
    ('data/x/*/z/f', ['deep', 'again']),
    ('data/x/*/other', ['again']),
    ('data/each/any/out/f', ['each']),
    ('data/each/any/other', []),
    ('data/each/{item.id}/out/f', ['each']),
    ('data/each', ['each']),
    ('data/{item.id}/f', ['plain', 'again', 'jobs', 'each']),
])
def test_a_path_a_folder_or_a_pattern_has_its_producers(producers, path, expected):
    assert names(producers, path) == expected


def test_only_earlier_stages_count_where_that_is_asked_for(producers):
    assert names(producers, 'data/x', before=2) == ['deep']
    assert producers.of('data/x').name == 'again'
    assert producers.of('data/x', before=2).name == 'deep'
    assert producers.of('data/x', before=1) is None
