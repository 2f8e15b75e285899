"""Switch the loopback device on, by netlink, and use it."""

import struct

from _calls import netlink
from _way import attempt
from _way import code

RTM_NEWLINK, IFF_UP = 16, 1


def go():
    """Switch on (where it is on, or we may not, this changes nothing), connect, send."""
    netlink(RTM_NEWLINK, 0, struct.pack('=BxHiII', 0, 0, 1, IFF_UP, IFF_UP))
    exec(code(), {})


attempt(go)
