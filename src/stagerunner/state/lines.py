"""Lines of a journal: compact JSON, each ending in a checksum of all before it."""

from __future__ import annotations

import json
import os
from binascii import crc32

from stagerunner.files import append
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterator
    from typing import Tuple

#: How each line ends: eight digits between these.
_SUM, _END = b',"crc":"', b'"}'

#: So many bytes come after the last value of a line.
TAIL = len(_SUM) + 8 + len(_END)

#: How much is read at a time, and what is longer than any line of ours, in bytes.
_BLOCK = 1 << 20
_LONGEST_LINE = 1 << 26

_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False).encode


def seal(value: Dict[str, Any]) -> bytes:
    """Return `value`, which must not be empty, as a line of a journal.

    >>> seal({'a': 1})
    b'{"a":1,"crc":"a702fc6e"}\\n'
    """
    body = _encode(value).encode('ascii')[:-1]
    return body + _SUM + b'%08x' % crc32(body) + _END + b'\n'


def append_or_cut(descriptor: int, data: bytes, size: int, *, durable: bool) -> None:
    """Append `data` to a file of `size` bytes; when that fails it has these again, if possible."""
    try:
        append(descriptor, data, durable=durable)
    except OSError:
        try:
            os.ftruncate(descriptor, size)
        except OSError:
            # Half a line at the end is ignored, and cut off later.
            pass
        raise


def is_sealed(line: bytes) -> bool:
    """True for a line (without its end) that is as it was written."""
    return line[-TAIL:] == _SUM + b'%08x' % crc32(line[:-TAIL]) + _END


def has_seal(line: bytes) -> bool:
    """True for a line that ends in a checksum, right or wrong."""
    return line[-TAIL:-TAIL + len(_SUM)] == _SUM


def lines_after(descriptor: int, place: int) -> Iterator[Tuple[int, bytes]]:
    """Yield the whole lines of a file from a place on, each with its own, without its end.

    Raises `ValueError` for a line that is longer than any of ours.
    """
    rest = b''
    os.lseek(descriptor, place, os.SEEK_SET)
    while True:
        block = os.read(descriptor, _BLOCK)
        if not block:
            return
        lines = (rest + block).split(b'\n')
        rest = lines.pop()
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f'is damaged at byte {place}')
        for line in lines:
            yield place, line
            place += len(line) + 1
