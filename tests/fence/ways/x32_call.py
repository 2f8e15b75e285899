"""Call the kernel by the numbers of the x32 machine."""

import ctypes
import os

from _calls import LIBC
from _calls import MACHINE
from _calls import address
from _calls import call
from _calls import checked
from _way import TOKEN
from _way import attempt

X32 = 0x40000000


def go():
    """Connect and send."""
    assert MACHINE == 'x86_64', 'this machine has no x32'
    descriptor = checked(LIBC.syscall(ctypes.c_long(X32 | 41), 2, 1, 0))
    call('connect', descriptor, ctypes.c_char_p(address()), 16)
    os.write(descriptor, TOKEN)


attempt(go)
