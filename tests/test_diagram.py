"""Tests of `stagerunner.diagram`, its forms in `report.graphs`, and the command `graph`."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from stagerunner.diagram import make_diagram
from stagerunner.report.graphs import as_dot
from stagerunner.report.graphs import as_mermaid
from stagerunner.report.graphs import as_svg
from stagerunner.report.graphs import as_text
from stagerunner.workspace import load
from support import Workspace
from support import stage

SVG = '{http://www.w3.org/2000/svg}'



@pytest.fixture
def several(workspace: Workspace) -> Workspace:
    """Return a workspace with every kind of stage and of edge."""
    workspace.simple()
    workspace.write('data/make/one.txt')
    workspace.write('data/make/two.txt')
    workspace.pipeline(
        stage('make'), stage('each', forEach='papers', inputs=['{item.path}']),
        stage('again', forEach='papers', inputs=['data/each/{item.name}']),
        stage('split', inputs=['data/again/*'], jobs=['x', 'y']),
        stage('gather', dependsOn=['make', 'split']),
        name='test <1>', items={'papers': {'list': ['a', 'b']}})
    return workspace


def diagram_of(workspace: Workspace) -> Any:
    return make_diagram(load(str(workspace.pipeline_file)))


def test_a_line_per_stage_tells_what_it_waits_for_and_why(several):
    assert as_text(diagram_of(several)).splitlines() == [
        'test <1>: 5 stages',
        '  make',
        '  each    papers: 2 items  after make',
        '  again   papers: 2 items  after each (item by item)',
        '  split   2 jobs           after again',
        '  gather                   after make (dependsOn), split (dependsOn)']


def test_items_that_a_stage_decides_are_not_known_yet(several):
    document = json.loads(several.read('pipeline.json'))
    document['items'] = {'papers': {'glob': 'data/make/*.txt'}}
    several.write('pipeline.json', json.dumps(document))

    each = diagram_of(several).nodes[1]

    assert each.size == 'papers: not known yet' and each.tasks is None
    assert [(need.stage, need.kinds) for need in each.needs] == [
        ('make', ('data', 'collection'))]


def test_stages_come_after_what_they_need(workspace):
    workspace.simple().pipeline(stage('late', dependsOn=['early']), stage('early'))

    assert [node.stage for node in diagram_of(workspace).nodes] == ['early', 'late']


def test_dot_has_every_edge_and_quotes_what_needs_it(several):
    dot = as_dot(diagram_of(several))

    assert '  label="test <1>";' in dot
    assert re.findall(r'"(\w+)" -> "(\w+)"( \[style=dashed\])?;', dot) == [
        ('make', 'each', ''), ('each', 'again', ''), ('again', 'split', ''),
        ('make', 'gather', ' [style=dashed]'), ('split', 'gather', ' [style=dashed]')]


def test_mermaid_names_nodes_by_number(several):
    lines = as_mermaid(diagram_of(several)).splitlines()

    assert lines[0] == 'flowchart TD'
    assert '  s1["each<br>papers: 2 items"]' in lines and '  s0 -.-> s4' in lines


def test_svg_is_whole_accessible_and_needs_nothing_beside_it(several):
    text = as_svg(diagram_of(several))
    image = ElementTree.fromstring(text)

    assert image.get('aria-labelledby') == 'drawing-title drawing-desc'
    assert image.find(SVG + 'title').text == 'Stages of the pipeline test <1>'
    assert image.find(SVG + 'desc').text.startswith('5 stages, from top to bottom; 5 lines')
    assert [label.text for label in image.iter(SVG + 'text')
            if label.get('class') == 'label'] == ['make', 'each', 'again', 'split', 'gather']
    assert len([path for path in image.iter(SVG + 'path')
                if path.get('class') == 'line declared']) == 2
    assert 'prefers-color-scheme:dark' in text
    assert re.findall(r'https?://[^"]*|href|<script|url\(', text) == ['http://www.w3.org/2000/svg']


@pytest.mark.parametrize('name', ['<b>&"\'', '\x1b[2J', 'é\u202e', 'a]]>b', 'x' * 200])
def test_a_name_of_any_kind_is_text_in_the_image(several, name):
    document = json.loads(several.read('pipeline.json'))
    several.write('pipeline.json', json.dumps(dict(document, name=name)))
    if not name.isprintable():
        return

    text = as_svg(diagram_of(several))

    assert ElementTree.fromstring(text).find(SVG + 'title').text.endswith(name)
    assert text.isascii() if hasattr(text, 'isascii') else True


# -- the command -------------------------------------------------------------------

@pytest.mark.integration
def test_the_command_prints_text_unless_told_otherwise(several, main):
    done = main('graph', '--pipeline', several.pipeline_file)
    svg = main('graph', '--pipeline', several.pipeline_file, '--format', 'svg')

    assert done == (0, as_text(diagram_of(several)) + '\n', '')
    assert svg == (0, as_svg(diagram_of(several)) + '\n', '')


@pytest.mark.integration
def test_json_is_an_object_per_stage(several, main):
    done = main('graph', '--json', '--pipeline', several.pipeline_file)

    rows = [json.loads(line) for line in done.lines]
    assert [row['stage'] for row in rows] == ['make', 'each', 'again', 'split', 'gather']
    assert rows[1] == {'stage': 'each', 'processor': 'bin/work.py', 'outputDir': 'data/each',
                       'needs': [{'stage': 'make', 'kinds': ['data']}], 'over': 'papers',
                       'tasks': 2}
    assert rows[2]['needs'] == [{'stage': 'each', 'kinds': ['items']}]
    assert rows[0]['over'] is None and rows[0]['tasks'] == 1


@pytest.mark.integration
def test_two_forms_of_a_graph_at_once_are_refused(several, main):
    assert main('graph', '--json', '--format', 'dot', '--pipeline', several.pipeline_file) == (
        2, '', '--format dot and --json are two forms; leave one out\n')


@pytest.mark.integration
def test_a_graph_changes_nothing(several, main):
    before = several.tree()

    assert main('graph', '--pipeline', several.pipeline_file).code == 0
    assert several.tree() == before


@pytest.mark.integration
def test_a_faulty_definition_is_refused(workspace, main):
    workspace.simple().pipeline(stage('a', dependsOn=['b']))

    assert main('graph', '--pipeline', workspace.pipeline_file) == (
        2, '', "pipeline.json: stages[0].dependsOn[0]: there is no stage 'b'\n")
