"""Tests of `stagerunner.finishing`: what ended well waits a moment, and is durable when told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Tuple

import pytest

from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from fakes import ListSink
from fakes import writes
from stagerunner.errors import STATE
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.holds import Holds
from stagerunner.ledger import Ledger
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.result import BROKEN
from stagerunner.result import DONE
from stagerunner.result import ENDED
from stagerunner.result import Result
from stagerunner.task import Attempts
from stagerunner.task import Setting
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace

pytestmark = pytest.mark.unit

#: What the faked clock shows at first, in seconds.
BEGIN_S = FakeClock().monotonic()


class Crew:
    """Stages `a`, `b` and `c`, which a run with two workers has at work at once."""

    def __init__(self, workspace: Workspace, launcher: FakeLauncher, sink: ListSink,
                 folders: Tuple[str, ...]):
        self.workspace = workspace
        self.launcher = launcher
        workspace.processor('')
        workspace.pipeline(*({'name': name, 'processor': 'bin/work.py', 'outputDir': folder}
                             for name, folder in zip('abc', folders)))
        root = str(workspace.root)
        groups = make_groups(load(str(workspace.pipeline_file)))
        self.tasks = {group.stage.name: group.task(0) for group in groups}
        digests = Digests(os.path.join(root, 'state', 'index.json'), launcher.clock)
        self.attempts = Attempts(
            Setting(root, 'r1', '/usr/bin/python9', {}, {}, workers=2),
            Observer(root, digests, '3.9', {}, Ledger(root)), launcher, launcher.clock, sink,
            groups, Holds(root, Permits(root, launcher.clock, Rates()), launcher.clock, {}))

    def start(self, name: str, files: Dict[str, Any], after_s: float) -> None:
        self.launcher.will(name, Ending(does=writes(files), after_s=after_s))
        assert self.attempts.start(self.tasks[name], 1) is None

    def wait(self) -> List[Tuple[str, str]]:
        return told(self.attempts.wait(None))

    def is_published(self, name: str) -> bool:
        task = self.tasks[name]
        return Path(task.output_dir, f'.{name}.done').exists()


def told(results: List[Result]) -> List[Tuple[str, str]]:
    return [(result.task.name, result.status) for result in results]


@pytest.fixture
def crew(workspace: Workspace, launcher: FakeLauncher, sink: ListSink) -> Iterator[Crew]:
    made = Crew(workspace, launcher, sink, ('out/a', 'out/b', 'out/c'))
    yield made
    made.attempts.close()


@pytest.fixture
def sharing(workspace: Workspace, launcher: FakeLauncher, sink: ListSink) -> Iterator[Crew]:
    made = Crew(workspace, launcher, sink, ('out', 'out', 'out'))
    yield made
    made.attempts.close()


def test_what_ended_leaves_its_slot_and_is_durable_soon_while_another_works(crew):
    crew.start('a', {'x': '1'}, after_s=1)
    crew.start('b', {'x': '2'}, after_s=100)

    assert crew.wait() == [('a', ENDED)]
    assert not crew.is_published('a')
    assert crew.wait() == [('a', DONE)]
    assert crew.is_published('a')
    assert crew.launcher.clock.monotonic() < BEGIN_S + 1.1


def test_what_ends_meanwhile_is_committed_with_it(crew):
    crew.start('a', {'x': '1'}, after_s=1)
    crew.start('b', {'x': '2'}, after_s=1.01)
    crew.start('c', {'x': '3'}, after_s=100)

    assert crew.wait() + crew.wait() == [('a', ENDED), ('b', ENDED)]
    assert crew.wait() == [('a', DONE), ('b', DONE)]


def test_when_nothing_is_at_work_nothing_waits(crew):
    crew.start('a', {'x': '1'}, after_s=1)

    assert crew.wait() == [('a', ENDED)]
    assert crew.wait() == [('a', DONE)]
    assert crew.launcher.clock.monotonic() == BEGIN_S + 1


@pytest.mark.parametrize(('first', 'second'), [
    ('x', 'x'), ('x', 'x/y'), ('x/y', 'x')], ids=['same', 'below', 'above'])
def test_a_path_that_somebody_is_about_to_publish_is_taken(sharing, first, second):
    """The first is made durable before the second is judged, which it then is as ever."""
    sharing.start('a', {first: '1'}, after_s=1)
    sharing.start('b', {second: '2'}, after_s=1.01)
    sharing.start('c', {'z': '3'}, after_s=100)

    results = sharing.attempts.wait(None) + sharing.attempts.wait(None)

    assert told(results) == [('a', ENDED), ('b', BROKEN), ('a', DONE)]
    assert f"output '{second}'" in results[1].error


def test_who_wrote_nothing_is_judged_when_the_others_are_in_place(sharing):
    """What appears in `outputDir` while it is looked at must not be taken for its own."""
    sharing.start('a', {'x': '1'}, after_s=1)
    sharing.start('b', {}, after_s=1.01)
    sharing.start('c', {'z': '3'}, after_s=100)

    assert sharing.wait() + sharing.wait() == [('a', ENDED), ('b', ENDED), ('a', DONE)]
    assert sharing.wait() == [('b', DONE)]
    assert sharing.workspace.json('out/.b.done')['outputs'] == []


def test_one_that_cannot_be_published_fails_and_the_others_are_done(crew):
    crew.start('a', {'x': '1'}, after_s=1)
    crew.start('b', {'x': '2'}, after_s=1.01)
    crew.wait()
    crew.wait()
    crew.workspace.path('out/a/x').mkdir()

    results = crew.attempts.wait(None)

    assert told(results) == [('a', BROKEN), ('b', DONE)]
    assert results[0].exit_code == STATE and 'x: is a directory' in results[0].error
    assert not crew.is_published('a') and not list(crew.workspace.root.rglob('*.partial'))
