"""A large JSON file that is brought up to date at constant cost: snapshots, and a journal beside.

`<file>` is always a whole snapshot, replaced seldom.  Each change in between
is one line appended to `<file>.journal`, whose first line names the snapshot
that it goes on from: beside any other one it counts for nothing, so there is
no moment at which a kill could lose a change or count one twice.  The journal
is also the lock under which all of this happens.  A line that was cut short
by a kill is nobody's: its writer was never told of success.
"""

from __future__ import annotations

import os
from binascii import crc32

from stagerunner.clock import Clock
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import append
from stagerunner.files import parse_json
from stagerunner.files import read_bytes
from stagerunner.files import write_blocks
from stagerunner.locks import Turns
from stagerunner.locks import beside
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.state.lines import append_or_cut
from stagerunner.state.lines import is_sealed
from stagerunner.state.lines import seal

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterable
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Tuple

#: Nobody's checkpoint file is larger, in bytes.
LARGEST = 1 << 31

#: A snapshot that takes t seconds comes after so many times t without one: 5 % of the time.
_REST = 19

#: What spelling and writing an entry takes at the least, in seconds: the guess for the first time.
_PER_ENTRY_S = 4e-6

#: So many are not worth counting.
_FEW = 100


class Content(NamedTuple):
    """A snapshot, and the changes since then."""

    data: Any
    changes: Tuple[Dict[str, Any], ...]


class Snapshots:
    """One such file.  All but `is_due` and `exists` belong into a turn: `with snapshots:`."""

    def __init__(self, path: str, clock: Clock):
        self.path = os.path.abspath(path)
        self.clock = clock
        self._turns = Turns(beside(self.path))
        self._descriptor = -1
        #: The first line of a journal that goes on from the snapshot that was seen last.
        self._head = b''
        self._end = 0
        self._ended_s = clock.monotonic()
        self._cost_s = 0.0

    def exists(self) -> bool:
        """True when there is a file that is not empty."""
        try:
            return os.stat(self.path).st_size > 0
        except OSError:
            return False

    def has_journal(self) -> bool:
        """True when there is a journal beside the file, whatever is in it."""
        return os.path.exists(self._turns.path)

    def __enter__(self) -> Snapshots:
        self._descriptor = self._turns.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._descriptor = -1
        self._turns.__exit__(*error)

    # -- reading ---------------------------------------------------------------

    def read(self) -> Optional[Content]:
        """Return what the file and its journal hold, None for a missing or empty file.

        Raises `StateError` for a file that is not JSON, which is left as it is.
        """
        try:
            raw = read_bytes(self.path, LARGEST)
        except FileNotFoundError:
            return None
        except Unreadable as error:
            raise StateError(self.path, error.fault) from error
        if not raw.strip():
            return None
        try:
            data = parse_json(raw, self.path)
        except Unreadable as error:
            raise StateError(self.path, f'{error.fault}; rename it to begin a new one') from error
        self._head = _head(len(raw), crc32(raw))
        found = self._read_from(0)
        if not found.startswith(self._head):
            if self._descriptor >= 0:
                self._begin_journal()
            return Content(data, ())
        changes, length = _changes(found[len(self._head):])
        self._end = len(self._head) + length
        return Content(data, tuple(changes))

    def news(self) -> Optional[List[Dict[str, Any]]]:
        """Return what others appended since; None when all has to be read again."""
        size = os.fstat(self._descriptor).st_size
        if not self._is_ours():
            return None
        if size == self._end:
            return []
        changes, length = _changes(self._read_from(self._end))
        self._end += length
        return changes

    def _is_ours(self) -> bool:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return bool(self._head) and os.read(self._descriptor, len(self._head)) == self._head

    def _read_from(self, place: int) -> bytes:
        try:
            if self._descriptor < 0:
                return b''
            os.lseek(self._descriptor, place, os.SEEK_SET)
            blocks: List[bytes] = []
            while True:
                block = os.read(self._descriptor, 1 << 20)
                if not block:
                    return b''.join(blocks)
                blocks.append(block)
        except OSError as error:
            raise StateError(self._turns.path, os_fault(error)) from error

    # -- writing ---------------------------------------------------------------

    def append(self, change: Dict[str, Any]) -> None:
        """Keep a change; comes after `news`, in the same turn."""
        data = seal(change)
        try:
            if os.fstat(self._descriptor).st_size != self._end:
                # The rest of an append that was killed.
                os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            append_or_cut(self._descriptor, data, self._end, durable=False)
        except OSError as error:
            raise StateError(self._turns.path, os_fault(error)) from error
        self._end += len(data)

    def write(self, blocks: Iterable[bytes], *, durable: bool) -> None:
        """Make a new snapshot, which is to hold all that the journal does."""
        began_s = self.clock.monotonic()
        seal_of = _Sum()
        write_blocks(self.path, seal_of.over(blocks), durable=durable)
        self._head = _head(seal_of.size, seal_of.crc)
        if self._descriptor >= 0:
            self._begin_journal()
        self._ended_s = self.clock.monotonic()
        self._cost_s = self._ended_s - began_s

    def is_due(self, n_entries: int, *, floor_s: float) -> bool:
        """True when a snapshot may be made without taking more than 5 % of the time.

        `floor_s` is how long the last one has to be ago at the least.
        """
        cost_s = max(self._cost_s, (n_entries - _FEW) * _PER_ENTRY_S)
        return self.clock.monotonic() - self._ended_s >= max(floor_s, _REST * cost_s)

    def _begin_journal(self) -> None:
        self._end = 0
        try:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            append(self._descriptor, self._head, durable=False)
        except OSError as error:
            raise StateError(self._turns.path, os_fault(error)) from error
        self._end = len(self._head)

    def discard_journal(self) -> None:
        """Remove the journal: the snapshot is the last one."""
        if self._is_ours():
            self._turns.discard()

    def close(self) -> None:
        """Let go of the journal."""
        self._turns.close()


class _Sum:
    """Size and checksum of blocks on their way."""

    def __init__(self) -> None:
        self.size = self.crc = 0

    def over(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.size += len(block)
            self.crc = crc32(block, self.crc)
            yield block


def _head(size: int, crc: int) -> bytes:
    return seal({'format': 1, 'after': size, 'sum': f'{crc:08x}'})


def _changes(data: bytes) -> Tuple[List[Dict[str, Any]], int]:
    """Return the changes up to the first line that is not whole, and how many bytes they take."""
    found, length = [], 0
    for line in data.splitlines(keepends=True):
        if line[-1:] != b'\n' or not is_sealed(line[:-1]):
            break
        found.append(parse_json(line, 'journal'))
        length += len(line)
    return found, length
