"""Send a packet of no known protocol."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network

#: For experiments (RFC 3692).
PROTOCOL = 253


def go():
    """Send."""
    module = network()
    module.socket(module.AF_INET, module.SOCK_RAW, PROTOCOL).sendto(TOKEN, (LOOPBACK, 0))


attempt(go)
