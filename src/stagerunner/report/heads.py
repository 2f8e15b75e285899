"""The journal of heads: where the audit of each run begins and ends, itself a chain.

An entry when a run begins, and one when it has ended, both on the disk when
they are written.  What a run tells follows from the entry with which it began;
the hash of its last record stands in the entry with which it ended.  So each
run is held by those after it, also when several are alive at once.  Entries are
appended under a lock of the journal's own.  Every one has the runs that are
open, so that nobody needs to read more than the last one: whoever begins closes
those that died, as `crashed`, with what is whole of them.
"""

from __future__ import annotations

import os
import stat

from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.files import digest_bytes
from stagerunner.files import sync_file
from stagerunner.files import sync_folder
from stagerunner.locks import audit_lock
from stagerunner.locks import take_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.report.chain import NEWER
from stagerunner.report.chain import START
from stagerunner.report.chain import Key
from stagerunner.report.chain import Row
from stagerunner.report.chain import encode
from stagerunner.report.chain import seal
from stagerunner.report.chain import unseal
from stagerunner.report.trail import open_journal
from stagerunner.state.lines import append_or_cut
from stagerunner.state.names import StateNames
from stagerunner.state.run import is_dead

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

#: What the entries of the journal are called.
OPENED, CLOSED = 'run_opened', 'run_closed'

#: How a run ended that nobody saw ending; `LOST`: its file was gone by then.
CRASHED, LOST = 'crashed', 'lost'

#: How much of the journal's end is read first, in bytes.
_BLOCK = 4096

_APPEND = (os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, 'O_BINARY', 0)
          | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
          | getattr(os, 'O_CLOEXEC', 0))


class Section(NamedTuple):
    """What one start of a run has added to its file, from `offset` up to `size`."""

    offset: int
    size: int
    n_records: int
    last: str


class _Last(NamedTuple):
    """The last entry of the journal, and the size up to which the journal is whole."""

    seq: int
    hash: str
    open: Tuple[str, ...]
    size: int


class Heads:
    """Appends to the journal of heads of a workspace."""

    def __init__(self, names: StateNames, key: Optional[Key] = None):
        self.names = names
        self.root = os.path.dirname(names.folder)
        self.path = names.audit_head()
        self.key = key

    def begin(self, run_id: str, at: str, descriptor: int, *, is_new: bool) -> Tuple[str, int]:
        """Note that a run begins; return what its first record follows and where that goes.

        `descriptor` is its open file, which there was not before if it `is_new`.
        Raises `StateError`.
        """
        with take_lock(audit_lock(self.root)), _Journal(self.path, self.key) as journal:
            for other in journal.last.open:
                # Whoever calls holds the lock of its own run.
                if other == run_id or is_dead(self.root, other):
                    journal.add(other, at, CLOSED,
                                self._left_by(other, is_gone=is_new and other == run_id))
            offset = _end_of(descriptor)
            journal.add(run_id, at, OPENED, {'offset': offset})
            journal.write()
            return journal.last.hash, offset

    def end(self, run_id: str, at: str, ended: str, section: Section) -> str:
        """Note how a run ended, and return the hash of that entry."""
        with take_lock(audit_lock(self.root)), _Journal(self.path, self.key) as journal:
            journal.add(run_id, at, CLOSED, _closing(ended, section))
            journal.write()
            return journal.last.hash

    def _left_by(self, run_id: str, *, is_gone: bool) -> Dict[str, Any]:
        """Return how the audit of a dead run ended; half a record at its end is cut off."""
        start, offset = self._opening(run_id)
        path = self.names.audit(run_id)
        source = None if is_gone else open_journal(path)
        if source is None:
            return _closing(LOST, Section(offset, offset, 0, start))
        with source:
            source.seek(offset)
            row = Row(source, start, run_id)
            for _ in row:
                pass
        if row.tail:
            _cut(path, row.size)
        sync_file(path)
        return _closing(CRASHED, Section(offset, row.size, row.n_lines, row.last))

    def _opening(self, run_id: str) -> Tuple[str, int]:
        found = START, 0
        source = open_journal(self.path)
        if source is not None:
            with source:
                for entry in Row(source, START):
                    values = entry.values
                    if values.get('event') == OPENED and values.get('runId') == run_id:
                        found = entry.hash, int(values['offset'])
        return found


