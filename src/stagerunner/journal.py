"""The journal beside a SQLite file (its WAL), flushed after the lock of the writers was let go.

With `synchronous=FULL` SQLite flushes it within the commit, so under the lock,
and the next writer waits for the disk twice: for the flush of the one before
him, and for his own.  Here SQLite only orders its writes (`NORMAL`: the file
is sound whatever is lost), and whoever committed flushes the journal, while
the next one is at work already.  Nothing is told before that.  A flush takes
along all that the journal held when it began, so whatever somebody saw of
others before he wrote is on the disk with his own part.

**A flush that fails** is told once for each descriptor, and what should have
been written may be gone (fsyncgate).  A frame that is missing cuts off all
that follow.  So a failed one is never tried again: who hears of it (all who
have the journal open do, by their next flush) has nothing acknowledged and
first moves what the journal holds into the file (`empty`).
"""

from __future__ import annotations

import os
from typing import Any

from stagerunner.errors import StateError
from stagerunner.errors import os_fault

#: Where the journal ends is told by its frames, so no times or sizes have to be flushed.
_flush = os.fdatasync if hasattr(os, 'fdatasync') else os.fsync

_OPEN = (os.O_RDWR | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_NOINHERIT', 0)
         | getattr(os, 'O_BINARY', 0))


class Journal:
    """The journal of the database at `path`, which is there while anybody is connected to it."""

    def __init__(self, path: str):
        self._path = path
        self._descriptor = self._try(os.open, f'{path}-wal', _OPEN)

    def flush(self) -> None:
        """Return when all that was committed before is on the disk."""
        self._try(_flush, self._descriptor)

    def close(self) -> None:
        """Let go of it; before the connection, or Windows could not remove the file."""
        os.close(self._descriptor)

    def _try(self, call: Any, *values: Any) -> Any:
        try:
            return call(*values)
        except OSError as error:
            raise StateError(self._path, os_fault(error)) from error


def empty(connection: Any) -> bool:
    """Move all that the journal holds into the file; False when somebody is reading for long.

    The lock of the writers is held.
    """
    return not connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0]
