"""A full disk ends a run truthfully, costs nothing that was there, and blocks nothing later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator
from typing import List

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import environment
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import outputs
from faults.harness import run
from faults.harness import spread
from faults.harness import unparsable
from stagerunner.launch.capture import SEAM
from support import PATIENCE_S
from support import Finished
from support import Workspace

PAGE = 4096
N_PAGES = 256

#: Ways to get a file system of one's own: as root, or as root of a user namespace.
_WAYS = (['unshare', '-m'], ['unshare', '-U', '-r', '-m'])


class Disk:
    """A small file system that only the processes started by `run` and `/proc` see."""

    def __init__(self, mount: Path, way: List[str], size: str):
        self.mount = mount
        self.is_user = '-U' in way
        script = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo ready && exec cat'
        self.holder = subprocess.Popen([*way, 'sh', '-c', script, str(mount), size], cwd='/',
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, env=environment())
        assert self.holder.stdout
        self.is_ready = self.holder.stdout.readline() == b'ready\n'
        #: The same folder as seen from here.
        self.seen = Path(f'/proc/{self.holder.pid}/root{mount}')

    def run(self, command: List[str]) -> Finished:
        """Run a command that sees the file system, in its folder."""
        enter = ['nsenter', '-t', str(self.holder.pid), '-m']
        enter += ['-U', '--preserve-credentials'] if self.is_user else []
        return run([*enter, 'sh', '-c', 'cd "$0" && exec "$@"', str(self.mount), *command],
                   cwd='/')

    def fill(self, free_pages: int) -> None:
        """Leave so many pages free."""
        found = os.statvfs(str(self.seen))
        size = (found.f_bfree - free_pages) * found.f_bsize
        with open(str(self.seen / 'ballast'), 'wb') as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, size))

    def free(self) -> int:
        """Return how many pages are free."""
        return os.statvfs(str(self.seen)).f_bfree

    def make_room(self) -> None:
        """Undo `fill`."""
        os.unlink(str(self.seen / 'ballast'))

    def clear(self) -> None:
        """Remove everything."""
        for path in self.seen.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(str(path))
            else:
                path.unlink()

    def close(self) -> None:
        """Give the file system back."""
        self.holder.communicate(timeout=PATIENCE_S)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """Return a file system of 1 MiB, or as large as asked for, where this user may make one."""
    if not sys.platform.startswith('linux'):
        pytest.skip('a file system of one\'s own needs Linux')
    if not (shutil.which('unshare') and shutil.which('nsenter')):
        pytest.skip('unshare and nsenter are not installed')
    mount = tmp_path / 'disk'
    mount.mkdir()
    for way in _WAYS:
        made = Disk(mount, way, getattr(request, 'param', '1m'))
        try:
            if made.is_ready:
                yield made
                return
        finally:
            made.close()
    pytest.skip('this user cannot mount a tmpfs: neither as root nor in a user namespace')


#: The same work by a program that knows nothing of checkpoints.
TR = """#!/bin/sh
exec tr a-z A-Z <"$1" >"$PIPELINE_OUTPUT_DIR/result.txt"
"""


class Subject:
    """A workspace on a small disk: at its beginning, or after a success with an older input."""

    def __init__(self, disk: Disk, install: Install, tmp_path: Path, upper: str, *,
                 has_past: bool, n_lines: int):
        self.disk = disk
        self.install = install
        self.text = make_text(n_lines, seed=2)
        self.seen = Workspace(disk.seen)
        self.inside = Workspace(disk.mount)
        demo = make_demo(tmp_path / 'demo', install, make_text(n_lines - 100), upper=upper)
        if not upper.endswith('.py'):
            demo.processor(TR, upper)
        self.past = demo.root
        self.old = {}
        if has_past:
            assert install.run(demo).code == 0
            self.old = outputs(demo)
        self.start_over()
        assert self.run().code == 0
        self.new = outputs(self.seen)

    def run(self) -> Finished:
        """Run the pipeline where it sees the small disk."""
        return self.disk.run(self.install.command(self.inside))

    def start_over(self) -> None:
        """Go back to the beginning, and put the newer input in."""
        self.disk.clear()
        for path in self.past.iterdir():
            target = str(self.disk.seen / path.name)
            if path.is_dir():
                shutil.copytree(str(path), target)
            else:
                shutil.copy2(str(path), target)
        self.seen.write('data/input/sample.txt', self.text)

    def check_after_fault(self, done: Finished) -> None:
        """Assert that a run on a full disk told the truth and left what there was."""
        assert done.code in (0, 5), done
        assert 'bug' not in done.err, done
        assert done.code == 0 or 'no space left on device' in done.err.lower(), done
        assert not unparsable(self.seen)
        found = [path for path in leftovers(self.seen)
                 if not path.endswith('.stage_upper.partial')]
        assert not found, f'{found} left by {done}'
        there = outputs(self.seen)
        assert there.keys() >= self.old.keys()
        for name, data in there.items():
            assert data in (self.old.get(name), self.new[name]), f'{name} is neither old nor new'

    def check_recovery(self) -> None:
        """Assert that with room again one run does what was left to do."""
        done = self.run()
        assert done.code == 0, done
        assert outputs(self.seen) == self.new
        assert not leftovers(self.seen), leftovers(self.seen)
        again = self.run()
        assert again.code == 0 and again.err == '' and again.out.count('[SKIP]') == 2, again


#: Processor, whether there was a success before, lines of input.
SUBJECTS = {'fresh': ('bin/stage_upper.py', False, 9000),
            'after-success': ('bin/stage_upper.py', True, 6500),
            'program': ('bin/upper', False, 9000)}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('upper', 'has_past', 'n_lines', 'size'), [
    pytest.param(*SUBJECTS['after-success'], 3, id='after-success-sample'),
    pytest.param(*SUBJECTS['program'], 2, id='program-sample'),
    *(pytest.param(*subject, N_PAGES, id=f'{name}-full', marks=pytest.mark.campaign)
      for name, subject in SUBJECTS.items())])
def test_a_full_disk_ends_with_exit_code_5(upper: str, has_past: bool, n_lines: int, size: int,
                                           disk: Disk, tmp_path: Path,
                                           install: Install) -> None:
    """Every level of filling: state, locks, copies, partial outputs or markers do not fit."""
    tally = Tally(f'disk-full {upper} {"after a success" if has_past else "fresh"}', SEED)
    subject = Subject(disk, install, tmp_path, upper, has_past=has_past, n_lines=n_lines)
    subject.start_over()
    tally.notes.update(full=0, fits=0)
    for free_pages in spread(range(disk.free()), size):
        subject.start_over()
        disk.fill(free_pages)
        with tally.trial(f'{free_pages} pages free') as trial:
            assert disk.free() <= free_pages
            trial.fired()
            done = subject.run()
            tally.notes['full' if done.code else 'fits'] += 1
            subject.check_after_fault(done)
            disk.make_room()
            subject.check_recovery()
    tally.conclude()
    assert tally.notes['full'] and tally.notes['fits']


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('disk', [pytest.param('13m', id='13-MiB')], indirect=True)
def test_a_log_that_cannot_be_put_in_order_leaves_nothing_beside_it(disk: Disk,
                                                                    install: Install) -> None:
    """Ten MiB are kept of a flood; to put them in order takes as much again for a moment."""
    seen = Workspace(disk.seen).simple('print("x" * (12 << 20))\n')

    done = disk.run(install.command(Workspace(disk.mount), '--run-id', 'r'))

    assert done.code == 0, done
    logs = seen.contents('state/logs/r')
    assert list(logs) == ['work.1.log']
    assert len(logs['work.1.log']) == (10 << 20) + len(SEAM)
