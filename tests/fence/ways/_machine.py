"""Machine code, and programs that need no compiler, linker or library."""

import os
import struct

from _calls import MACHINE
from _calls import address
from _way import TOKEN
from _way import attempt
from _way import leave

#: Where a program without relocations is loaded.
_AT = {64: 0x400000, 32: 0x8048000}

#: Size of the headers that are written here: file header and one segment.
_HEAD = {64: 64 + 56, 32: 52 + 32}


def executable(bits, code, data):
    """Return an ELF file; `code` is a function from the address of `data` to bytes."""
    start = _AT[bits] + _HEAD[bits]
    length = len(code(0))
    body = code(start + length) + data
    size = _HEAD[bits] + len(body)
    ident = b'\x7fELF' + bytes([bits // 32, 1, 1]) + bytes(9)
    if bits == 64:
        head = struct.pack('<HHIQQQI6H', 2, 62, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack('<IIQQQQQQ', 1, 7, 0, _AT[64], _AT[64], size, size, 4096)
    else:
        head = struct.pack('<HHIIIIIHHHHHH', 2, 3, 1, start, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack('<IIIIIIII', 1, 0, _AT[32], _AT[32], size, size, 7, 4096)
    return ident + head + segment + body


def run(bits, code):
    """Write such a program, with address and token as its data, and run it."""
    if MACHINE != 'x86_64':
        raise OSError('the code is that of an x86_64 machine')
    path = leave('program', executable(bits, code, address() + TOKEN))
    os.chmod(path, 0o755)
    if os.spawnv(os.P_WAIT, path, [path]):
        raise OSError('the program did not get through')


def attempt_program(bits, code):
    """Try the way of a program."""
    attempt(lambda: run(bits, code))
