"""Tests of `stagerunner.report.html`: the page is whole, safe, small enough, and says what was."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser
from typing import Any
from typing import Dict
from typing import List

import pytest

from runs import BEGAN
from runs import diagram
from runs import made_up
from stagerunner.diagram import Diagram
from stagerunner.diagram import Node
from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskResumed
from stagerunner.events import TaskStarted
from stagerunner.events import TaskThrottled
from stagerunner.report.html.page import render
from stagerunner.report.html.summary import Account
from stagerunner.report.html.timeline import lanes_of
from stagerunner.report.html.timeline import ticks
from stagerunner.report.story import Bar
from stagerunner.report.story import Story
from stagerunner.state.run import RunRecord

pytestmark = pytest.mark.unit

#: Elements without an end.
VOID = {'meta', 'link', 'br'}


class Page(HTMLParser):
    """A parsed page: faults of its structure, elements by name, and text by the id it is in."""

    def __init__(self, data: bytes):
        super().__init__()
        self.open: List[Any] = []
        self.faults: List[str] = []
        self.elements: Dict[str, List[Dict[str, Any]]] = {}
        self.ids: List[str] = []
        self.text = ''
        self.by_id: Dict[str, str] = {}
        self.feed(data.decode('ascii'))
        self.close()
        self.faults += [f'{tag} is not closed' for tag, _ in self.open]

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.elements.setdefault(tag, []).append(given)
        if 'id' in given:
            self.ids.append(given['id'])
        if tag not in VOID:
            self.open.append((tag, given.get('id')))

    def handle_startendtag(self, tag, attrs):
        self.elements.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()[0] != tag:
            self.faults.append(f'{tag} ends where it is not open')

    def handle_data(self, data):
        self.text += data
        for _, name in self.open:
            if name:
                self.by_id[name] = self.by_id.get(name, '') + data


def account(rng, n_stages=6, n_tasks=40, state='failed', **given: Any) -> Account:
    text = given.pop('text', 'file')
    story = Story()
    for event in made_up(rng, n_stages, n_tasks, text=text, is_ended=state != 'running'):
        story.receive(event)
    record = RunRecord('made_up', text, text, '2025-12-01T10:00:00.000000+00:00', host=text,
                       isolation={'mode': 'auto', 'enforced': True, 'mechanisms': [text]})
    return Account('made_up', state, story, BEGAN + 1000, record,
                   given.pop('diagram', diagram(n_stages)), **given)


def test_the_page_is_whole_and_every_link_leads_somewhere(rng):
    page = Page(render(account(rng)))

    assert page.faults == []
    assert len(page.ids) == len(set(page.ids))
    links = [link['href'] for link in page.elements['a']]
    assert {link[1:] for link in links} <= set(page.ids) and '#stage-stage_003' in links


def test_the_page_needs_nothing_beside_it(rng):
    text = render(account(rng)).decode('ascii')
    page = Page(text.encode())

    assert not re.search(r'https?://|<(script|iframe|img)|@import|url\(|javascript:|\son\w+=',
                         text)
    assert [link['href'][:5] for link in page.elements['link']] == ['data:']
    assert any("default-src 'none'" in str(meta.get('content')) for meta in page.elements['meta'])


def test_people_who_do_not_see_it_find_their_way(rng):
    page = Page(render(account(rng)))

    assert page.elements['html'] == [{'lang': 'en'}] and len(page.elements['main']) == 1
    assert all('aria-labelledby' in svg for svg in page.elements['svg'])
    assert all('aria-label' in section or 'aria-labelledby' in section
               for section in page.elements['section'])
    assert {cell.get('scope') for cell in page.elements['th']} == {'col', 'row'}
    assert len(page.elements['caption']) == len(page.elements['table'])
    assert {name for name in page.ids if name.endswith('-title')} >= {
        'summary-title', 'graph-title', 'timeline-title', 'stages-title', 'details-title'}


def test_the_figures_are_there_as_text(rng):
    made = account(rng)
    stages = made.story.stages.values()
    page = Page(render(made))

    assert page.by_id['total-stages'] == '6'
    assert page.by_id['total-attempts'] == str(sum(stage.attempts for stage in stages))
    assert page.by_id['total-retries'] == str(sum(stage.retries for stage in stages))
    for status in {stage.status for stage in stages}:
        assert page.by_id[f'total-{status}'] == str(
            sum(stage.status == status for stage in stages))
    assert 'f' * 64 in page.text and 'auto: enforced by the kernel' in page.text


def hostile(rng: random.Random) -> str:
    words = ['<script>alert(1)</script>', '</pre></section>', '"><img src=x onerror=alert(1)>',
             '&lt;b&gt;', "' onload='x", '\x1b[31mred', '\r[DONE] all', '\ud800', '\u202e', '\0',
             ']]>', '<!--', '--\u2028', 'é漢\U0001f600', '\uffff', '{item.id}', '\t\n']
    return ''.join(rng.choice(words) for _ in range(4))


def test_text_of_users_is_text_whatever_it_holds(rng):
    for _ in range(25):
        text = hostile(rng)
        page = Page(render(account(rng, 4, 8, text=text, tails={f'state/logs/{text}': [text]})))
        assert page.faults == []
        assert {'script', 'img', 'b'} & set(page.elements) == set()
        assert not any(name.startswith('on') for found in page.elements.values()
                       for element in found for name in element)
        assert not re.search('[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]', page.text)


@pytest.mark.slow
def test_200_stages_and_5000_tasks_stay_below_a_megabyte(rng):
    page = render(account(rng, 200, 5000, tails={
        f'state/logs/stage_{number:03}': ['x' * 300] * 15 for number in range(200)}))

    assert len(page) < 1_000_000
    assert Page(page).faults == [] and page.count(b'<details id="stage-') == 200


@pytest.mark.slow
def test_long_names_shorten_the_lists_rather_than_grow_the_page(rng):
    assert len(render(account(rng, 200, 2000, text='long' * 60))) < 1_000_000


@pytest.mark.slow
def test_of_very_many_stages_those_that_failed_are_told(rng):
    made = account(rng, 1500, 1500, diagram=diagram(1500))
    failed = [name for name, stage in made.story.stages.items() if stage.status == 'failed']
    page = Page(render(made))

    assert failed and all(f'stage-{name}' in page.ids for name in failed)
    assert '1,500 stages are too many for a picture' in page.text
    assert 'more are done or were skipped' in page.text


def test_a_run_that_goes_on_reloads_itself_and_one_that_is_over_does_not(rng):
    going = render(account(rng, state='running', refresh_s=2))
    over = render(account(rng))

    assert b'<meta http-equiv="refresh" content="2">' in going and b'waiting' in going
    assert b'http-equiv="refresh"' not in over


def test_a_run_that_was_killed_tells_what_it_was_at(rng):
    made = account(rng, 3, 3, state='running')
    made.story.running['stage_002'] = next(iter(made.story.running.values()), None) or Bar(
        1.0, BEGAN, 'stage_002', 1, 'x')  # type: ignore[assignment]
    page = Page(render(made._replace(state='crashed')))

    assert 'The runner was killed' in page.text and 'at work on 1 task' in page.text


def test_a_run_of_which_nothing_is_told_has_a_page():
    page = Page(render(Account('x', 'failed', Story(), BEGAN, fault='pipeline.json is gone')))

    assert page.faults == []
    assert 'Nothing was executed.' in page.text and 'pipeline.json is gone' in page.text


def test_stages_that_take_no_part_are_in_the_picture(rng):
    nodes = (*diagram(3).nodes, Node('other', 'bin/x', 'o', ()))
    page = Page(render(account(rng, 3, 3, diagram=Diagram('d', nodes))))

    assert 'other: not in this run' in page.text


NOW = '2025-12-01T10:00:00.000000+00:00'


def test_what_is_out_of_the_ordinary_is_told():
    story = Story()
    for event in (
            RunStarted('r', 'demo', NOW, ('a', 'b', 'c')), TaskThrottled('a', 'api', 2.5),
            TaskStarted('a', NOW, 1, (Reason('never ran'),)), TaskResumed('a', 150, ''),
            AttemptEnded('a', 1, 'ok', NOW, 1.0, isolation={
                'network': 'allow', 'files': 'declared'}),
            TaskDone('a', NOW, 1.0, 1, 'k', 300, is_staged=False, made={
                'inputs': {'count': 5000, 'digest': 'abc'}, 'outputs': [['odd'], 'odder'],
                'outputDir': 'data/a'}),
            AttemptEnded('b', 1, 'failed', NOW, 0.0, None, 'permanent', 'is missing'),
            TaskFailed('b', NOW, 0.0, 1, 'permanent', 'is missing', '', ()),
            TaskBlocked('c', 'b did not succeed'), RunEnded('r', NOW, 3, 'failed')):
        story.receive(event)
    record = RunRecord('r', 'demo', '1', NOW, isolation={'mode': 'off'})

    page = Page(render(Account('r', 'failed', story, BEGAN, record)))

    for said in ('resumed at line 150', '1, 2.50 s',
                 'network allowed; files: only what is declared',
                 'written to the output folder directly', '5000 files, digest of all abc', 'odder',
                 'off: nothing kept processors from the network', 'permanent: is missing',
                 'b did not succeed', 'waits for permits'):
        assert said in page.text, said


def test_nothing_launched_is_told_as_such():
    record = RunRecord('r', 'demo', '1', NOW, isolation={'mode': 'auto', 'enforced': None})

    page = Page(render(Account('r', 'completed', Story(), BEGAN, record)))

    assert 'auto; nothing was launched' in page.text


# -- the time line -------------------------------------------------------------------

def test_no_two_bars_of_a_lane_overlap_and_there_are_as_many_lanes_as_were_busy(rng):
    bars = [Bar(rng.randint(1, 30) / 10, rng.randint(0, 200) / 10, f't{number}', 1, 'ok')
            for number in range(300)]

    laned = lanes_of(bars)

    by_lane: Dict[int, List[Bar]] = {}
    for lane, bar in laned:
        by_lane.setdefault(lane, []).append(bar)
    for found in by_lane.values():
        for one, following in zip(found, found[1:]):
            assert one.start + one.duration_s <= following.start + 0.002
    busiest = max(sum(other.start <= bar.start < other.start + other.duration_s - 0.002
                      for other in bars) for bar in bars)
    assert len(by_lane) == busiest


@pytest.mark.parametrize('span_s', [0.0007, 0.004, 0.3, 1, 7.9, 61, 3600, 90_000, 3_000_000])
def test_an_axis_has_a_few_round_marks(span_s):
    marks = ticks(span_s)

    assert 1 <= len(marks) <= 9 and marks[0] == 0 and marks[-1] <= span_s + 1e-6
