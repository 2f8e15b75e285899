"""The journal of a stage's jobs or items: one line per finished task, appended and never edited.

The last line of a task counts.  A line carries a checksum; what follows the
last good line is a write that did not finish, is not looked at, and is cut off
before the next append.  A bad line between good ones means that the file was
damaged: it is set aside, and its work is done again.  Of each task only the
place of its line is kept in memory; what all tasks of a stage have in common
stands in the file once.

One object belongs to one thread.  Several processes may append: each write
happens under a lock of the journal's own and takes in first what others wrote,
also when one of them compacted.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import digest_bytes
from stagerunner.files import quarantine
from stagerunner.files import sync_folder
from stagerunner.files import try_stat
from stagerunner.files import write_blocks
from stagerunner.locks import Lock
from stagerunner.locks import journal_lock
from stagerunner.locks import take_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.state.lines import TAIL
from stagerunner.state.lines import append_or_cut
from stagerunner.state.lines import has_seal
from stagerunner.state.lines import is_sealed
from stagerunner.state.lines import lines_after
from stagerunner.state.lines import seal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import as_text
from stagerunner.state.marker import success_from_json
from stagerunner.state.marker import success_to_json
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterable
    from typing import Iterator
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: Version of the file's shape; a newer one is refused and left as it is.
FORMAT = 1

#: A smaller journal is not worth compacting, in bytes.
COMPACT_BYTES = 1 << 20

_FLAGS = (getattr(os, 'O_BINARY', 0) | getattr(os, 'O_NOFOLLOW', 0)
          | getattr(os, 'O_NONBLOCK', 0))
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS

#: How lines begin; a success has its task first, so that loading need not decode it.
_SUCCESS, _FAILURE = b'{"task":"', b'{"failed":"'
_FORGOTTEN, _RESET = b'{"forgotten":"', b'{"reset":'
_HEAD, _COMPLETE = b'{"format":', b'{"complete":'

#: What a line can end in that somebody wrote by hand, checksum and all; or there is none.
_ODD = (Unreadable, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
        RecursionError)

_canonical = json.JSONEncoder(sort_keys=True, separators=(',', ':')).encode


class ItemJournal:
    """What is known of the tasks of one fan-out; `close` it when done."""

    def __init__(self, names: StateNames, stage: str, *, compact_bytes: int = COMPACT_BYTES):
        self.path = names.items(stage)
        self.stage = stage
        self.compact_bytes = compact_bytes
        #: Why nothing of the journal counts, or why it was set aside.
        self.fault = ''
        self._root = os.path.dirname(names.folder)
        self._file: Optional[int] = None
        self._forget()

    def _forget(self) -> None:
        self._done: Dict[str, int] = {}
        self._failed: Dict[str, int] = {}
        self._rests: Dict[str, int] = {}
        self._completion = -1
        self._n_lines = 0
        self._end = 0
        self._parts_of: Tuple[str, Dict[str, Any]] = ('', {})

    # -- reading ---------------------------------------------------------------

    def load(self) -> str:
        """Read what is new there; return the fault for which none of it counts, or nothing.

        Changes nothing on the disk; who appends sets a bad file aside.  Raises
        `StateError` for a newer format and for a file that cannot be read.
        """
        self.fault = ''
        try:
            self._catch_up(is_new=self._is_other(try_stat(self.path)))
        except Unreadable:
            # An append of another process may have been half visible; under its lock none is.
            has_lock = os.path.isfile(journal_lock(self._root, self.stage))
            try:
                with self._take_lock() if has_lock else nullcontext():
                    self._catch_up(is_new=True)
            except Unreadable as error:
                self.close()
                self.fault = error.fault
        return self.fault

    def get(self, task: str) -> Optional[Marker]:
        """Return the last success of a task, or None where there is none that counts."""
        value = self.success(task)
        try:
            return value and success_from_json(value, self._rest(as_text(value['rest'])))
        except _ODD:
            return None

    def success(self, task: str) -> Any:
        """Return the line of the last success as JSON, or None as above."""
        try:
            value = self._decode(self._done[task])
            return value if self._rests[value['rest']] >= 0 else None
        except _ODD:
            return None

    def failure(self, task: str) -> Optional[Dict[str, Any]]:
        """Return `failed`, `at`, `class`, `error` and `attempts` of a failure since a success."""
        place = self._failed.get(task)
        try:
            return None if place is None else dict(self._decode(place))
        except (Unreadable, TypeError, ValueError, RecursionError):
            return None

    @property
    def is_complete(self) -> bool:
        """True when the stage's marker was written at some time since the last reset."""
        return self._completion >= 0

    def tasks(self) -> Iterable[str]:
        """Return the names of all tasks that have a success."""
        return self._done.keys()

    def close(self) -> None:
        """Let go of the file; what was read is known no longer."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._forget()

    # -- writing ---------------------------------------------------------------

    def append(self, markers: Sequence[Marker]) -> None:
        """Record successes; they are on the disk when this returns, all with one flush."""
        if markers:
            self._write(lambda: [line for marker in markers for line in self._success(marker)],
                        durable=True)

    def append_failure(self, task: str, at: str, error_class: str, error: str,
                       attempts: int) -> None:
        """Record a failure, for people: it is not flushed and decides nothing."""
        self._write(lambda: [{'failed': task, 'at': at, 'class': error_class, 'error': error,
                              'attempts': attempts}], durable=False)

    def complete(self, run_id: str, at: str, key: str, tasks: int) -> None:
        """Record that the marker of the whole stage was written."""
        self._write(lambda: [{'complete': True, 'runId': run_id, 'at': at, 'key': key,
                              'tasks': tasks}], durable=True)

    def reset(self) -> None:
        """Make every entry void, durably: the marker of a complete stage was removed."""
        self._write(lambda: [{'reset': True}], durable=True)

    def forget(self, tasks: Sequence[str]) -> None:
        """Make what is known of some tasks void, durably."""
        self._write(lambda: [{'forgotten': task} for task in tasks], durable=True)

    def _success(self, marker: Marker) -> Iterator[Dict[str, Any]]:
        """Yield the lines of a success, first what others may share where it is new."""
        rest = {name: value for name, value in marker.parts.items() if name != 'inputs'}
        digest = digest_bytes(_canonical(rest).encode('ascii'))
        if digest not in self._rests:
            # The place is known when it was written.
            self._rests[digest] = -1
            yield {'format': FORMAT, 'parts': rest, 'rest': digest}
        yield dict(success_to_json(marker), rest=digest)

    def _write(self, make: Any, *, durable: bool) -> None:
        """Append what `make` returns, under the lock and after what others wrote."""
        with self._take_lock():
            descriptor = self._open_to_append()
            try:
                lines = make()
                if not self._end:
                    lines = [{'format': FORMAT, 'stage': self.stage}, *lines]
                data = b''.join(seal(line) for line in lines)
                append_or_cut(descriptor, data, self._end, durable=durable)
                if not self._end:
                    sync_folder(os.path.dirname(self.path))
            except OSError as error:
                self._rests = {digest: place for digest, place in self._rests.items()
                               if place >= 0}
                raise StateError(self.path, os_fault(error)) from error
            finally:
                os.close(descriptor)
            self._catch_up_or_start_anew()
            self._compact_if_worth_it()

    def _open_to_append(self) -> int:
        """Return a descriptor of the file that this object has read to its end."""
        while True:
            try:
                descriptor = os.open(self.path, _APPEND, 0o666)
            except OSError as error:
                if os.path.lexists(self.path) and not os.path.isfile(self.path) \
                        or os.path.islink(self.path):
                    self._start_anew('is not a regular file')
                    continue
                raise StateError(self.path, os_fault(error)) from error
            try:
                self._catch_up_or_start_anew(is_new=self._is_other(os.fstat(descriptor)))
                if self._file is not None:
                    if os.fstat(descriptor).st_size > self._end:
                        os.ftruncate(descriptor, self._end)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    # -- the file and its index --------------------------------------------------

    def _take_lock(self) -> Lock:
        return take_lock(journal_lock(self._root, self.stage))

    def _is_other(self, found: Optional[os.stat_result]) -> bool:
        """True when what was read is not how the file begins that there is now."""
        return (self._file is None or found is None or found.st_size < self._end
                or not os.path.samestat(found, os.fstat(self._file)))

    def _reopen(self) -> None:
        self.close()
        try:
            self._file = os.open(self.path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return
        except OSError as error:
            if not os.path.islink(self.path):
                raise StateError(self.path, os_fault(error)) from error
        if os.path.islink(self.path) or not os.path.isfile(self.path):
            raise Unreadable(self.path, 'is not a regular file')

    def _catch_up_or_start_anew(self, *, is_new: bool = False) -> None:
        """Take in what is new, or set a bad file aside; the lock is held."""
        try:
            self._catch_up(is_new=is_new)
        except Unreadable as error:
            self._start_anew(error.fault)

    def _start_anew(self, fault: str) -> None:
        self.close()
        quarantine(self.path)
        self.fault = fault

    def _catch_up(self, *, is_new: bool = False) -> None:
        """Take in all lines after those that are known; raises `Unreadable` for a bad one."""
        if is_new:
            self._reopen()
        bad = -1
        for place, line in self._new_lines():
            is_good = self._take_in(place, line)
            if is_good and bad >= 0:
                raise Unreadable(self.path, f'is damaged at byte {bad}')
            if is_good:
                self._end = place + len(line) + 1
                self._n_lines += 1
            elif bad < 0:
                bad = place

    def _new_lines(self) -> Iterator[Any]:
        """Yield the whole lines after `_end` with their places."""
        try:
            yield from () if self._file is None else lines_after(self._file, self._end)
        except ValueError as error:
            raise Unreadable(self.path, str(error)) from error
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error

    def _take_in(self, place: int, line: bytes) -> bool:
        """Note what a line says; False for a bad one."""
        if not is_sealed(line):
            self._check_format(line, has_sum=has_seal(line))
            return False
        if line.startswith(_SUCCESS):
            task = _name_after(_SUCCESS, line)
            self._done[task] = place
            self._failed.pop(task, None)
        elif line.startswith(_FAILURE):
            self._failed[_name_after(_FAILURE, line)] = place
        elif line.startswith(_HEAD):
            return self._take_head(place, line)
        elif line.startswith(_RESET):
            self._done, self._failed, self._completion = {}, {}, -1
        elif line.startswith(_COMPLETE):
            self._completion = place
        elif line.startswith(_FORGOTTEN):
            for known in (self._done, self._failed):
                known.pop(_name_after(_FORGOTTEN, line), None)
        else:
            return False
        # The first line says what the file is.
        return place > 0

    def _take_head(self, place: int, line: bytes) -> bool:
        self._check_format(line, has_sum=False)
        head = json.loads(line.decode('ascii'))
        if place == 0:
            return bool(head.get('stage') == self.stage and head['format'] == FORMAT)
        if not isinstance(head.get('rest'), str):
            return False
        self._rests[head['rest']] = place
        return True

    def _check_format(self, line: bytes, *, has_sum: bool) -> None:
        """Refuse a line of a newer runner; one with a sum that is wrong is only damaged."""
        number = line[len(_HEAD):].partition(b',')[0].partition(b'}')[0].strip()
        if line.startswith(_HEAD) and number.isdigit() and int(number) > FORMAT and not has_sum:
            raise StateError(self.path, f'has format {int(number)}, this version reads {FORMAT}; '
                                        f'use the newer runner that wrote it')

    # -- lines -------------------------------------------------------------------

    def _line(self, place: int) -> bytes:
        """Return the line at a place that was read once already."""
        assert self._file is not None, 'closed'
        os.lseek(self._file, place, os.SEEK_SET)
        found = b''
        size = 4096
        while b'\n' not in found:
            block = os.read(self._file, size)
            if not block:
                break
            found += block
            size *= 4
        return found.partition(b'\n')[0]

    def _decode(self, place: int) -> Any:
        line = self._line(place)
        if not is_sealed(line):
            raise Unreadable(self.path, f'is damaged at byte {place}')
        value = json.loads(line.decode('ascii'))
        del value['crc']
        return value

    def _rest(self, digest: str) -> Dict[str, Any]:
        """Return the parts of a key that tasks share; the last ones asked for are kept."""
        if self._parts_of[0] != digest:
            self._parts_of = (digest, dict(self._decode(self._rests[digest])['parts']))
        return self._parts_of[1]

    def _compact_if_worth_it(self) -> None:
        """Write the journal anew when most of its lines are dead (Windows: who reads it minds)."""
        n_alive = 2 + len(self._done) + len(self._failed) + min(len(self._rests), len(self._done))
        if self._end < self.compact_bytes or self._n_lines <= 2 * n_alive or os.name == 'nt':
            return
        try:
            write_blocks(self.path, self._living_lines(), durable=True)
        except StateError:
            # All is safe in the old file; what it wants is room, so it is not asked soon again.
            self.compact_bytes = 2 * self._end
            return
        self._catch_up_or_start_anew(is_new=True)

    def _living_lines(self) -> Iterator[bytes]:
        yield seal({'format': FORMAT, 'stage': self.stage})
        written = set()
        for place in sorted(self._done.values()):
            line = self._line(place)
            rest = line[-TAIL - 65:-TAIL - 1].decode('ascii')
            if rest not in written:
                written.add(rest)
                yield self._line(self._rests[rest]) + b'\n'
            yield line + b'\n'
        for place in sorted([*self._failed.values(), *([self._completion] * self.is_complete)]):
            yield self._line(place) + b'\n'


def _name_after(start: bytes, line: bytes) -> str:
    return line[len(start):line.index(b'"', len(start))].decode('ascii')
