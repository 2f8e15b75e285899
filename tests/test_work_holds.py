"""Tests of `stagerunner.work.holds`: who holds what while entries of the queue are worked on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from typing import List

import pytest

from fakes import FakeClock
from stagerunner.items import entry_item
from stagerunner.locks import entry_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.tasks import Task
from stagerunner.tasks import make_groups
from stagerunner.work.holds import EntryHolds
from stagerunner.workspace import load
from support import stage

pytestmark = [pytest.mark.unit,
              pytest.mark.skipif(os.name == 'nt', reason='Windows has no shared locks')]


class Desk:
    """Two runners, and the tasks of entries."""

    def __init__(self, workspace: Any):
        workspace.simple()
        workspace.pipeline(stage('a', forEach='jobs', outputDir='data/a/{item.id}'),
                           items={'jobs': {'queue': True}})
        self.root = str(workspace.root)
        self.group, = make_groups(load(str(workspace.pipeline_file)))
        self.lost: List[str] = []
        self.one, self.other = self.runner(), self.runner()

    def runner(self) -> EntryHolds:
        clock = FakeClock()
        return EntryHolds(self.root, Permits(self.root, clock, Rates()), clock, {'pid': 7},
                          lambda name: name not in self.lost, ['a', 'never'])

    def task(self, name: str) -> Task:
        return self.group.task(self.group.join(entry_item(self.root, 'jobs', name, {})))

    def twins(self) -> List[Task]:
        """Return the tasks of two entries that happen to have the same lock."""
        first = entry_lock(self.root, 'a', '0')
        twin = next(str(number) for number in range(1, 9999)
                    if entry_lock(self.root, 'a', str(number)) == first)
        return [self.task('0'), self.task(twin)]


@pytest.fixture
def desk(workspace):
    desk = Desk(workspace)
    yield desk
    desk.one.release_all()
    desk.other.release_all()


def test_an_entry_belongs_to_one_runner_until_its_task_is_let_go(desk):
    task = desk.task('x')

    assert desk.one.take(task) is not None and desk.one.has(task)
    assert desk.other.take(task) is None and not desk.other.has(task)
    assert desk.one.take(task) is desk.one.take(task)
    desk.one.let_go(task.name)
    assert desk.other.take(task) is not None


def test_other_entries_of_the_stage_belong_to_others_at_the_same_time(desk):
    assert desk.one.take(desk.task('x')) is not None
    assert desk.other.take(desk.task('y')) is not None


def test_the_stage_as_a_whole_is_nobodys_while_an_entry_is_worked_on(desk):
    task, path = desk.task('x'), stage_lock(desk.root, 'a')
    desk.one.take(task)

    assert try_lock(path) is None
    desk.one.let_go(task.name)
    alone = try_lock(path)
    assert alone is not None
    assert desk.one.take(task) is None
    alone.release()


def test_two_entries_with_the_same_lock_go_together_in_one_runner_only(desk):
    first, second = desk.twins()

    assert desk.one.take(first) is desk.one.take(second) is not None
    desk.one.let_go(first.name)
    assert desk.other.take(first) is None
    desk.one.let_go(second.name)
    assert desk.other.take(first) is not None


def test_nothing_is_kept_of_what_could_not_be_taken(desk):
    task = desk.task('x')
    desk.one.take(task)
    desk.other.take(task)
    desk.one.let_go(task.name)

    alone = try_lock(stage_lock(desk.root, 'a'))

    assert alone is not None
    alone.release()


def test_who_works_on_an_entry_is_noted_beside_its_lock(desk, workspace):
    task = desk.task('x')
    desk.one.take(task)
    desk.one.note(task, 'now')
    note = os.path.relpath(f'{desk.one.path(task)}.json', desk.root)

    assert workspace.json(note) == {'pid': 7, 'task': 'a[x]', 'since': 'now'}
    desk.one.let_go(task.name)
    assert not workspace.path(note).exists()


def test_what_is_done_for_a_lost_entry_may_not_be_published(desk):
    desk.lost.append('x')

    assert not desk.one.may_publish(desk.task('x'))
    assert desk.one.may_publish(desk.task('y'))


def test_letting_go_of_what_is_not_held_does_nothing(desk):
    desk.one.let_go('a[nix]')
    desk.one.release('a')


def test_what_killed_runners_left_half_written_beside_locks_is_cleared_away(desk, workspace):
    task = desk.task('x')
    desk.one.take(task)
    note = f'{os.path.relpath(desk.one.path(task), desk.root)}.json'
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    left = workspace.write(f'{note}.{gone.pid}-1.tmp', '{')
    alive = workspace.write(f'{note}.{os.getpid()}-9.tmp', '{')

    desk.one.release_all()

    assert not left.exists() and alive.exists()
