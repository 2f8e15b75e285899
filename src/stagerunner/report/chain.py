"""Lines that are chained by hashes: how one is sealed, and how a row of them is followed.

A line is compact JSON.  It ends in the hash of the line before it (`prev`),
with a key also in an authentication code (`mac`), and in the SHA-256 of all
before that (`hash`).  So whoever changes, removes, adds or moves a line has to
write all later ones anew, and with a key cannot.
"""

from __future__ import annotations

import json

from stagerunner.errors import Unreadable
from stagerunner.errors import UsageError
from stagerunner.files import digest_bytes
from stagerunner.files import read_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Any
    from typing import BinaryIO
    from typing import Dict
    from typing import Iterator
    from typing import Optional
    from typing import Tuple

#: Version of the shape of a line.
SCHEMA = 1

#: The fault of a line that has no end.
CUT_OFF = 'is cut off'

#: How the fault of a line of another version begins.
NEWER = 'has schema'

#: What comes before the first line of all.
START = '0' * 64

#: What a file with a key holds at least, and at most, in bytes.
SHORTEST_KEY, LONGEST_KEY = 16, 1 << 20

#: No line of ours is longer, in bytes.
LONGEST_LINE = 1 << 26

#: What stands before the values at the end of a line, and how long these ends are.
_MAC, _HASH, _END = b',"mac":"', b',"hash":"', b'"}\n'
_DIGITS = 64
_MAC_BYTES = len(_MAC) + _DIGITS + 1
_HASH_BYTES = len(_HASH) + _DIGITS + len(_END)

encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False).encode


class Key:
    """A secret with which lines are authenticated; it shows in no text and no file."""

    def __init__(self, secret: bytes):
        self._secret = secret

    def mac(self, data: bytes) -> str:
        """Return the HMAC-SHA256 of `data` in hex."""
        import hmac

        return hmac.new(self._secret, data, 'sha256').hexdigest()


def read_key(path: str) -> Key:
    """Return the key in a file, without line ends around it, or raise `UsageError`."""
    try:
        secret = read_bytes(path, LONGEST_KEY).strip(b'\r\n')
    except FileNotFoundError:
        raise UsageError(f'{path}: there is no such file; it should hold the key of the '
                         'audit') from None
    except Unreadable as error:
        raise UsageError(f'{path}: {error.fault}') from error
    if len(secret) < SHORTEST_KEY:
        raise UsageError(f'{path}: expected a key of at least {SHORTEST_KEY} bytes, '
                         f'got {len(secret)}')
    return Key(secret)


class Sealed(NamedTuple):
    """A line that is as it was written: what it says, and its links."""

    values: Dict[str, Any]
    prev: str
    hash: str
    has_mac: bool


def seal(body: str, prev: str, key: Optional[Key]) -> Tuple[bytes, str]:
    """Return a line that follows the one with the hash `prev`, and its own hash.

    `body` is a JSON object without its last brace.

    >>> seal('{"seq":1', START, None)[1][:16]
    '2c75213bdb8a54fa'
    """
    data = f'{body},"prev":"{prev}"'.encode('ascii')
    if key is not None:
        data += b',"mac":"%s"' % key.mac(data).encode('ascii')
    digest = digest_bytes(data)
    return data + b',"hash":"%s"}\n' % digest.encode('ascii'), digest


def unseal(line: bytes, key: Optional[Key] = None) -> Tuple[Optional[Sealed], str]:
    """Return a line and '', or None and what is wrong with it; its place is not looked at."""
    if not line.endswith(b'\n'):
        return None, CUT_OFF
    data, end = line[:-_HASH_BYTES], line[-_HASH_BYTES:]
    digest = end[len(_HASH):-len(_END)]
    if end != _HASH + digest + _END:
        return None, 'is no record of an audit'
    if digest_bytes(data).encode('ascii') != digest:
        return None, 'was changed: its hash is not that of its bytes'
    has_mac = data[-_MAC_BYTES:].startswith(_MAC)
    body = data[:-_MAC_BYTES] if has_mac else data
    if key is not None and has_mac and key.mac(body).encode('ascii') != data[-_DIGITS - 1:-1]:
        return None, 'was not written with this key'
    try:
        values = json.loads(line.decode('ascii'))
        schema, prev = values['schema'], values['prev']
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, 'is no record of an audit'
    if schema != SCHEMA:
        return None, f'{NEWER} {schema!r}, this version reads {SCHEMA}'
    return Sealed(values, prev, digest.decode('ascii'), has_mac), ''


class Row:
    """Follows the lines of a file from where it stands, as long as they belong together.

    When it ends, `fault` says what is wrong with the line after the last good
    one (empty: nothing, it came to `end` or to the end of the file), and
    `tail` has what follows if that is a line which was not finished.
    """

    def __init__(self, source: BinaryIO, start: str, run_id: Optional[str] = None, *,
                 end: Optional[int] = None, key: Optional[Key] = None):
        self.source = source
        self.run_id = run_id
        self.end = end
        self.key = key
        self.n_lines = 0
        self.last = start
        self.size = source.tell()
        self.fault = ''
        self.tail = b''

    def __iter__(self) -> Iterator[Sealed]:
        while self.end is None or self.size < self.end:
            line = self.source.readline(LONGEST_LINE)
            if not line:
                return
            if not line.endswith(b'\n') or b'\0' in line and self.end is None:
                # Of what was not flushed a power cut may leave zeros; no line of ours has any.
                self.tail, self.fault = line + self.source.read(), CUT_OFF
                return
            sealed, self.fault = unseal(line, self.key)
            if sealed is not None:
                self.fault = self._misplaced(sealed)
            if sealed is None or self.fault:
                return
            self.n_lines += 1
            self.size += len(line)
            self.last = sealed.hash
            yield sealed

    def _misplaced(self, sealed: Sealed) -> str:
        number, expected = sealed.values.get('seq'), self.n_lines + 1
        if self.run_id is not None and sealed.values.get('runId') != self.run_id:
            return f"belongs to run {sealed.values.get('runId')!r}"
        if type(number) is not int or number < expected:
            return f'is record {number!r} where record {expected} should be'
        if number > expected:
            missing = f'record {expected} is' if number == expected + 1 else (
                f'records {expected} to {number - 1} are')
            return f'is record {number}: {missing} missing before it'
        if sealed.prev != self.last:
            return 'does not follow from what comes before it'
        return ''
