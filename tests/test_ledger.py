"""Tests of `stagerunner.ledger`: where successes are kept, and who published what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

from engine import Engine
from fakes import Ending
from stagerunner.events import TaskStarted
from stagerunner.launch.job import Job
from stagerunner.ledger import Claims
from stagerunner.ledger import Ledger
from stagerunner.tasks import Group
from stagerunner.tasks import Task
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import stage

pytestmark = pytest.mark.unit

JOURNAL, MARKER = 'state/items_each.jsonl', 'data/each/.each.done'


class Books:
    """A ledger over a plain stage `a` and a stage `each` with items x and y."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.workspace = engine.workspace
        self.workspace.processor()
        self.add('x')
        self.add('y')
        self.workspace.pipeline(stage('a', inputs=['data/input/x.txt']),
                                stage('each', forEach='docs', inputs=['{item.path}']),
                                items={'docs': {'glob': 'data/input/*.txt'}})
        self.ledger = Ledger(str(self.workspace.root))

    def add(self, name: str) -> None:
        self.workspace.write(f'data/input/{name}.txt', name)

    def groups(self) -> List[Group]:
        groups = make_groups(load(str(self.workspace.pipeline_file)))
        for group in groups:
            group.expand()
        return groups

    def task(self, name: str) -> Task:
        return next(task for group in self.groups() for task in group if task.name == name)


@pytest.fixture
def books(engine: Engine) -> Iterator[Books]:
    books = Books(engine)
    yield books
    books.ledger.close()


@pytest.fixture
def done(books: Books) -> Books:
    """Return books of a workspace in which all is done."""
    assert books.engine.run() == 0
    return books


def test_of_what_never_ran_nothing_is_known(books):
    for name in ('a', 'each[x.txt]'):
        task = books.task(name)
        assert books.ledger.look(task) == (None, '') and books.ledger.former(task) is None
        assert books.ledger.former_end(task) == '' and books.ledger.fault(task) == ''


def test_the_last_success_of_a_stage_and_of_an_item_is_found(done):
    for name in ('a', 'each[x.txt]'):
        marker, fault = done.ledger.look(done.task(name))
        assert marker.task == name and fault == ''
        assert [output.path for output in marker.outputs] == ['x.txt']
        assert done.ledger.former(done.task(name)) == marker
        assert done.ledger.former_end(done.task(name)) == 'ok'


def test_a_marker_that_cannot_be_read_says_why(done):
    done.workspace.write('data/a/.a.done', '{')

    marker, fault = done.ledger.look(done.task('a'))

    assert marker is None and fault
    assert done.ledger.former(done.task('a')) is None


def test_a_removed_marker_makes_the_items_void_but_they_are_remembered(done):
    done.workspace.path(MARKER).unlink()
    task = done.task('each[x.txt]')

    assert done.ledger.look(task) == (None, '')
    assert done.ledger.former(task).task == 'each[x.txt]'
    assert done.ledger.former_end(task) == 'ok'


def test_what_is_void_stays_so_once_something_new_is_to_be_noted(done):
    """A run that is killed then does not bring the old successes back."""
    done.workspace.path(MARKER).unlink()
    task = done.task('each[x.txt]')
    done.ledger.look(task)

    done.ledger.journal(task)
    done.workspace.write(MARKER)

    fresh = Ledger(str(done.workspace.root))
    assert fresh.look(task) == (None, '')
    assert done.ledger.look(task) == (None, '')
    fresh.close()


def test_what_is_void_is_remembered_to_the_end_of_the_run(done):
    """Bug: with the first item done again all the others were forgotten.

    What a new processor does not make any more then stayed, but for the first item.
    """
    done.workspace.path(MARKER).unlink()
    done.engine.launcher.otherwise = Ending(does=_copies_to_another_name)

    assert done.engine.run('r2') == 0

    assert sorted(path.name for path in done.workspace.path('data/each').iterdir()) == [
        '.each.done', 'x.txt.new', 'y.txt.new']
    assert [str(event.reasons[0]) for event in done.engine.sink.of(TaskStarted)] == [
        'marker missing'] * 2


