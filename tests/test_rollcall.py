"""Tests of `stagerunner.rollcall`: many members are passed over at once, none that must run."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import List

import pytest

from engine import Engine
from engine import copies
from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TasksSkipped
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.ledger import Ledger
from stagerunner.rollcall import RollCall
from stagerunner.selection import Wanted
from stagerunner.tasks import expand_known
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

NAMES = ['each[a.txt]', 'each[b.txt]', 'each[c.txt]']


class Told(Sink):
    """Keeps the names of what was told of at once."""

    def __init__(self) -> None:
        self.names: List[str] = []

    def receive(self, event: Event) -> None:
        pass

    def receive_skips(self, event: TasksSkipped) -> None:
        self.names += event.tasks


class Fan:
    """A fan-out over three files, which has run; its files are old enough to be remembered."""

    def __init__(self, workspace: Workspace, *, runs: int = 2, **keys: Any):
        self.workspace = workspace
        workspace.processor('')
        for name in 'abc':
            workspace.write(f'data/in/{name}.txt', f'text of {name}')
        self.define(stage('each', forEach='docs', inputs=['{item.path}'], outputDir='data/out',
                          **keys))
        # Later than any file is written: then a stat tells.
        self.engine = Engine(workspace, FakeLauncher(FakeClock(now=4e9)))
        for _ in range(runs):
            assert self.engine.run() == 0

    def define(self, *stages: Any) -> None:
        self.workspace.pipeline(*stages, items={'docs': {'glob': 'data/in/*.txt'}})

    def run(self, **asked: Any) -> List[str]:
        """Run again and return who was passed over."""
        told = Told()
        assert self.engine.run(sinks=[told], **asked) == 0
        return told.names


@pytest.fixture
def fan(workspace: Workspace) -> Iterator[Fan]:
    made = Fan(workspace)
    yield made
    made.engine.close()


def test_members_that_stand_as_they_are_are_passed_over_at_once(fan):
    assert fan.run() == NAMES
    assert fan.engine.ran() == [] and fan.engine.skipped() == NAMES
    metrics = fan.workspace.json('state/metrics_r1.json')
    assert metrics['stages'][0]['tasks'] == {'total': 3, 'skipped': 3}
    papers = fan.workspace.json('state/pipeline_checkpoint.json')
    assert papers['stats']['completed_docs'] == 3 and sorted(papers['docs']) == [
        'a.txt', 'b.txt', 'c.txt']


def test_outputs_that_were_made_a_while_before_the_end_are_known_to_the_next_run(workspace):
    made = Fan(workspace, runs=0)
    made.engine.launcher.otherwise = Ending(does=copies, after_s=1.0)
    assert made.engine.run() == 0
    made.engine.close()

    digests = Digests(str(workspace.path('state/index.json')), made.engine.clock)
    digests.load()

    assert [name for name in ('a.txt', 'b.txt', 'c.txt')
            if str(workspace.path(f'data/out/{name}')) in digests.known] == ['a.txt', 'b.txt']


def rewrite(path: Path) -> None:
    path.write_text('other')


def grow(path: Path) -> None:
    path.write_text('x' * (1 << 20))


def touch(path: Path) -> None:
    path.write_text(path.read_text())


def make_link(path: Path) -> None:
    copy = path.with_name('aside')
    path.rename(copy)
    path.symlink_to(copy.name)


@pytest.mark.parametrize(('change', 'where', 'runs'), [
    pytest.param(rewrite, 'data/in/b.txt', True, id='input-edited'),
    pytest.param(grow, 'data/in/b.txt', True, id='input-large-now'),
    pytest.param(rewrite, 'data/out/b.txt', True, id='output-edited'),
    pytest.param(os.unlink, 'data/out/b.txt', True, id='output-gone'),
    pytest.param(make_link, 'data/out/b.txt', True, id='output-a-link'),
    pytest.param(os.mkdir, 'data/out/.each[b.txt].partial', False, id='leftover')])
def test_whoever_is_not_as_he_was_goes_the_long_way(fan: Fan, change: Callable[[Path], None],
                                                    where: str, runs: bool) -> None:
    change(fan.workspace.path(where))

    assert fan.run() == ['each[a.txt]', 'each[c.txt]']
    assert fan.engine.ran() == ['each[b.txt]'] * runs
    assert sorted(fan.engine.skipped()) == [name for name in NAMES
                                            if not runs or name != 'each[b.txt]']
    assert not fan.workspace.path('data/out/.each[b.txt].partial').exists()


@pytest.mark.parametrize('where', ['data/in/b.txt', 'data/out/b.txt', 'state/index.json'])
def test_a_small_file_that_may_have_changed_is_read(fan: Fan, where: str) -> None:
    touch(fan.workspace.path(where))
    fan.workspace.write('state/index.json', '' if 'index' in where else
                        fan.workspace.path('state/index.json').read_bytes())

    assert fan.run() == NAMES
    assert fan.engine.ran() == []


def test_who_reads_much_comes_up_for_breath(fan: Fan) -> None:
    """A request to stop is heard soon, also when nobody is as he was."""
    for name in 'bc':
        fan.workspace.write(f'data/in/{name}.txt', 'other')
    group = make_groups(load(str(fan.workspace.pipeline_file)))[0]
    expand_known([group])
    root, engine = str(fan.workspace.root), fan.engine
    with closing(Ledger(root)) as ledger:
        observer = Observer(root, Digests('', engine.clock), engine.python_version, {}, ledger)
        journal = ledger.valid_journal(group.task(0))
        assert journal is not None

        calls = RollCall(observer, group, journal, most_reads=1).batches(range(len(group)))

        # What the first one has is known: he was looked at for what all of them share.
        assert [some.names for some in calls] == [['each[a.txt]'], []]


def edit_processor(fan: Fan) -> None:
    fan.workspace.processor('# another')


def set_param(fan: Fan) -> None:
    fan.define(stage('each', forEach='docs', inputs=['{item.path}'], outputDir='data/out',
                     params={'x': 1}))


def remove_marker(fan: Fan) -> None:
    fan.workspace.path('data/out/.each.done').unlink()


def forget(fan: Fan) -> None:
    fan.workspace.path('state/items_each.jsonl').unlink()


@pytest.mark.parametrize('change', [edit_processor, set_param, remove_marker, forget])
def test_what_concerns_all_of_them_lets_nobody_pass(fan: Fan,
                                                    change: Callable[[Fan], None]) -> None:
    change(fan)

    assert fan.run() == []
    assert sorted(fan.engine.ran()) == NAMES


def test_who_is_forced_is_not_passed_over(fan):
    assert fan.run(wanted=Wanted(force=('each',))) == []
    assert sorted(fan.engine.ran()) == NAMES


@pytest.mark.parametrize('keys', [
    {'idempotency': {'enabled': False}}, {'params': {'of': '{item.id}'}},
    {'checkpoint': {'enabled': True}}], ids=['not idempotent', 'own params', 'checkpoints'])
def test_stages_of_which_little_is_shared_go_the_long_way(workspace: Workspace,
                                                          keys: Any) -> None:
    made = Fan(workspace, **keys)

    assert made.run() == []
    made.engine.close()


def test_a_member_of_a_later_stage_passes_when_the_one_before_it_did(fan: Fan) -> None:
    fan.define(stage('each', forEach='docs', inputs=['{item.path}'], outputDir='data/out'),
               stage('next', forEach='docs', inputs=['data/out/{item.name}'],
                     outputDir='data/next/{item.id}'))
    fan.run()
    fan.run()
    fan.workspace.write('data/in/b.txt', 'other')

    assert fan.run() == ['each[a.txt]', 'each[c.txt]', 'next[a.txt]', 'next[c.txt]']
    assert fan.engine.ran() == ['each[b.txt]', 'next[b.txt]']
