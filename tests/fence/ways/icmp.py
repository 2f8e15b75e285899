"""Send an echo request with something to tell in it."""

import struct

from _calls import checksum
from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network


def go():
    """Send, by a raw socket."""
    module = network()
    request = struct.pack('>BBHHH', 8, 0, 0, 1, 1) + TOKEN
    request = request[:2] + struct.pack('>H', checksum(request)) + request[4:]
    module.socket(module.AF_INET, module.SOCK_RAW, 1).sendto(request, (LOOPBACK, 0))


attempt(go)
