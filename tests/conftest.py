"""Fixtures of all tests, the guards around each of them, and the header of a test run."""

from __future__ import annotations

import os
import platform
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import List

import pytest

import guards
from engine import Engine
from fakes import FakeClock
from fakes import FakeLauncher
from fakes import ListSink
from stagerunner.cli import main as run_command_line
from support import Finished
from support import Workspace
from support import run_cli as run_front_door

#: Random tests start from here; a failure is repeated with the same number.
SEED = int(os.environ.get('STAGERUNNER_TEST_SEED', '20251114'))

# Who starts the tests in the background may ignore signals, and what is ignored is inherited: the
# runner would then, rightly, not be ended by them.
for _name in ('SIGINT', 'SIGHUP', 'SIGTERM'):
    if getattr(signal, _name, None) and signal.getsignal(getattr(signal, _name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, _name),
                      signal.default_int_handler if _name == 'SIGINT' else signal.SIG_DFL)

_watch = guards.Watch()
_watch.install()


def pytest_report_header() -> List[str]:
    """Say what the results depend on."""
    try:
        from sqlite3 import sqlite_version
    except ImportError:
        sqlite_version = 'missing'
    blind = '' if guards.HAS_AUDIT else '; no audit events: guards of network and files are blind'
    return [f'Python {platform.python_version()} ({sys.executable}), SQLite {sqlite_version}, '
            f'random seed {SEED} (STAGERUNNER_TEST_SEED){blind}']


# -- guards ------------------------------------------------------------------------

@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test in its own folder, so that nothing lands in the checkout by chance."""
    monkeypatch.chdir(tmp_path)
    random.seed(SEED)


@pytest.fixture(autouse=True)
def _no_trespass(_own_folder: None) -> Iterator[None]:
    """Fail a test that used the network or wrote into the checkout, swallowed or not."""
    del _watch.refused[:]
    _watch.is_on = True
    yield
    _watch.is_on = False
    if _watch.refused:
        pytest.fail('refused: ' + '; '.join(_watch.refused))


@pytest.fixture(autouse=True)
def _no_leaks(tmp_path: Path, _own_folder: None) -> Iterator[None]:
    """Fail a test that leaves a thread, a child, or a process in its folder behind."""
    before = threading.enumerate()
    yield
    left = guards.leaked_children() + guards.leaked_processes(tmp_path)
    left += [repr(thread) for thread in guards.new_threads(before)]
    if left:
        pytest.fail('left behind: ' + '; '.join(left))


@pytest.fixture
def watch() -> guards.Watch:
    """Give tests of the guards access to what was refused."""
    return _watch


# -- things to work with -------------------------------------------------------------

@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a folder in which a pipeline can be made: `workspace.simple()` is a whole one."""
    root = tmp_path / 'workspace'
    root.mkdir()
    return Workspace(root)


@pytest.fixture
def run_cli() -> Callable[..., Finished]:
    """Return `support.run_cli`: the front door as a real process."""
    return run_front_door


@pytest.fixture
def main(capsys: pytest.CaptureFixture) -> Callable[..., Finished]:
    """Return the command line within this process: `main('--pipeline', file)` to `Finished`."""
    def call(*args: Any) -> Finished:
        capsys.readouterr()
        code = run_command_line([str(arg) for arg in args])
        printed = capsys.readouterr()
        return Finished(code, printed.out, printed.err)
    return call


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that the test turns by hand."""
    return FakeClock()


@pytest.fixture
def sink() -> ListSink:
    """Return a receiver that keeps all events."""
    return ListSink()


@pytest.fixture
def launcher(clock: FakeClock) -> FakeLauncher:
    """Return a launcher without processes, on the test's clock."""
    return FakeLauncher(clock)


@pytest.fixture
def engine(workspace: Workspace, launcher: FakeLauncher) -> Iterator[Engine]:
    """Return the engine on `workspace` in this process, with the test's launcher and clock."""
    engine = Engine(workspace, launcher)
    yield engine
    engine.close()


@pytest.fixture
def real_engine(workspace: Workspace) -> Iterator[Engine]:
    """Return the engine on `workspace` in this process, with real processes and time."""
    engine = Engine(workspace)
    yield engine
    engine.close()


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> List[str]:
    """Return the paths of what was flushed to the disk so far, in order (Linux)."""
    paths: List[str] = []
    plain = os.fsync

    def fsync(descriptor: int) -> None:
        plain(descriptor)
        paths.append(os.readlink(f'/proc/self/fd/{descriptor}'))

    monkeypatch.setattr(os, 'fsync', fsync)
    return paths


@pytest.fixture
def rng() -> random.Random:
    """Return a source of randomness that gives the same numbers in every run."""
    return random.Random(SEED)
