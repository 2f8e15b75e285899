"""Tests of `stagerunner.agenda`: what may start now, and what follows when something ends."""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import List

import pytest

from stagerunner.agenda import Agenda
from stagerunner.agenda import Entry
from stagerunner.errors import DefinitionError
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

Make = Callable[..., Agenda]


@pytest.fixture
def make(workspace: Workspace) -> Make:
    """Return a maker of agendas over stages, with items x and y."""
    workspace.simple()

    def make(*stages: Any, workers: int = 2) -> Agenda:
        workspace.pipeline(*stages, items={'docs': {'list': ['x', 'y']}})
        agenda = Agenda(make_groups(load(str(workspace.pipeline_file))), workers)
        go_on(agenda)
        return agenda
    return make


def items(name: str, source: str = 'data/input/in.txt', **keys: Any) -> Any:
    return stage(name, forEach='docs', inputs=[source], outputDir=f'data/{name}/{{item.id}}',
                 **keys)


def go_on(agenda: Agenda) -> None:
    """Do what a scheduler does of itself: open what can be opened, close what is settled."""
    while agenda.openable or agenda.settled or agenda.blocked:
        if agenda.settled:
            agenda.close(agenda.settled.popleft())
        elif agenda.blocked:
            agenda.settle(agenda.blocked.popleft()[0], is_ok=False)
        else:
            lane = agenda.openable.popleft()
            if lane.blocked_by:
                agenda.block(lane)
            else:
                lane.group.expand()
                agenda.open(lane)


def pop_all(agenda: Agenda) -> List[Entry]:
    """Return all attempts that may start now."""
    return list(iter(agenda.pop, None))


def names(entries: List[Entry]) -> List[str]:
    return [entry.name for entry in entries]


def settle(agenda: Agenda, entry: Any, *, is_ok: bool = True) -> None:
    agenda.settle(entry, is_ok=is_ok)
    go_on(agenda)


def test_what_needs_nothing_may_start_at_once(make):
    agenda = make(stage('a'), stage('b'), stage('c', inputs=['data/a/f']))

    assert names(pop_all(agenda)) == ['a', 'b']


def test_one_worker_gets_one_stage_after_the_other(make):
    agenda = make(stage('a'), stage('b'), workers=1)

    first = pop_all(agenda)
    assert names(first) == ['a']
    settle(agenda, first[0])
    assert names(pop_all(agenda)) == ['b']


def test_a_stage_starts_when_all_that_it_needs_is_done(make):
    agenda = make(stage('a'), stage('b'), stage('c', inputs=['data/a/f', 'data/b/f']))
    a, b = pop_all(agenda)

    settle(agenda, a)
    assert pop_all(agenda) == []
    settle(agenda, b)
    assert names(pop_all(agenda)) == ['c']


def test_an_item_goes_on_when_its_own_task_is_done(make):
    agenda = make(items('one'), items('two', 'data/one/{item.id}/f'))
    x, _ = pop_all(agenda)

    settle(agenda, x)

    assert names(pop_all(agenda)) == ['two[x]']


def test_who_gathers_waits_for_all_items(make):
    agenda = make(items('one'), stage('all', inputs=['data/one']))
    x, y = pop_all(agenda)

    settle(agenda, y)
    assert pop_all(agenda) == []
    settle(agenda, x)
    assert names(pop_all(agenda)) == ['all']


def test_an_item_of_two_pairs_waits_for_both(make):
    agenda = make(items('one'), items('other'), dict(
        items('both'), inputs=['data/one/{item.id}/f', 'data/other/{item.id}/f']))
    found = {entry.name: entry for entry in pop_all(agenda)}

    settle(agenda, found['one[x]'])
    assert pop_all(agenda) == []
    settle(agenda, found['other[x]'])
    assert names(pop_all(agenda)) == ['both[x]']


def test_a_lane_that_rests_gives_nothing_until_it_goes_on(make):
    agenda = make(items('one'), stage('a'))
    first = agenda.pop()

    agenda.pause(first)
    assert names(pop_all(agenda)) == ['a']
    agenda.unpause(first.lane)

    assert names(pop_all(agenda)) == ['one[x]', 'one[y]']


def test_a_deferred_attempt_is_nowhere_until_it_is_renewed(make):
    agenda = make(stage('a', maxWorkers=1))
    entry = agenda.pop()

    agenda.defer(entry)
    assert agenda.pop() is None
    agenda.renew(entry._replace(attempt=2))

    assert agenda.pop() == Entry(entry.lane, 0, 2)


def test_what_never_ended_is_told_in_order(make):
    agenda = make(items('one'), items('two', 'data/one/{item.id}/f'),
                  items('three', dependsOn=['one']), stage('last', dependsOn=['one']))
    x = agenda.pop()
    settle(agenda, x)
    running = agenda.pop()

    left = [(lane.group.stage.name, index) for lane, index in agenda.unsettled()]

    assert running.name == 'two[x]'
    assert left == [('one', 1), ('two', 1), ('three', None), ('last', 0)]


def test_stages_that_wait_for_one_another_are_refused(make):
    with pytest.raises(DefinitionError) as caught:
        make(stage('a', dependsOn=['b']), stage('b', inputs=['data/a/f']))

    assert 'stages form a cycle: ' in str(caught.value)
