"""Tests of `stagerunner.launch.keeper`: with one job at a time its fork waits for it."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

import guards
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.linux import LinuxLauncher
from stagerunner.launch.processes import descendants
from support import PATIENCE_S
from support import clean_environment
from support import is_alive
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.skipif(
    not sys.platform.startswith('linux'), reason='keepers are for Linux')]

TELLS = 'import os, sys\nopen(sys.argv[1], "w").write(f"{os.getpid()} {os.environ[\'WHO\']}")\n'
TELLS_TOO = '#!/bin/sh\necho "$$ $WHO" >"$1"\n'


class Yard:
    """A launcher for one job at a time; a job tells its process and a variable."""

    def __init__(self, root: Path, launcher: LinuxLauncher):
        self.root = root
        self.launcher = launcher

    def run(self, name: str, text: str = TELLS, script: str = 'tells.py', **fields: Any) -> Exit:
        path = self.root / script
        path.write_text(text)
        path.chmod(0o755)
        is_python = script.endswith('.py')
        digest = hashlib.sha256(text.encode()).hexdigest()
        job = Job(**dict({
            'task': name, 'argv': (script, name), 'env': dict(clean_environment(), WHO=name),
            'cwd': str(self.root), 'log_path': str(self.root / f'{name}.log'),
            'python': sys.executable if is_python else None, 'pinned': ((str(path), digest),)},
            **fields))
        assert self.launcher.start(job) is None
        ends: List[Exit] = []
        while not ends:
            ends = self.launcher.wait(PATIENCE_S)
        return ends[0]

    def told(self, name: str) -> List[str]:
        return (self.root / name).read_text().split()

    @property
    def keeper(self) -> int:
        return int(self.launcher.idle[0].process.pid)

    def waiting(self) -> int:
        """Return the fork that waits for its job, as soon as it is there."""
        wait_until(lambda: bool(descendants(self.keeper)), 'a fork that waits')
        fork, = descendants(self.keeper)
        return fork


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    stop = Stop()
    yard = Yard(tmp_path, LinuxLauncher(Clock(), stop))
    yield yard
    yard.launcher.close()
    stop.close()
    wait_until(lambda: not guards.leaked_children(), 'the end of what fell to this process')


def test_the_fork_of_the_next_job_waits_for_it(yard):
    for name in ('first', 'second', 'third'):
        assert yard.run(name).exit_code == 0
        assert yard.told(name)[1] == name
        fork = yard.waiting()
        assert yard.run('again').exit_code == 0
        assert yard.told('again') == [str(fork), 'again']


def test_a_fork_that_waited_may_become_any_job(yard):
    yard.run('first')
    fork = yard.waiting()
    assert yard.run('other', 'import sys\nsys.exit(3)\n', 'other.py').exit_code == 3
    fork = yard.waiting()
    assert yard.run('program', TELLS_TOO, 'tells.sh').exit_code == 0
    assert yard.told('program') == [str(fork), 'program']
    assert yard.run('gone', cwd=str(yard.root / 'nowhere')).exit_code == 127
    assert yard.run('last').exit_code == 0


def test_a_script_that_changed_meanwhile_is_run_as_it_was_checked(yard):
    for number in range(4):
        name = f'run{number}'
        assert yard.run(name, f'{TELLS}# {number}\n').exit_code == 0
        yard.waiting()
    text = TELLS + '# checked\n'
    wrong = hashlib.sha256(b'other').hexdigest()

    ended = yard.run('late', text, pinned=((str(yard.root / 'tells.py'), wrong),))

    assert ended.exit_code == 75 and not (yard.root / 'late').exists()


def test_with_several_jobs_at_a_time_nothing_is_forked_in_vain(yard):
    yard.launcher.expect(2)
    for name in ('first', 'second'):
        assert yard.run(name).exit_code == 0
        assert descendants(yard.keeper) == []


def test_a_fork_that_waits_dies_with_its_keeper(yard):
    yard.run('first')
    fork = yard.waiting()

    os.kill(yard.keeper, signal.SIGKILL)

    wait_until(lambda: not is_alive(fork), 'the end of the fork')


def test_a_fork_that_is_killed_while_it_waits_takes_its_keeper_along_and_no_job(yard):
    yard.run('first')
    keeper = yard.keeper
    os.kill(yard.waiting(), signal.SIGKILL)
    wait_until(lambda: not is_alive(keeper), 'the end of the keeper')

    assert yard.run('second').exit_code == 0
    assert yard.keeper != keeper


def test_nothing_is_left_when_the_launcher_is_closed(yard):
    yard.run('first')
    fork, keeper = yard.waiting(), yard.keeper

    yard.launcher.close()

    assert not is_alive(fork) and not is_alive(keeper)
