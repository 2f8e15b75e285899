"""Tests of `stagerunner.layout`: where boxes and lines go, and that nothing lies on anything."""

from __future__ import annotations

import random
from typing import Dict
from typing import List

import pytest

from stagerunner.layout import BOX_HEIGHT
from stagerunner.layout import WIDEST
from stagerunner.layout import Layout
from stagerunner.layout import arrange
from stagerunner.layout import without_implied

pytestmark = pytest.mark.unit

Graph = Dict[str, List[str]]


def chain(length: int) -> Graph:
    return {f's{i}': [f's{i - 1}'] if i else [] for i in range(length)}


def complete(size: int) -> Graph:
    return {f's{i}': [f's{j}' for j in range(i)] for i in range(size)}


def every_to_every(size: int) -> Graph:
    return {**{f'a{i}': [] for i in range(size)},
            **{f'b{i}': [f'a{j}' for j in range(size)] for i in range(size)}}


def random_graph(rng: random.Random, size: int) -> Graph:
    share = rng.choice([0.01, 0.05, 0.3])
    return {f's{i}': [f's{j}' for j in range(i) if rng.random() < share] for i in range(size)}


def widths(graph: Graph) -> Dict[str, float]:
    return {name: 80.0 + 13 * (index % 7) for index, name in enumerate(graph)}


def faults(layout: Layout, graph: Graph) -> List[str]:
    """Return every overlap, and whatever is drawn above what it needs or out of the picture."""
    boxes = list(layout.boxes.items())
    found = [f'{a} on {b}' for i, (a, one) in enumerate(boxes) for b, other in boxes[:i]
             if one.y == other.y and one.x < other.x + other.width
             and other.x < one.x + one.width]
    found += [f'{name} above {need}' for name, needs in graph.items() for need in needs
              if layout.boxes[name].y < layout.boxes[need].y + BOX_HEIGHT]
    found += [name for name, box in boxes if box.x < 0 or box.x + box.width > layout.width
              or box.y + BOX_HEIGHT > layout.height]
    for line in layout.lines:
        # Between layers there is nothing to meet; in a layer a line is straight.
        (x, top), (_, bottom), _ = line.points
        found += [f'line of {line.source} through {name}' for name, box in boxes
                  if top < box.y + BOX_HEIGHT and bottom > box.y
                  and box.x < x < box.x + box.width]
    return found


@pytest.mark.parametrize('graph', [
    pytest.param({}, id='nothing'),
    pytest.param(chain(1), id='one'),
    pytest.param(chain(200), id='chain of 200'),
    pytest.param(without_implied(complete(200)), id='all of 200 need all before'),
    pytest.param(every_to_every(50), id='50 need 50'),
    pytest.param({'root': [], **{f's{i}': ['root'] for i in range(199)}}, id='199 need one'),
    pytest.param({**{f's{i}': [] for i in range(199)}, 'end': [f's{i}' for i in range(199)]},
                 id='one needs 199'),
])
def test_nothing_overlaps_and_all_is_below_what_it_needs(graph):
    assert faults(arrange(graph, widths(graph)), graph) == []


def test_nothing_overlaps_in_graphs_made_at_random(rng):
    for _ in range(25):
        graph = random_graph(rng, rng.randint(2, 40))
        layout = arrange(graph, widths(graph))
        assert faults(layout, graph) == []
        assert layout.boxes.keys() == graph.keys()


def test_every_line_arrives_where_it_should(rng):
    """Lines share lanes, so what arrives is followed from box to box."""
    graph = without_implied(random_graph(rng, 40))
    lines = arrange(graph, widths(graph)).lines

    direct = {(line.source, line.target) for line in lines if line.target}

    assert direct >= {(need, name) for name, needs in graph.items() for need in needs
                      if len(needs) < 3}
    assert {target for _, target in direct} == {name for name, needs in graph.items() if needs}


def test_a_layer_has_no_more_boxes_than_can_be_looked_at():
    layout = arrange({f's{i}': [] for i in range(3 * WIDEST)}, {f's{i}': 90 for i in range(99)})

    rows = [box.y for box in layout.boxes.values()]
    assert sorted(rows.count(row) for row in set(rows)) == [WIDEST] * 3


def test_boxes_that_need_the_same_ones_share_a_hub():
    layout = arrange(every_to_every(4), widths(every_to_every(4)))

    assert len(layout.hubs) == 1 and len(layout.lines) == 4 + 4


def test_lines_are_uncrossed_where_that_is_possible():
    """Declared in the order that crosses: each lower box belongs under the other upper one."""
    graph: Graph = {'a': [], 'b': [], 'of_b': ['b'], 'of_a': ['a']}

    boxes = arrange(graph, widths(graph)).boxes

    assert (boxes['a'].x < boxes['b'].x) == (boxes['of_a'].x < boxes['of_b'].x)


def test_a_line_that_passes_layers_is_straight():
    graph = chain(12)
    graph['s11'] = ['s10', 's0']

    passing = [line.points[0][0] for line in arrange(graph, widths(graph)).lines
               if line.source == 's0' and line.points[0][1] < line.points[1][1]]

    assert len(passing) == 10 and max(passing) - min(passing) < 2


def test_a_box_without_lines_stands_beside_the_others():
    graph = dict(every_to_every(2), **{f'c{i}': [f'b{i % 2}'] for i in range(8)}, alone=[])

    boxes = arrange(graph, widths(graph)).boxes

    beside = [box for name, box in boxes.items() if box.y == boxes['alone'].y and name != 'alone']
    assert min(abs(box.x + box.width - boxes['alone'].x) for box in beside) < 30


def test_what_follows_from_other_edges_is_left_out():
    assert without_implied(complete(50)) == chain(50)
    diamond: Graph = {'a': [], 'b': ['a'], 'c': ['a'], 'd': ['b', 'c', 'a']}
    assert without_implied(diamond) == {'a': [], 'b': ['a'], 'c': ['a'], 'd': ['b', 'c']}


def test_the_same_graph_is_laid_out_the_same_way(rng):
    graph = random_graph(rng, 30)

    assert arrange(graph, widths(graph)) == arrange(graph, widths(graph))
