"""Send an echo request through the kind of socket that needs no privilege for it."""

import struct

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network


def go():
    """Send; the kernel fills in number and checksum."""
    module = network()
    request = struct.pack('>BBHHH', 8, 0, 0, 0, 1) + TOKEN
    module.socket(module.AF_INET, module.SOCK_DGRAM, 1).sendto(request, (LOOPBACK, 0))


attempt(go)