def open_to_append(path: str) -> int:
    """Return a descriptor of a journal, made if there is none, or raise `StateError`."""
    try:
        descriptor = os.open(path, _APPEND, 0o666)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StateError(path, 'is not a regular file; move it away')
    return descriptor


def _closing(ended: str, section: Section) -> Dict[str, Any]:
    return {'ended': ended, 'offset': section.offset, 'size': section.size,
            'records': section.n_records, 'last': section.last}


def _cut(path: str, size: int) -> None:
    descriptor = os.open(path, _APPEND & ~os.O_CREAT)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _end_of(descriptor: int) -> int:
    """Return the size of a file that ends with a whole line, which it may have to be given."""
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b'\n':
            size += os.write(descriptor, b'\n')
    return size


class _Journal:
    """The journal while its lock is held: its last entry, and those that are about to follow."""

    def __init__(self, path: str, key: Optional[Key]):
        self.path = path
        self.key = key
        self.lines: List[bytes] = []

    def __enter__(self) -> _Journal:
        self.descriptor = open_to_append(self.path)
        try:
            self.last = self._find_last()
        except BaseException as error:
            os.close(self.descriptor)
            if isinstance(error, OSError):
                raise StateError(self.path, os_fault(error)) from error
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        os.close(self.descriptor)

    def _find_last(self) -> _Last:
        """Return the last whole entry; what a crash left after it is cut off.

        A damaged entry stays where it is, for `audit verify` to name, and what
        follows is chained to its bytes.
        """
        size = os.fstat(self.descriptor).st_size
        lines = self._last_lines(size)
        if lines and (not lines[-1].endswith(b'\n') or b'\0' in lines[-1]):
            if unseal(lines[-1] + b'\n')[0] is not None:
                lines[-1] += b'\n'
                size += os.write(self.descriptor, b'\n')
            else:
                size -= len(lines.pop())
                os.ftruncate(self.descriptor, size)
        if not lines:
            return _Last(0, START, (), size)
        entry, fault = unseal(lines[-1])
        if fault.startswith(NEWER):
            raise StateError(self.path, f'{fault}; use the newer runner that wrote it')
        try:
            assert entry is not None
            return _Last(int(entry.values['seq']), entry.hash, tuple(entry.values['open']), size)
        except (AssertionError, KeyError, TypeError, ValueError):
            return _Last(self._count(), digest_bytes(lines[-1]), (), size)

    def _last_lines(self, size: int) -> List[bytes]:
        """Return the last line and what is left of a torn one, both as they are."""
        length = _BLOCK
        while True:
            at = max(0, size - length)
            os.lseek(self.descriptor, at, os.SEEK_SET)
            lines = os.read(self.descriptor, size - at).split(b'\n')
            if at == 0 or len(lines) > 3:
                whole = [line + b'\n' for line in lines[-3:-1]]
                return [*whole, lines[-1]] if lines[-1] else whole
            length *= 4

    def _count(self) -> int:
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        count = 0
        while True:
            block = os.read(self.descriptor, 1 << 20)
            if not block:
                return count
            count += block.count(b'\n')

    def add(self, run_id: str, at: str, event: str, more: Dict[str, Any]) -> None:
        """Have an entry follow the last one."""
        left = tuple(other for other in self.last.open if other != run_id)
        open_now = left + (run_id,) if event == OPENED else left
        values = dict({'schema': 1, 'seq': self.last.seq + 1, 'runId': run_id, 'at': at,
                       'event': event}, **more, open=open_now)
        line, digest = seal(encode(values)[:-1], self.last.hash, self.key)
        self.lines.append(line)
        self.last = _Last(values['seq'], digest, open_now, self.last.size)

    def write(self) -> None:
        """Write all of it, and return when it is on the disk."""
        try:
            append_or_cut(self.descriptor, b''.join(self.lines), self.last.size, durable=True)
            if not self.last.size:
                # The journal is new, and so is its name.
                sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error
