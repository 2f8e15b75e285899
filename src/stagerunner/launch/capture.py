"""Keep what a processor prints: the first 1 MiB and the last 9 MiB, on disk, never in memory.

Beyond 1 MiB the file is a ring: new bytes overwrite the oldest ones in place,
so a processor that prints for ever fills neither disk nor memory.  `close`
puts the ring in order and writes how much was cut between the two parts.  Until
then, and for ever where the runner was killed, a line behind the newest bytes
says that they end there, so that others can put them in order (`in_order`).
"""

from __future__ import annotations

import os

from stagerunner.files import make_folder
from stagerunner.files import remove_tree
from stagerunner.files import replace
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List
    from typing import Optional
    from typing import Tuple

HEAD_BYTES = 1024 * 1024
TAIL_BYTES = 9 * 1024 * 1024

#: How much of the end is kept at hand for messages and for judging errors.
_RECENT_BYTES = 16 * 1024
RECENT_LINES = 20

_BLOCK = 256 * 1024

#: Stands in a ring between its newest and its oldest bytes.
SEAM = b'\n... the newest lines end here, and the oldest that were kept follow ...\n'

#: What stands in a log in place of a secret value.
REDACTED = b'[secret]'


class Recent:
    """The last lines of a stream."""

    def __init__(self) -> None:
        self._bytes = b''

    def add(self, data: bytes) -> None:
        """Take more of the stream."""
        self._bytes = (self._bytes + data[-_RECENT_BYTES:])[-_RECENT_BYTES:]

    def lines(self) -> Tuple[str, ...]:
        """Return at most the last 20 lines; bytes that are no UTF-8 become escapes."""
        text = self._bytes.decode('utf-8', errors='backslashreplace')
        lines = [line.rstrip('\r') for line in text.rstrip('\n').split('\n')]
        return tuple(lines[-RECENT_LINES:]) if text.strip() else ()


