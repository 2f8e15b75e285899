"""Keepers are begun early, and with several workers forked from one that never has a job."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional

import pytest

import guards
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.linux import KeeperHandle
from stagerunner.launch.linux import LinuxLauncher
from stagerunner.launch.nursery import Begun
from stagerunner.launch.nursery import begin_early
from stagerunner.searchpath import start_environment
from support import PATIENCE_S
from support import clean_environment
from support import is_alive
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='keepers are for Linux')]

#: A program that tells who its keeper and its keeper's parent are, and waits.
_TELLS = """#!/bin/sh
read -r _ _ _ parent _ < /proc/$PPID/stat
echo "$PPID $parent" > "told-$1"
exec sleep 60
"""


class Yard:
    """A launcher for several jobs, which stand once they told who they are."""

    def __init__(self, root: Path, launcher: LinuxLauncher):
        self.root = root
        self.launcher = launcher
        (root / 'tells.sh').write_text(_TELLS)
        (root / 'tells.sh').chmod(0o755)

    def start(self, task: str, env: Optional[Dict[str, str]] = None) -> List[int]:
        """Start a job and return its keeper and the parent of that."""
        job = Job(task, ('tells.sh', task), env or clean_environment(), str(self.root),
                  str(self.root / f'{task}.log'), None)
        assert self.launcher.start(job) is None
        told = self.root / f'told-{task}'
        wait_until(lambda: told.exists() and told.read_text(), f'{task} to stand')
        return [int(word) for word in told.read_text().split()]

    def end_all(self) -> List[Exit]:
        ends: List[Exit] = []
        self.launcher.stop_all('over', at_once=True)
        while self.launcher.running:
            ends += self.launcher.wait(PATIENCE_S)
        return ends


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    stop = Stop()
    yard = Yard(tmp_path, LinuxLauncher(Clock(), stop))
    yard.launcher.expect(3)
    yield yard
    yard.end_all()
    yard.launcher.close()
    stop.close()
    # What a lost keeper left fell to this process, and is killed.
    wait_until(lambda: not guards.leaked_children(), 'the end of what fell to this process')


def test_keepers_are_forked_from_one_without_a_job_and_are_children_of_the_runner(yard):
    """Who ends one of them, or sweeps what it left, does not meet the others."""
    keepers = {}
    for task in ('a', 'b', 'c'):
        keepers[task], parent = yard.start(task)
        assert parent == os.getpid()
    first, = yard.launcher.first.values()

    assert len({first.process.pid, *keepers.values()}) == 4
    assert [os.getsid(pid) for pid in keepers.values()] == list(keepers.values())
    assert {ended.exit_code for ended in yard.end_all()} == {-signal.SIGKILL}
    assert all(map(is_alive, keepers.values()))
    yard.launcher.close()
    assert not any(map(is_alive, [first.process.pid, *keepers.values()]))


def test_a_keeper_that_is_lost_takes_its_job_along_and_no_other(yard):
    lost, _ = yard.start('a')
    yard.start('b')

    os.kill(lost, signal.SIGKILL)
    ended, = yard.launcher.wait(PATIENCE_S)

    assert (ended.task, ended.exit_code) == ('a', -signal.SIGKILL)
    assert list(yard.launcher.running) == ['b']
    assert yard.start('again')[0] != lost


def test_the_one_without_a_job_is_replaced_when_it_is_lost(yard):
    yard.start('a')
    first, = yard.launcher.first.values()
    os.kill(first.process.pid, signal.SIGKILL)

    assert yard.start('b')[1] == os.getpid()
    assert [ended.task for ended in yard.end_all()] in (['a', 'b'], ['b', 'a'])


def test_a_keeper_has_nothing_open_that_the_runner_had_from_others(yard):
    with open(os.devnull, 'rb') as given:
        os.set_inheritable(given.fileno(), True)
        yard.launcher.coming = KeeperHandle(begun_early())
        keeper, _ = yard.start('a', start_environment(clean_environment()))
    first, = yard.launcher.first.values()

    for pid in (keeper, first.process.pid):
        opened = {os.readlink(entry.path).split(':')[0] for entry in os.scandir(f'/proc/{pid}/fd')
                  if int(entry.name) > 2}
        assert opened <= {'socket', 'pipe'}


def test_with_one_worker_there_is_one_keeper(yard):
    yard.launcher.expect(1)

    keeper, parent = yard.start('a')

    assert parent == os.getpid() and not yard.launcher.first
    assert yard.launcher.busy[0].process.pid == keeper


@pytest.mark.parametrize('is_used', [True, False], ids=['used', 'not used'])
def test_a_keeper_that_was_begun_early_is_used_or_given_up(is_used):
    env, stop = clean_environment(), Stop()
    begun = begin_early(env)
    launcher = LinuxLauncher(Clock(), stop, begun=begun)

    launcher.prepare(sys.executable, start_environment(env), 1)
    if is_used:
        assert launcher.fence(None, start_environment(env)).landlock >= 0
        assert [keeper.process for keeper in launcher.idle] == [begun.process]
    launcher.close()
    stop.close()

    assert not is_alive(begun.process.pid)


def test_the_keepers_of_jobs_that_are_sure_are_there_before_the_jobs(yard):
    env = start_environment(clean_environment())
    yard.launcher.coming = KeeperHandle(begun_early())
    yard.launcher.prepare(sys.executable, env, 2)
    keepers = {yard.start(task, env)[0] for task in ('a', 'b', 'c')}
    first, = yard.launcher.first.values()

    assert len({first.process.pid, *keepers}) == 4
    # The third was asked for when its job came.
    assert not first.asked
    assert len(yard.end_all()) == 3


@pytest.mark.parametrize('has_come', [True, False], ids=['has come', 'is coming'])
def test_keepers_that_nobody_needed_are_ended(yard, has_come):
    env = start_environment(clean_environment())
    yard.launcher.coming = coming = KeeperHandle(begun_early())
    yard.launcher.prepare(sys.executable, env, 3)
    assert len(coming.asked) == 3
    if has_come:
        yard.start('a', env)

    yard.end_all()
    yard.launcher.close()

    assert not guards.leaked_children()


def test_keepers_that_wait_for_their_jobs_outlive_the_loss_of_another_one(yard):
    env = start_environment(clean_environment())
    yard.launcher.coming = KeeperHandle(begun_early())
    yard.launcher.prepare(sys.executable, env, 3)
    lost, _ = yard.start('a', env)
    first, = yard.launcher.first.values()
    assert len(first.asked) == 2

    os.kill(lost, signal.SIGKILL)
    ended, = yard.launcher.wait(PATIENCE_S)

    assert ended.task == 'a' and len(yard.launcher.idle) == 2
    waiting = {keeper.process.pid for keeper in yard.launcher.idle}
    assert {yard.start(task, env)[0] for task in ('b', 'c')} == waiting
    assert len(yard.end_all()) == 2


def test_a_keeper_that_is_lost_before_it_comes_keeps_no_job_from_beginning(yard):
    env = start_environment(clean_environment())
    yard.launcher.coming = coming = KeeperHandle(begun_early())
    yard.launcher.prepare(sys.executable, env, 2)
    coming.process.kill()

    ended = yard.launcher.start(Job('a', ('tells.sh', 'a'), env, str(yard.root),
                                    str(yard.root / 'a.log'), None))

    assert ended is not None and 'keeper did not start' in ended.start_error
    assert len(yard.start('b', env)) == 2
    assert [ended.task for ended in yard.end_all()] == ['b']


def begun_early() -> Begun:
    """Return a keeper on its way."""
    begun = begin_early(clean_environment())
    assert begun is not None
    return begun
