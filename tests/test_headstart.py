"""Tests of `stagerunner.headstart`: who comes next may begin early, and nobody can tell."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import Sequence

import pytest

from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from fakes import ListSink
from fakes import writes
from stagerunner.clock import Stop
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.flushing import Flusher
from stagerunner.holds import Holds
from stagerunner.ledger import Ledger
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.scheduler import Rules
from stagerunner.scheduler import Scheduler
from stagerunner.task import Attempts
from stagerunner.task import Setting
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace

pytestmark = pytest.mark.unit


class Disk(Flusher):
    """Notes who is at work while the names of each stage are flushed, and may refuse one."""

    def __init__(self, root: str, launcher: FakeLauncher):
        super().__init__(root)
        self.launcher = launcher
        self.beside: Dict[str, List[str]] = {}
        self.refuses = ''
        #: Called before each flush of names.
        self.before: Callable[[], Any] = lambda: None

    def names(self, folders: Sequence[str]) -> Dict[str, OSError]:
        stage = os.path.basename(folders[0])
        self.beside[stage] = sorted(self.launcher.running)
        self.before()
        if stage == self.refuses:
            return {folders[0]: OSError(errno.EIO, os.strerror(errno.EIO))}
        return super().names(folders)


class Sequence3:
    """Stages `a`, `b` and `c`, run by one worker; by default `b` reads what `a` makes."""

    def __init__(self, workspace: Workspace, launcher: FakeLauncher, sink: ListSink):
        self.workspace = workspace
        self.launcher = launcher
        self.sink = sink
        self.stop = Stop()
        workspace.processor('')
        launcher.otherwise = Ending(does=writes({'x': 'made'}), after_s=1)
        self.disk = Disk(str(workspace.root), launcher)

    def run(self, *, workers: int = 1, keeps_going: bool = False, **b: Any) -> int:
        """Run all, where `b` has these keys beside the usual ones; return the exit code."""
        stages = [{'name': name, 'processor': 'bin/work.py', 'outputDir': f'out/{name}'}
                  for name in 'abc']
        stages[1].update({'inputs': ['out/a/x'], **b})
        self.workspace.pipeline(*stages)
        root, clock = str(self.workspace.root), self.launcher.clock
        groups = make_groups(load(str(self.workspace.pipeline_file)))
        attempts = Attempts(
            Setting(root, 'r1', '/usr/bin/python9', {}, {}, workers=workers),
            Observer(root, Digests(os.path.join(root, 'state', 'index.json'), clock), '3.9', {},
                     Ledger(root)), self.launcher, clock, self.sink, groups,
            Holds(root, Permits(root, clock, Rates()), clock, {}))
        attempts.finisher.flusher = self.disk
        scheduler = Scheduler(attempts, clock, self.stop, self.sink,
                              Rules(0.0, workers, keeps_going), lambda: 0.0)
        try:
            return scheduler.run(groups).exit_code
        finally:
            attempts.close()

    def told(self) -> List[str]:
        """Return what was told of tasks, in order."""
        words = {TaskStarted: 'run', TaskDone: 'done', TaskFailed: 'failed',
                 TaskBlocked: 'blocked', TaskCancelled: 'cancelled'}
        return [f'{words[type(event)]} {event.task}' for event in self.sink.events
                if type(event) in words]

    def below(self, folder: str) -> List[str]:
        """Return what is there of an output folder."""
        return sorted(os.listdir(str(self.workspace.root / folder))) if Path(
            self.workspace.root / folder).exists() else []


@pytest.fixture
def sequence(workspace: Workspace, launcher: FakeLauncher,
             sink: ListSink) -> Iterator[Sequence3]:
    made = Sequence3(workspace, launcher, sink)
    yield made
    made.stop.close()


IN_ORDER = ['run a', 'done a', 'run b', 'done b', 'run c', 'done c']


def test_a_stage_begins_while_the_names_of_the_one_before_are_flushed(sequence):
    assert sequence.run() == 0

    assert sequence.disk.beside == {'a': ['b'], 'b': ['c'], 'c': []}
    assert sequence.told() == IN_ORDER


def test_a_stage_begins_when_the_outputs_of_the_one_before_have_their_names(sequence):
    seen = []
    sequence.launcher.will('b', Ending(does=lambda job: seen.extend(sequence.below('out/a'))))

    assert sequence.run() == 0

    assert {'x', '.a.done'} <= set(seen)


def test_nothing_is_told_of_a_stage_before_the_one_before_is_durable(sequence):
    told: List[List[str]] = []
    sequence.disk.before = lambda: told.append(sequence.told())

    sequence.run()

    assert told == [IN_ORDER[:1], IN_ORDER[:3], IN_ORDER[:5]]


def test_what_began_beside_a_failing_flush_is_killed_blocked_and_publishes_nothing(sequence):
    sequence.launcher.will('b', Ending(does=writes({'y': '1'}), stdout=('hello',), after_s=60))
    sequence.disk.refuses = 'a'

    assert sequence.run(keeps_going=True) == 5

    assert sequence.disk.beside['a'] == ['b']
    assert sequence.launcher.stops == [('interrupted', True)]
    assert sequence.told() == ['run a', 'failed a', 'blocked b', 'run c', 'done c']
    assert sequence.below('out/b') == [] and not list(
        (sequence.workspace.root / 'logs').rglob('b*'))
    assert sequence.launcher.clock.monotonic() < FakeClock().monotonic() + 30


def test_what_began_beside_a_failing_flush_is_cancelled_where_a_failure_ends_the_run(sequence):
    sequence.disk.refuses = 'a'

    assert sequence.run() == 5

    assert sequence.told() == ['run a', 'failed a', 'cancelled b', 'cancelled c']
    assert not sequence.launcher.running and sequence.below('out/b') == []


def test_what_does_not_need_the_failed_one_begins_anew_in_its_turn(sequence):
    sequence.disk.refuses = 'a'

    assert sequence.run(keeps_going=True, inputs=[]) == 5

    assert sequence.told() == ['run a', 'failed a', 'run b', 'done b', 'run c', 'done c']
    assert len(sequence.launcher.jobs_of('b')) == 2
    assert sequence.below('out/b') == ['.b.done', 'x']


def test_a_run_that_is_asked_to_end_meanwhile_tells_nothing_of_what_had_begun(sequence):
    sequence.disk.before = lambda: sequence.stop.request(2)
    sequence.launcher.will('b', Ending(does=writes({'y': '1'}), after_s=60))

    sequence.run()

    assert sequence.disk.beside['a'] == ['b']
    assert sequence.told() == ['run a', 'done a', 'cancelled b', 'cancelled c']
    assert not sequence.launcher.running and sequence.below('out/b') == []


def test_the_lock_of_what_had_begun_in_vain_is_free(sequence):
    free = []
    root = str(sequence.workspace.root)

    def look(job: Any) -> None:
        lock = try_lock(stage_lock(root, 'b'))
        free.append(lock is not None)
        if lock is not None:
            lock.release()

    sequence.disk.refuses = 'a'
    sequence.launcher.will('c', Ending(does=look))

    sequence.run(keeps_going=True)

    assert free == [True]


@pytest.mark.parametrize('keys', [
    pytest.param({'idempotency': {'enabled': False}}, id='not-repeatable'),
    pytest.param({'limit': 'disk'}, id='needs-a-permit'),
    pytest.param({'jobs': [{'name': 'one', 'outputDir': 'out/one'}]}, id='fan-out'),
    pytest.param({'inputs': ['data/folder']}, id='folder'),
    pytest.param({'inputs': ['data/large']}, id='large-input'),
    pytest.param({'inputs': ['data/m*']}, id='glob'),
])
def test_a_stage_that_may_do_harm_or_take_long_waits_for_its_turn(sequence, keys):
    workspace = sequence.workspace
    workspace.write('data/folder/x', '')
    workspace.write('data/many', '')
    with open(str(workspace.root / 'data/large'), 'wb') as large:
        large.truncate(9 << 20)

    assert sequence.run(**keys) == 0

    assert sequence.disk.beside['a'] == []


def test_a_stage_whose_lock_somebody_has_waits_for_its_turn(sequence):
    lock = try_lock(stage_lock(str(sequence.workspace.root), 'b'))
    assert lock is not None
    with lock:
        assert sequence.run() == 4

    assert sequence.disk.beside == {'a': []}
    assert sequence.told() == ['run a', 'done a', 'failed b', 'cancelled c']


def test_a_stage_that_is_skipped_is_so_in_its_turn(sequence):
    sequence.run()
    sequence.sink.events.clear()
    (sequence.workspace.root / 'out/a/x').unlink()

    assert sequence.run() == 0

    assert sequence.told() == ['run a', 'done a']
    assert sequence.sink.kinds().index('TaskDone') < sequence.sink.kinds().index('TaskSkipped')


def test_a_stage_that_cannot_be_started_fails_in_its_turn(sequence):
    sequence.launcher.will('b', *[Ending(start_error='no such thing')] * 2)

    assert sequence.run() == 1

    assert sequence.told() == ['run a', 'done a', 'run b', 'failed b', 'cancelled c']


def test_a_state_that_cannot_be_read_is_met_when_the_one_before_is_told(sequence):
    newer = json.dumps({'format': 99, 'task': 'b'})
    sequence.workspace.write('out/b/.b.done', newer)

    assert sequence.run() == 5

    assert sequence.told() == ['run a', 'done a', 'failed b', 'cancelled c']
    assert (sequence.workspace.root / 'out/b/.b.done').read_text() == newer


def test_a_warning_of_what_was_set_aside_is_told_whatever_comes_of_the_stage(sequence):
    sequence.workspace.write('out/b/.b.done', 'no marker')
    sequence.disk.refuses = 'a'

    sequence.run()

    assert [event.task for event in sequence.sink.of(Warned)] == ['b']


def test_with_several_workers_a_stage_waits_until_what_it_needs_is_durable(sequence):
    assert sequence.run(workers=2, dependsOn=['a']) == 0

    assert 'b' not in sequence.disk.beside['a']