def in_order(data: bytes, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> bytes:
    """Return the content of a log, which may still be a ring, as it was printed."""
    seam = seam_of(data, head_bytes, tail_bytes)
    if seam is None:
        return data
    ring = data[head_bytes:]
    after = ring[seam + len(SEAM):] + ring[max(0, seam + len(SEAM) - len(ring)):seam]
    return data[:head_bytes] + b'\n... lines cut ...\n' + after


def seam_of(data: bytes, head_bytes: int = HEAD_BYTES,
            tail_bytes: int = TAIL_BYTES) -> Optional[int]:
    """Return where in its ring the newest bytes of a log end; None for one that is no ring."""
    if len(data) != head_bytes + tail_bytes + len(SEAM):
        return None
    ring = data[head_bytes:]
    place = (ring + ring[:len(SEAM) - 1]).find(SEAM)
    return place if place >= 0 else None


class Log:
    """One log file, made when the first byte arrives."""

    def __init__(self, path: str, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES):
        self.path = path
        self.head_bytes = head_bytes
        self.tail_bytes = tail_bytes
        self.printed = 0
        self.recent = Recent()
        self.fault: Optional[OSError] = None
        self._file: Optional[int] = None

    def write(self, data: bytes) -> None:
        """Keep `data`; when the disk refuses, keep reading so that the processor is not stuck."""
        self.recent.add(data)
        try:
            if self._file is None and self.fault is None:
                make_folder(os.path.dirname(self.path))
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC
                                     | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_CLOEXEC', 0)
                                     | getattr(os, 'O_BINARY', 0), 0o666)
            if self._file is not None:
                self._place(data)
        except OSError as error:
            self.fault = error
            self._abandon()
        self.printed += len(data)

    @property
    def _ring_bytes(self) -> int:
        """Return the size of the ring, which has room for the seam beside what is kept."""
        return self.tail_bytes + len(SEAM)

    def _place(self, data: bytes) -> None:
        """Write `data` where byte number `printed` belongs, and the seam behind it."""
        end = self.printed + len(data)
        self._write_at(self.printed, data)
        if end > self.head_bytes + self._ring_bytes:
            self._write_at(end, SEAM)

    def _write_at(self, at: int, data: bytes) -> None:
        while data:
            if at < self.head_bytes:
                offset, room = at, self.head_bytes - at
            else:
                ring = (at - self.head_bytes) % self._ring_bytes
                offset, room = self.head_bytes + ring, self._ring_bytes - ring
            os.lseek(self._file, offset, os.SEEK_SET)  # type: ignore[arg-type]
            count = os.write(self._file, data[:room])  # type: ignore[arg-type]
            data = data[count:]
            at += count

    def close(self) -> None:
        """Put the log in order; safe to call without a single byte written."""
        if self._file is None:
            return
        try:
            if self.printed > self.head_bytes + self.tail_bytes:
                self._straighten()
        except OSError as error:
            # The disk is full: the ring stays as it is, what was begun beside it does not.
            self.fault = error
            remove_tree(self._ordered)
        self._abandon()

    @property
    def _ordered(self) -> str:
        return f'{self.path}.ordered'

    def _abandon(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _straighten(self) -> None:
        """Rewrite the file as head, a line that says what is missing, tail."""
        cut = self.printed - self.head_bytes - self.tail_bytes
        start = cut % self._ring_bytes
        until_the_end = min(self.tail_bytes, self._ring_bytes - start)
        with open(self.path, 'rb') as ring, open(self._ordered, 'wb') as target:
            _copy(ring, target, 0, self.head_bytes)
            target.write(f'\n... {cut} bytes cut ...\n'.encode('ascii'))
            _copy(ring, target, self.head_bytes + start, until_the_end)
            _copy(ring, target, self.head_bytes, self.tail_bytes - until_the_end)
        self._abandon()
        replace(self._ordered, self.path)


def _copy(source: object, target: object, offset: int, count: int) -> None:
    source.seek(offset)  # type: ignore[attr-defined]
    while count:
        block = source.read(min(count, _BLOCK))  # type: ignore[attr-defined]
        if not block:
            return
        target.write(block)  # type: ignore[attr-defined]
        count -= len(block)


class Redactor:
    """Replaces secret values in a stream, also where a value arrives in two parts."""

    def __init__(self, secrets: Tuple[bytes, ...]):
        self.secrets = secrets
        self._held = b''

    def pass_on(self, data: bytes) -> bytes:
        """Return what can be written by now; the beginning of what may be a secret is held."""
        if not self.secrets:
            return data
        data = self._held + data
        passed: List[bytes] = []
        done = 0
        while True:
            begun = self._begun(data, done)
            at, secret = self._next(data, done)
            if not secret or begun <= at:
                self._held = data[begun:]
                return b''.join([*passed, data[done:begun]])
            passed += [data[done:at], REDACTED]
            done = at + len(secret)

    def _next(self, data: bytes, start: int) -> Tuple[int, bytes]:
        """Return where the next secret stands and which it is, the longest if it is several."""
        found = [(data.find(secret, start), -len(secret), secret) for secret in self.secrets]
        at, _, secret = min((entry for entry in found if entry[0] >= 0), default=(-1, 0, b''))
        return at, secret

    def _begun(self, data: bytes, start: int) -> int:
        """Return where the first secret begins that may go on in what arrives next."""
        longest = max(map(len, self.secrets))
        for at in range(max(start, len(data) - longest + 1), len(data)):
            if any(len(secret) > len(data) - at and secret.startswith(data[at:])
                   for secret in self.secrets):
                return at
        return len(data)

    def rest(self) -> bytes:
        """Return what was held and did not become the longer secret that it might have been."""
        held, self._held = self._held, b''
        for secret in self.secrets:
            held = held.replace(secret, REDACTED)
        return held


class Output:
    """Both streams of a processor: one log in order of arrival, and the last lines of stderr."""

    def __init__(self, log_path: str, secrets: Tuple[bytes, ...] = ()):
        self.log = Log(log_path)
        self.errors = Recent()
        self._redactors = {is_error: Redactor(secrets) for is_error in (False, True)}

    def write(self, data: bytes, *, is_error: bool) -> None:
        """Take what arrived on one of the streams."""
        self._write(self._redactors[is_error].pass_on(data), is_error=is_error)

    def close(self) -> None:
        """Write what was held back and put the log in order."""
        for is_error, redactor in self._redactors.items():
            self._write(redactor.rest(), is_error=is_error)
        self.log.close()

    def _write(self, data: bytes, *, is_error: bool) -> None:
        if data:
            self.log.write(data)
            if is_error:
                self.errors.add(data)
