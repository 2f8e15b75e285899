"""Tests of `stagerunner.sharing`: what is tried again on Windows and goes straight on POSIX."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any
from typing import Callable
from typing import Iterator
from typing import List

import pytest

from stagerunner import sharing
from support import is_alive
from support import run_process
from support import wait_until

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.name != 'posix', reason='plays Windows; tests/windows is for the real'),
]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Say that this is Windows, as long as the test runs and nothing else does."""
    with monkeypatch.context() as patch:
        patch.setattr(os, 'name', 'nt')
        yield


class Busy:
    """An act that fails so many times before it works."""

    def __init__(self, failures: int, error: Callable[[], OSError] = PermissionError):
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error()
        return 'done'


def not_empty() -> OSError:
    error: Any = OSError(errno.ENOTEMPTY, 'the directory is not empty')
    error.winerror = 145
    return error


@pytest.mark.parametrize('error', [PermissionError, not_empty])
def test_what_is_in_use_is_tried_again(windows, error):
    act = Busy(3, error)

    assert sharing.patiently(act) == 'done'
    assert act.calls == 4


def test_patience_ends(windows):
    act = Busy(100)

    with pytest.raises(PermissionError):
        sharing.patiently(act, tries=5)
    assert act.calls == 5


def test_other_errors_are_not_waited_for(windows):
    act = Busy(1, FileNotFoundError)

    with pytest.raises(FileNotFoundError):
        sharing.patiently(act)
    assert act.calls == 1


def test_posix_does_not_wait():
    act = Busy(1)

    with pytest.raises(PermissionError):
        sharing.patiently(act)
    assert act.calls == 1


def read_only(path: Any, content: str = 'x') -> str:
    path.write_text(content)
    path.chmod(stat.S_IREAD)
    return str(path)


def test_the_mark_read_only_is_taken_off(tmp_path, windows):
    path = read_only(tmp_path / 'a')

    sharing.make_changeable(path)
    sharing.make_changeable(path + '.missing')

    assert os.stat(path).st_mode & stat.S_IWRITE


def test_the_mark_stays_where_it_protects_nothing(tmp_path):
    path = read_only(tmp_path / 'a')

    sharing.make_changeable(path)

    assert not os.stat(path).st_mode & stat.S_IWRITE


def test_a_flush_leaves_the_mark_as_it_was(tmp_path, windows):
    path = read_only(tmp_path / 'a')

    descriptor = sharing.open_to_flush(path)

    os.close(descriptor)
    assert not os.stat(path).st_mode & stat.S_IWRITE


def test_a_file_opened_for_a_flush_can_be_written(tmp_path):
    path = tmp_path / 'a'
    path.write_text('x')

    descriptor = sharing.open_to_flush(str(path))

    os.write(descriptor, b'y')
    os.close(descriptor)
    assert path.read_text() == 'y'


def test_folders_go_with_what_is_read_only(tmp_path, windows):
    folder = tmp_path / 'folder'
    (folder / 'inner').mkdir(parents=True)
    kept = tmp_path / 'kept'
    names: List[str] = [read_only(folder / 'a'), read_only(folder / 'inner' / 'b')]
    os.symlink(read_only(kept), os.path.join(str(folder), 'link'))

    sharing.remove_folder(str(folder))

    assert not any(os.path.lexists(name) for name in (*names, str(folder)))
    assert os.path.exists(str(kept))


def test_files_go_also_when_they_are_read_only(tmp_path, windows):
    path = read_only(tmp_path / 'a')

    sharing.remove_file(path)

    assert not os.path.lexists(path)


def test_waiting_until_a_file_is_free_changes_nothing(tmp_path, windows):
    path = read_only(tmp_path / 'a', 'content')
    before = os.stat(path)

    sharing.wait_until_free(path)
    sharing.wait_until_free(path + '.missing')

    assert os.stat(path).st_mtime_ns == before.st_mtime_ns
    assert os.listdir(str(tmp_path)) == ['a']


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs /proc')
def test_processes_that_ended_are_told_from_living_ones(tmp_path):
    pid = int(run_process('sh', '-c', 'echo $$', cwd=tmp_path).out)
    wait_until(lambda: not is_alive(pid))

    assert sharing.has_ended(pid)
    assert not sharing.has_ended(os.getpid())
