"""Tests of `stagerunner.selection`: who takes part in a run, and what is said of the rest."""

from __future__ import annotations

from typing import Any
from typing import Callable

import pytest

from engine import Engine
from fakes import ListSink
from stagerunner.clock import Clock
from stagerunner.errors import UsageError
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.ledger import Ledger
from stagerunner.selection import Selection
from stagerunner.selection import Staleness
from stagerunner.selection import Wanted
from stagerunner.selection import select
from stagerunner.state.names import StateNames
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

Choose = Callable[..., Selection]


@pytest.fixture
def choose(workspace: Workspace) -> Choose:
    """Return a chooser of parts of: `a`, from it `b`, `c` by order alone, `d` from `b`, `e`."""
    workspace.simple()
    workspace.pipeline(stage('a'), stage('b', inputs=['data/a/in.txt']),
                       stage('c', dependsOn=['a']), stage('d', inputs=['data/b/in.txt']),
                       stage('e'))

    def choose(**wanted: Any) -> Selection:
        return select(make_groups(load(str(workspace.pipeline_file))), Wanted(**wanted))
    return choose


def names(groups: Any) -> str:
    return ''.join(group.stage.name for group in groups)


@pytest.mark.parametrize('wanted, groups, taken, later, forced', [
    ({}, 'abcde', '', '', ''),
    ({'only': ('b',)}, 'b', 'a', 'd', ''),
    ({'only': ('d', 'e')}, 'de', 'ab', '', ''),
    ({'until': ('b',)}, 'ab', '', 'cd', ''),
    ({'until': ('c', 'e')}, 'ace', '', 'bd', ''),
    ({'force': ('b', 'e')}, 'abcde', '', '', 'be'),
    ({'only': ('b',), 'force': ('b',)}, 'b', 'a', 'd', 'b'),
    ({'until': ('d',), 'only': ('b', 'd')}, 'bd', 'a', '', ''),
])
def test_flags_say_who_takes_part(choose, wanted, groups, taken, later, forced):
    found = choose(**wanted)

    assert (names(found.groups), names(found.taken), names(found.later)) == (groups, taken, later)
    assert found.forced == frozenset(forced)


def test_what_comes_before_the_first_stage_is_taken_and_the_rest_is_forced(choose, engine):
    engine.run()

    found = choose(resume_from='c')

    assert (names(found.groups), names(found.taken), names(found.later)) == ('cde', 'ab', '')
    assert found.forced == frozenset('cde')


@pytest.mark.parametrize('wanted, message', [
    ({'only': ('x',)}, "--only: there is no stage 'x'; the stages are a, b, c, d, e"),
    ({'until': ('x',)}, "--until: there is no stage 'x'; the stages are a, b, c, d, e"),
    ({'force': ('x',)}, "--force: there is no stage 'x'; the stages are a, b, c, d, e"),
    ({'resume_from': 'x'}, "--resume-from: there is no stage 'x'; the stages are a, b, c, d, e"),
    ({'resume_from': 'b'}, "--resume-from: stage 'a' before it has no marker, so it cannot be "
                           'taken as it is; run it first (--until a)'),
    ({'only': ('a',), 'force': ('b',)}, "--force: stage 'b' does not take part in this run"),
    ({'only': ('e',), 'until': ('b',)}, 'no stage takes part: the flags exclude one another'),
])
def test_what_makes_no_sense_is_refused(choose, wanted, message):
    with pytest.raises(UsageError) as caught:
        choose(**wanted)

    assert str(caught.value) == message


# -- stale ----------------------------------------

class Judge:
    """Says what is stale in a workspace of which everything is done."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def warnings(self, method: str) -> Any:
        """Return (stage, warning) of all stages by a method of `Staleness`."""
        root, sink = str(self.engine.workspace.root), ListSink()
        ledger = Ledger(root)
        observer = Observer(root, Digests(StateNames(root).index(), Clock()),
                            self.engine.python_version, self.engine.environment, ledger)
        groups = make_groups(load(str(self.engine.workspace.pipeline_file)))
        getattr(Staleness(observer, sink), method)(groups)
        ledger.close()
        return [(event.task, event.message) for event in sink.events]


@pytest.fixture
def judge(engine: Engine) -> Judge:
    """Return a judge of a plain stage and one for each item."""
    engine.workspace.simple()
    engine.workspace.pipeline(stage('a'), stage('each', forEach='docs', inputs=['{item.path}']),
                              items={'docs': {'glob': 'data/input/*.txt'}})
    engine.run()
    return Judge(engine)


@pytest.mark.parametrize('method', ['warn_of_taken', 'warn_of_later'])
def test_of_what_is_valid_nothing_is_said(judge, method):
    assert judge.warnings(method) == []


def test_what_is_taken_although_it_would_run_is_told_with_the_reason(judge):
    judge.engine.workspace.write('data/input/in.txt', 'edited')

    why = '(input changed: data/input/in.txt)'
    assert judge.warnings('warn_of_taken') == [
        ('a', f'is taken as it is, but is stale {why}'),
        ('each', f'is taken as it is, but is stale {why}')]
    assert judge.warnings('warn_of_later') == [
        ('a', f'is stale now {why}; it takes no part in this run'),
        ('each', f'is stale now {why}; it takes no part in this run')]


def test_what_never_ran_cannot_become_stale(judge):
    judge.engine.workspace.path('data/a/.a.done').unlink()
    judge.engine.workspace.path('data/each/.each.done').unlink()

    assert judge.warnings('warn_of_later') == []
    assert [task for task, _ in judge.warnings('warn_of_taken')] == ['a', 'each']


def test_a_fan_out_over_nothing_is_not_stale(judge):
    judge.engine.workspace.path('data/input/in.txt').rename(
        judge.engine.workspace.path('data/input/in.csv'))
    judge.engine.workspace.pipeline(
        stage('each', forEach='docs', inputs=['{item.path}']),
        items={'docs': {'glob': 'data/input/*.txt'}})

    assert judge.warnings('warn_of_taken') == []
