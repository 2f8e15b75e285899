"""Send a datagram by IPv6."""

from _way import LOOPBACK_6
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port


def go():
    """Send."""
    module = network()
    module.socket(module.AF_INET6, module.SOCK_DGRAM).sendto(TOKEN, (LOOPBACK_6, port('UDP6')))


attempt(go)