def _copies_to_another_name(job: Job) -> None:
    for name in job.argv[1:]:
        shutil.copyfile(str(Path(job.cwd, name)), str(
            Path(job.env['PIPELINE_OUTPUT_DIR'], Path(name).name + '.new')))


def test_a_plain_stage_has_no_journal(done):
    assert done.ledger.journal(done.task('a')) is None
    done.ledger.settled(done.task('a'), 'k')
    assert 'a' not in done.ledger.books


def test_what_another_run_noted_is_seen_after_a_reload(done):
    task = done.task('each[x.txt]')
    before = done.ledger.look(task)[0]
    done.workspace.write('data/input/x.txt', 'edited')
    done.engine.run('r2')

    assert done.ledger.look(task)[0].run_id == before.run_id == 'r1'
    done.ledger.reload(task)
    assert done.ledger.look(task)[0].run_id == 'r2'


def test_a_reload_of_what_was_never_looked_at_is_nothing(done):
    done.ledger.reload(done.task('each[x.txt]'))
    done.ledger.reload(done.task('a'))

    assert done.ledger.books == {}


def test_a_damaged_journal_is_told_once(done):
    lines = done.workspace.read(JOURNAL).splitlines()
    lines[2] = lines[2].replace('each', 'eech')
    done.workspace.write(JOURNAL, '\n'.join(lines) + '\n')
    task = done.task('each[x.txt]')

    assert done.ledger.look(task)[0] is None
    assert done.ledger.fault(task) and done.ledger.fault(task) == ''


# -- all tasks of a fan-out ----------------------------------------

def test_the_key_of_all_items_does_not_depend_on_their_order(books):
    each, other = books.groups()[1], Ledger(str(books.workspace.root))
    x, y = each

    books.ledger.settled(x, 'kx')
    books.ledger.settled(y, 'ky')
    other.settled(y, 'ky')
    other.settled(x, 'kx')

    assert books.ledger.done(each) == other.done(each)
    assert books.ledger.done(each)[1] == 2
    other.close()


def test_of_a_fan_out_that_nobody_looked_at_nothing_is_done(books):
    each = books.groups()[1]

    assert books.ledger.done(each) == ('0' * 64, 0)
    assert books.ledger.gone(each) == [] and not books.ledger.is_told(each, 'k')


def test_that_all_is_done_is_told_by_journal_and_marker_together(done):
    each = done.groups()[1]
    for task in each:
        done.ledger.settled(task, done.ledger.look(task)[0].key)
    key = done.ledger.done(each)[0]

    assert done.ledger.is_told(each, key)
    assert not done.ledger.is_told(each, 'another')
    done.workspace.write(MARKER, '{')
    assert not done.ledger.is_told(each, key)
    done.workspace.path(MARKER).unlink()
    assert not done.ledger.is_told(each, key)


def test_tasks_that_are_none_any_more_are_named(done):
    done.ledger.look(done.task('each[x.txt]'))
    done.workspace.path('data/input/y.txt').unlink()

    assert done.ledger.gone(done.groups()[1]) == ['each[y.txt]']


# -- claims ----------------------------------------

def others(books: Books, folder: str, name: str) -> Any:
    claims = Claims(str(books.workspace.root), books.ledger, books.groups())
    return claims, claims.below(str(books.workspace.path(folder)), books.task(name))


def test_others_are_known_by_what_they_published(done):
    _, found = others(done, 'data/each', 'each[x.txt]')

    assert found.get('y.txt') == 'each[y.txt]' and 'y.txt' in found
    assert found.get('none.txt') is None and 7 not in found


def test_nobody_is_another_one_of_himself(done):
    assert others(done, 'data/each', 'each[x.txt]')[1].get('x.txt') is None
    assert others(done, 'data/a', 'a')[1].get('x.txt') is None
    assert others(done, 'data/a', 'each[x.txt]')[1].get('x.txt') == 'a'


def test_what_a_member_publishes_in_this_run_is_known_to_the_next(done):
    claims, before = others(done, 'data/each', 'a')
    assert before.get('z.txt') is None
    done.add('z')
    done.engine.run('r2')
    member = done.task('each[z.txt]')
    done.ledger.reload(member)

    claims.note(member)

    assert before.get('z.txt') == 'each[z.txt]'
    claims.note(done.task('a'))
