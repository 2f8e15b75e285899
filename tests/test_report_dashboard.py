"""Tests of `stagerunner.report.dashboard` and `.watched`: the page of a run that goes on."""

from __future__ import annotations

from typing import Any
from typing import List

import pytest

from fakes import FakeClock
from stagerunner.errors import StateError
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskDone
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.report.dashboard import Dashboard
from stagerunner.report.watched import Page
from stagerunner.state.names import StateNames
from stagerunner.state.run import RunRecord
from stagerunner.state.run import write_run
from stagerunner.workspace import load

pytestmark = pytest.mark.unit

NOW = '2025-12-01T10:00:00.000000+00:00'


class Pages:
    """Stands for a page; writing one takes `cost_s`."""

    def __init__(self, clock: FakeClock):
        self.clock = clock
        self.cost_s = 0.01
        self.n_made = 0
        self.heard: List[Any] = []
        self.written_at: List[float] = []
        self.error: Any = None

    def make(self) -> Any:
        self.n_made += 1
        return self

    def receive(self, event: Any) -> None:
        self.heard.append(event)

    def receive_skips(self, event: Any) -> None:
        self.heard.append(event)

    def write(self) -> None:
        self.written_at.append(self.clock.monotonic() - 1000)
        self.clock.advance(self.cost_s)
        if self.error:
            raise self.error


@pytest.fixture
def pages(clock: FakeClock) -> Pages:
    return Pages(clock)


@pytest.fixture
def dashboard(clock: FakeClock, pages: Pages) -> Dashboard:
    return Dashboard(clock, pages.make)


DONE = TaskDone('a', NOW, 1, 1, 'k')
SKIPS = TasksSkipped(['b'], NOW, 'same', ['k'], [NOW])


def test_a_short_run_loads_and_writes_nothing(dashboard, clock, pages):
    for event in (TaskStarted('a', NOW, 1, ()), DONE):
        dashboard.receive(event)
        dashboard.idle()
        clock.advance(0.9)
    dashboard.receive_skips(SKIPS)
    dashboard.close()

    assert (pages.n_made, pages.written_at) == (0, [])


def test_a_run_asks_to_be_woken_when_a_page_is_due(dashboard, clock):
    assert dashboard.idle() == 2.0
    clock.advance(1.5)
    assert dashboard.idle() == pytest.approx(0.5)


def test_the_first_page_tells_all_that_happened_before(dashboard, clock, pages):
    dashboard.receive(DONE)
    dashboard.receive_skips(SKIPS)
    clock.advance(2)
    dashboard.idle()
    dashboard.receive(DONE)

    assert pages.heard == [DONE, SKIPS, DONE] and len(pages.written_at) == 1
    assert dashboard.kept == []


def test_what_was_skipped_of_a_fan_out_is_not_kept(dashboard):
    for number in range(1000):
        dashboard.receive(TaskSkipped(f'a[{number}]', NOW, 'same', 'k', NOW))

    assert dashboard.kept == []


@pytest.mark.parametrize('cost_s, share', [(0.01, 0.006), (0.5, 0.0101), (30, 0.0101)])
def test_pages_take_less_than_a_hundredth_of_a_long_run(dashboard, clock, pages, cost_s, share):
    pages.cost_s = cost_s
    while clock.monotonic() < 1000 + 400 * cost_s + 4000:
        clock.advance(max(0.001, dashboard.idle() or 0))

    assert len(pages.written_at) * cost_s <= share * (clock.monotonic() - 1000) + cost_s
    gaps = [b - a for a, b in zip(pages.written_at, pages.written_at[1:])]
    assert len(gaps) > 1 and min(gaps) >= 2


def test_the_last_page_is_written_when_the_run_is_over(dashboard, clock, pages):
    clock.advance(3)
    dashboard.idle()
    dashboard.receive(RunEnded('r', NOW, 3, 'completed'))
    dashboard.close()

    assert len(pages.written_at) == 2 and pages.heard[-1].state == 'completed'


def test_a_page_that_cannot_be_written_does_not_fail_the_run(dashboard, clock, pages):
    pages.error = StateError('x', 'no space')
    clock.advance(3)

    assert dashboard.idle() is not None and dashboard.idle() is None
    dashboard.close()
    assert len(pages.written_at) == 1


# -- the page ------------------------------------------------------------------------

@pytest.fixture
def page(workspace: Any, clock: FakeClock) -> Page:
    workspace.simple().write('state/keep')
    return Page(load(str(workspace.pipeline_file)), 'r', clock)


def test_a_page_reloads_itself_until_the_run_is_over(page, workspace):
    write_run(StateNames(str(workspace.root)), RunRecord('r', 'test', '0', NOW))
    page.receive(RunStarted('r', 'test', NOW, ('work',)))
    page.receive(TaskStarted('work', NOW, 1, ()))
    page.write()
    going = workspace.read('state/report.html')
    page.receive(TaskDone('work', NOW, 1, 1, 'k'))
    page.receive(RunEnded('r', NOW, 2, 'completed'))
    page.write()
    over = workspace.read('state/report.html')

    assert 'http-equiv="refresh" content="2"' in going and 'running' in going
    assert 'http-equiv="refresh"' not in over and 'completed' in over
    assert 'href="#stage-work"' in over


def test_a_page_of_a_run_without_a_record_is_that_of_a_crash(page, workspace):
    page.write()

    assert 'The runner was killed' in workspace.read('state/report.html')


@pytest.mark.integration
@pytest.mark.slow
def test_a_run_that_lasts_shows_itself_while_it_goes_on(workspace):
    """The processor waits until it can read the page of its own run."""
    workspace.simple('''\
import os, time
page = os.path.join(os.environ['PIPELINE_ROOT'], 'state', 'report.html')
while not os.path.exists(page):
    time.sleep(0.02)
with open(page) as source, open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'x'), 'w') as out:
    out.write(source.read())
''', timeoutSec=50)

    done = workspace.run('--run-id', 'r')

    assert done.code == 0
    seen, last = workspace.read('data/work/x'), workspace.read('state/report.html')
    assert 'http-equiv="refresh"' in seen and 'running' in seen
    assert 'http-equiv="refresh"' not in last and 'completed' in last
