"""Tests of `stagerunner.report.drawing` and `.markup`: graphs as images, text that stays text."""

from __future__ import annotations

import random
import sys
from xml.etree import ElementTree

import pytest

from stagerunner.report.drawing import Shape
from stagerunner.report.drawing import draw
from stagerunner.report.markup import escaped
from stagerunner.report.markup import shortened

pytestmark = pytest.mark.unit

SVG = '{http://www.w3.org/2000/svg}'


def test_a_small_graph_has_all_its_lines():
    drawing = draw([Shape('a'), Shape('b'), Shape('c')], {'a': [], 'b': ['a'], 'c': ['a', 'b']},
                   'x')

    assert drawing.omitted == 0
    assert drawing.svg.count('class="tip"') == 3


def test_lines_that_follow_from_others_are_left_out_where_there_are_too_many():
    names = [f's{i}' for i in range(200)]

    drawing = draw([Shape(name) for name in names],
                   {name: names[:i] for i, name in enumerate(names)}, 'x')

    assert drawing.omitted == 199 * 200 // 2 - 199
    assert f'19900 lines from what is waited for to what waits; {drawing.omitted} that' \
        in drawing.svg
    assert len(drawing.svg) < 80_000


def test_a_box_tells_more_in_its_tooltip_and_may_lead_somewhere():
    image = ElementTree.fromstring(draw(
        [Shape('a' * 60, 'note', 'failed', 'all of it', '#a')], {'a' * 60: []}, 'x').svg)

    link = image.find(SVG + 'a')
    assert link is not None and link.get('href') == '#a'
    group = link.find(SVG + 'g')
    assert group is not None and group.get('class') == 'box failed'
    assert [text.text for text in group.iter(SVG + 'text')] == [shortened('a' * 60, 30), 'note']
    assert [text.text for text in group.iter(SVG + 'title')] == ['all of it']


def test_no_text_breaks_the_image():
    rng = random.Random(7)
    for _ in range(300):
        text = ''.join(chr(rng.choice([rng.randrange(0x80), rng.randrange(sys.maxunicode + 1)]))
                       for _ in range(20))
        svg = draw([Shape('a', text, tooltip=text)], {'a': []}, text).svg
        ElementTree.fromstring(svg.encode('utf-8'))


@pytest.mark.parametrize('text, shown', [
    ('plain é 漢', 'plain é 漢'),
    ('<script>&amp;"\'', '&lt;script&gt;&amp;amp;&quot;&#39;'),
    ('a\tb\nc', 'a\tb\nc'),
    ('\x00\x07\x1b[31m\r\x7f\x9b', '\\x00\\x07\\x1b[31m\\r\\x7f\\x9b'),
    ('\udc80', '\\udc80'),
    ('\ufffe\U0001ffff\ufdd0', '\\ufffe\\U0001ffff\\ufdd0'),
    ('abc\u202etxt.exe', 'abc\\u202etxt.exe'),
])
def test_text_of_users_stands_for_itself(text, shown):
    assert escaped(text) == shown


def test_long_text_is_cut_in_the_middle():
    assert shortened('x' * 30, 30) == 'x' * 30
    assert len(shortened('x' * 31, 30)) == 30
