"""Files that others have open: what POSIX never minds and Windows refuses.

Windows does not replace or remove a file while somebody has it open, does not
open one that is just being replaced, and touches no file that is marked as
read-only.  Most who look at a file are quick, so all of this is tried again
for a while.  On POSIX every call goes straight through.
"""

from __future__ import annotations

import os
import stat
import sys

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable
    from typing import TypeVar

    _Answer = TypeVar('_Answer')

#: So often is a change tried, and so often a look, with so many seconds in between.
_TRIES = 100
_LOOKS = 20
_PAUSE_S = 0.01

#: The error of a folder whose last file is still about to vanish.
_NOT_EMPTY = 145



def patiently(act: Callable[[], _Answer], tries: int = _TRIES) -> _Answer:
    """Return what `act` returns, called again while it fails because a file is in use."""
    for _ in range(tries - 1 if os.name == 'nt' else 0):
        try:
            return act()
        except OSError as error:
            is_in_use = (isinstance(error, PermissionError)
                         or getattr(error, 'winerror', 0) == _NOT_EMPTY)
            if not is_in_use:
                raise
            pause(_PAUSE_S)
    return act()


def pause(seconds: float) -> None:
    """Hold up this thread: for what is over in a moment, or because its owner asked for it."""
    import threading

    threading.Event().wait(seconds)


def wait_until_free(path: str) -> None:
    """Return when the file at `path`, if there is one, could be replaced; changes nothing."""
    if os.name == 'nt' and os.path.lexists(path):
        # Renaming a file to its own name asks for all that replacing it needs.
        patiently(lambda: os.rename(path, path))


def remove_file(path: str) -> None:
    """Remove a file or a link, read-only ones too."""
    make_changeable(path)
    patiently(lambda: os.unlink(path))


def remove_folder(path: str) -> None:
    """Remove a folder with all that is in it; links are removed, not followed."""
    import shutil

    for base, _, files in os.walk(path) if os.name == 'nt' else ():
        for name in files:
            make_changeable(os.path.join(base, name))
    patiently(lambda: shutil.rmtree(path))


def open_file(path: str, flags: int) -> int:
    """Return a descriptor of an existing file (a folder is refused at once)."""
    tries = 1 if os.name != 'nt' or os.path.isdir(path) else _LOOKS
    return patiently(lambda: os.open(path, flags), tries)


def open_to_flush(path: str) -> int:
    """Return a descriptor that Windows takes for a flush: one that could write."""
    mode = os.stat(path).st_mode
    make_changeable(path)
    try:
        return open_file(path, os.O_RDWR | getattr(os, 'O_BINARY', 0))
    finally:
        if not mode & stat.S_IWRITE:
            os.chmod(path, mode)


def make_changeable(path: str) -> None:
    """Take the mark `read-only` off a file where that is what protects it."""
    try:
        if os.name == 'nt' and not os.lstat(path).st_mode & stat.S_IWRITE:
            os.chmod(path, stat.S_IREAD | stat.S_IWRITE)
    except FileNotFoundError:
        pass


def has_ended(pid: int) -> bool:
    """True when there is no process with this id any more; False when in doubt."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        import ctypes

        kernel = ctypes.WinDLL('kernel32', use_last_error=True)
        synchronize, no_such_process = 0x100000, 87
        process = kernel.OpenProcess(synchronize, False, pid)
        if not process:
            return ctypes.get_last_error() == no_such_process
        try:
            return bool(kernel.WaitForSingleObject(process, 0) == 0)
        finally:
            kernel.CloseHandle(process)
    try:
        with open(f'/proc/{pid}/stat', 'rb') as status:
            # One that ended and that nobody waited for is a zombie for as long as that takes.
            return status.read().rpartition(b')')[2].split()[0] in (b'Z', b'X')
    except (FileNotFoundError, ProcessLookupError):
        return os.path.isdir('/proc/self')
