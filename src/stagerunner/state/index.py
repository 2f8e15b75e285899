"""The derived index, `state/index.json`: what former runs found out and need not find out again.

Sections, each on a line of its own, under a checksum of all of them: one that
nobody asks for is not even decoded.  A file with any byte changed counts for
nothing; who deletes it loses time and nothing else.  Who means harm can write
any checksum, and any digest: against that it helps only that markers, inputs
and outputs are the truth, and this is none.
"""

from __future__ import annotations

import json
from binascii import crc32
from itertools import islice

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.files import read_bytes
from stagerunner.files import write_blocks
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterator
    from typing import List

FORMAT = 5

#: The index has an entry per file; of very many items it outgrows all other JSON, in bytes.
_MAX_BYTES = 1 << 30


#: So many entries are spelled at a time.
_AT_ONCE = 1000

_encode = json.JSONEncoder(separators=(',', ':')).encode


class Index:
    """The file as it was read, and the sections that are to be written next."""

    def __init__(self, path: str):
        self.path = path
        self.lines: Dict[bytes, bytes] = {}
        self.is_dirty = False

    def load(self) -> None:
        """Read the file; anything odd counts as nothing remembered."""
        self.lines = {}
        try:
            data = read_bytes(self.path, _MAX_BYTES, follow=False)
        except (FileNotFoundError, Unreadable):
            return
        head, _, body = data.partition(b'\n')
        if body.endswith(b'}\n') and head == _head(body):
            for line in body[:-2].split(b',\n'):
                name, _, value = line.partition(b': ')
                self.lines[name] = value

    def get(self, section: str) -> Any:
        """Return the decoded section, None where there is none."""
        line = self.lines.get(_spelled(section))
        return None if line is None else json.loads(line)

    def take(self, section: str) -> Any:
        """Return it as `get` does; from then on whoever took it has it alone, to be put back."""
        value = self.get(section)
        self.lines.pop(_spelled(section), None)
        return value

    def put(self, section: str, value: Any) -> None:
        """Replace a section in what `save` is going to write."""
        self.lines[_spelled(section)] = b''.join(_pieces(value))
        self.is_dirty = True

    def drop(self, section: str) -> None:
        """Leave a section out of what `save` is going to write."""
        self.is_dirty |= self.lines.pop(_spelled(section), None) is not None

    def save(self) -> None:
        """Write the file if there is anything new; failing to costs time later, nothing else."""
        if not self.is_dirty:
            return
        # Never in one piece: of very many items the index is large.
        blocks: List[bytes] = []
        for name, value in self.lines.items():
            blocks += [b',\n' if blocks else b'', name, b': ', value]
        blocks.append(b'}\n')
        try:
            write_blocks(self.path, [_head(*blocks), b'\n', *blocks], durable=False)
        except StateError:
            pass


def _pieces(value: Any) -> Iterator[bytes]:
    """Yield JSON in pieces; the encoder would hold every figure of a large object at once.

    >>> b''.join(_pieces({'a': [1, 'x'], 'b': {}})), b''.join(_pieces([]))
    (b'{"a":[1,"x"],"b":{}}', b'[]')
    """
    if not isinstance(value, dict):
        yield _encode(value).encode('ascii')
        return
    entries = iter(value.items())
    separator = ''
    yield b'{'
    while True:
        some = dict(islice(entries, _AT_ONCE))
        if not some:
            break
        yield (separator + _encode(some)[1:-1]).encode('ascii')
        separator = ','
    yield b'}'


def _spelled(section: str) -> bytes:
    return json.dumps(section).encode()


def _head(*body: bytes) -> bytes:
    checksum = 0
    for piece in body:
        checksum = crc32(piece, checksum)
    return b'{"format": %d, "crc32": "%08x",' % (FORMAT, checksum)
