"""System calls, addresses and packets put together by hand, for ways that trust no library."""

import ctypes
import os
import struct

from _way import LOOPBACK
from _way import port

#: Numbers of system calls by machine: x86_64, aarch64.
NUMBERS = {
    'socket': (41, 198), 'connect': (42, 203), 'write': (1, 64), 'ptrace': (101, 117),
    'setns': (308, 268), 'process_vm_writev': (311, 271), 'pidfd_open': (434, 434),
    'pidfd_getfd': (438, 438), 'io_uring_setup': (425, 425), 'io_uring_enter': (426, 426),
}

MACHINE = os.uname().machine

LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Return a result, or raise what errno says."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name, *values):
    """Call the kernel by number, without the function of the C library."""
    number = NUMBERS[name][('x86_64', 'aarch64').index(MACHINE)]
    LIBC.syscall.restype = ctypes.c_long
    return checked(LIBC.syscall(ctypes.c_long(number), *[
        ctypes.c_long(value) if isinstance(value, int) else value for value in values]))


def address(number=None):
    """Return a struct sockaddr_in of loopback."""
    place = bytes(int(part) for part in LOOPBACK.split('.'))
    return struct.pack('=HH4s8x', 2, _big(number or port()), place)


def _big(number):
    """Return a port as the network has it, for a struct packed as this machine has it."""
    return struct.unpack('=H', struct.pack('>H', number))[0]


def checksum(data):
    """Return the internet checksum (RFC 1071)."""
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('>%dH' % (len(data) // 2), data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def netlink(kind, flags, body):
    """Tell the kernel's router something, and return the error number that it answers."""
    own = __import__('_sock' + 'et')
    with_route = own.socket(16, own.SOCK_RAW, 0)
    with_route.send(struct.pack('=IHHII', 16 + len(body), kind, 5 | flags, 1, 0) + body)
    return -struct.unpack_from('=i', with_route.recv(4096), 16)[0]
