"""An edit in the tick of the clock in which a file was hashed or published is not missed.

Most kernels stamp files with a clock that goes on every few milliseconds, so
a file that is written twice in between keeps all its times.  Here a tick lasts
a twentieth of a second, and the edit puts the time of modification back: no
stat tells of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import List

import pytest

from engine import Engine
from engine import copies
from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskDone
from stagerunner.files import stat_of
from stagerunner.launch.job import Job
from support import Workspace
from support import stage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    os.name != 'posix', reason='stats are not believed there')]

#: A coarse clock, but within what the runner reckons with.
TICK_NS = 50_000_000

#: An edit that the tick did not wait for is tried again, so often.
TRIALS = 50


class WallClock(FakeClock):
    """The clock of the file system, which is real here; waits for jobs take no time beside."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() + self.monotonic_s


def coarsely(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    """Return a `stat` as a kernel with long ticks has it."""
    def floored(*args: Any, **options: Any) -> os.stat_result:
        found = look(*args, **options)
        return os.stat_result(tuple(found)[:10], {
            'st_atime_ns': found.st_atime_ns,
            'st_mtime_ns': found.st_mtime_ns // TICK_NS * TICK_NS,
            'st_ctime_ns': found.st_ctime_ns // TICK_NS * TICK_NS})
    return floored


@pytest.fixture(autouse=True)
def coarse_clock(monkeypatch):
    for name in ('stat', 'lstat', 'fstat'):
        monkeypatch.setattr(os, name, coarsely(getattr(os, name)))


def edit(path: Path) -> bool:
    """Change the bytes of a file; True when its stat is still the same."""
    before = os.stat(str(path))
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(str(path), ns=(before.st_atime_ns, before.st_mtime_ns))
    return stat_of(os.stat(str(path))) == stat_of(before)


class Trial(Sink):
    """A run of three items, in which a file of the first or second one is edited."""

    def __init__(self, workspace: Workspace, what: str):
        self.workspace = workspace
        self.what = what
        self.was_unseen = False
        for name in 'abc':
            workspace.write(f'data/in/{name}', f'text of {name}')
        workspace.processor('')
        workspace.pipeline(stage('each', forEach='docs', inputs=['{item.path}'],
                                 outputDir='data/out'), items={'docs': {'glob': 'data/in/*'}})
        self.engine = Engine(workspace, FakeLauncher(WallClock()))
        self.engine.launcher.otherwise = Ending(does=self.work, after_s=0.06)
        self.wait_until_settled()

    def wait_until_settled(self) -> None:
        """Return when all that was written so far is older than any tick can blur."""
        end = time.time() + 0.15
        while time.time() < end:
            time.sleep(0.01)

    def work(self, job: Job) -> None:
        """Do what the processor does; the last one takes so long that former outputs settle."""
        copies(job)
        if job.task == 'each[a]' and self.what == 'input':
            self.workspace.write('data/in/b', 'written just before it is hashed')
        if job.task == 'each[b]' and self.what == 'input':
            self.edit('data/in/b')
        if job.task == 'each[c]' and not self.what:
            self.wait_until_settled()

    def receive(self, event: Event) -> None:
        if isinstance(event, TaskDone) and event.task == 'each[a]' and self.what == 'output':
            self.edit('data/out/a')

    def edit(self, name: str) -> None:
        """Edit a file, and nothing from then on."""
        self.what = ''
        self.was_unseen = edit(self.workspace.path(name))

    def ran(self) -> List[str]:
        """Run again and return what had to be done."""
        assert self.engine.run() == 0
        return self.engine.ran()


@pytest.mark.parametrize(('what', 'edited'), [
    ('output', 'each[a]'), ('output at the end', 'each[c]'), ('input', 'each[b]')])
def test_an_edit_of_which_no_stat_tells_is_seen(tmp_path, what, edited):
    for number in range(TRIALS):
        trial = Trial(Workspace(tmp_path / str(number)), what)
        try:
            assert trial.engine.run(sinks=[trial]) == 0
            if what == 'output at the end':
                trial.edit('data/out/c')

            # An edit that shows may have been met by the first run already.
            assert trial.ran() in ([edited], [edited] if trial.was_unseen else [])
            assert trial.ran() == []
        finally:
            trial.engine.close()
        for name in 'abc':
            assert (trial.workspace.path(f'data/out/{name}').read_bytes()
                    == trial.workspace.path(f'data/in/{name}').read_bytes())
        if trial.was_unseen:
            return
    pytest.fail('no edit fell into the tick')
