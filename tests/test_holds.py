"""Tests of `stagerunner.holds`: the lock of a stage, and permits for each attempt."""

from __future__ import annotations

from typing import Any
from typing import Iterator

import pytest

from fakes import FakeClock
from stagerunner.holds import Holds
from stagerunner.locks import holder_of
from stagerunner.permits import Grant
from stagerunner.permits import Permits
from stagerunner.permits import Quota
from stagerunner.permits import Rates
from stagerunner.permits import Shortage
from stagerunner.result import BROKEN
from stagerunner.result import THROTTLED
from stagerunner.tasks import Task
from stagerunner.tasks import make_tasks
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

RATES = Rates({'gemini': Quota(1, 60.0)}, {'scarce': 1})


class Desk:
    """What two runs hold in one workspace."""

    def __init__(self, workspace: Workspace, clock: FakeClock):
        self.workspace = workspace.simple()
        root = str(workspace.root)
        self.ours, self.theirs = (
            Holds(root, Permits(root, clock, RATES), clock, {'pid': pid, 'host': 'h',
                                                             'runId': f'r{pid}'})
            for pid in (1, 2))

    def task(self, **keys: Any) -> Task:
        """Return the first task of a stage `work`."""
        return make_tasks(load(str(self.workspace.pipeline(stage(**keys)))))[0]


@pytest.fixture
def desk(workspace: Workspace, clock: FakeClock) -> Iterator[Desk]:
    desk = Desk(workspace, clock)
    yield desk
    desk.ours.release_all()
    desk.theirs.release_all()


# -- the lock ----------------------------------------

def test_one_run_has_a_stage_until_it_lets_it_go(desk):
    task = desk.task()

    assert desk.ours.take(task) is not None and desk.ours.has(task)
    assert desk.theirs.take(task) is None and not desk.theirs.has(task)
    desk.ours.release('work')
    assert not desk.ours.has(task) and desk.theirs.take(task) is not None


def test_a_stage_that_is_ours_is_taken_once(desk):
    task = desk.task(jobs=['j1', 'j2'])

    assert desk.ours.take(task) is desk.ours.take(task)
    desk.ours.release_all()
    assert desk.theirs.take(task) is not None


def test_to_let_go_of_what_is_not_ours_is_nothing(desk):
    desk.theirs.take(desk.task())

    desk.ours.release('work')

    assert desk.ours.take(desk.task()) is None


def test_the_holder_is_noted_for_people(desk):
    task = desk.task()
    desk.ours.take(task)

    desk.ours.note(task, 'noon')

    note = holder_of(desk.ours.path(task))
    assert 'pid 1' in note and 'noon' in note and 'r1' in note


def test_of_a_fan_out_the_holder_is_noted_once(desk):
    task = desk.task(jobs=['j1', 'j2'])
    desk.ours.take(task)

    desk.ours.note(task, 'noon')
    desk.ours.note(task, 'midnight')

    assert 'noon' in holder_of(desk.ours.path(task))


# -- permits ----------------------------------------

def test_who_needs_nothing_takes_nothing(desk):
    assert desk.ours.permit(desk.task()) is None


def test_a_permit_is_there_once(desk):
    task = desk.task(limit='scarce')

    grant = desk.ours.permit(task)
    assert isinstance(grant, Grant)
    assert desk.theirs.permit(task) == Shortage('scarce', desk.theirs.permit(task).wait_s)
    grant.release()
    again = desk.theirs.permit(task)
    assert isinstance(again, Grant)
    again.release()


def test_what_is_lacking_is_waited_for(desk):
    task = desk.task(quota='gemini')
    desk.ours.permit(task)
    shortage = desk.theirs.permit(task)

    found = desk.theirs.refused(task, 2, shortage)

    assert (found.status, found.error, found.attempt) == (THROTTLED, 'gemini', 2)
    assert 0 < found.wait_s <= 61


def test_a_stage_that_will_not_wait_for_a_quota_has_failed(desk):
    task = desk.task(quota={'gemini': {'tokens': 1, 'wait': False}}, limit='scarce')

    found = desk.ours.refused(task, 1, Shortage('gemini', 5.0))
    waits = desk.ours.refused(task, 1, Shortage('scarce', 5.0))

    assert (found.status, found.exit_code, found.error) == (
        BROKEN, 1, "quota 'gemini' is used up")
    assert waits.status == THROTTLED
