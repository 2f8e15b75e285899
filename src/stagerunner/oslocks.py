"""The operating system's lock on an open file: `flock` on POSIX, a locked byte on Windows."""

from __future__ import annotations

import os
import sys

#: Windows locks bytes, not files; this one lies far beyond any content.
_BYTE = 0x40000000


def try_descriptor(descriptor: int, *, is_shared: bool = False) -> bool:
    """Take the lock on an open file, or return False at once; shared ones exclude no other."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        import msvcrt

        if is_shared:
            return True
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor,
                    (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_descriptor(descriptor: int) -> None:
    """Take the lock on an open file; on Windows it may not have been got (`try_descriptor`)."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        import msvcrt

        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        except OSError:
            # It gives up after ten seconds; whoever waits tries again.
            pass
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


def unlock(descriptor: int) -> None:
    """Let go at once where closing the file lets go only some time later (Windows)."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        import msvcrt

        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        except OSError:
            # Closing it does the same.
            pass


def unlock_at_once(descriptor: int) -> None:
    """Let go of a lock whose file stays open."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        unlock(descriptor)
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_UN)
