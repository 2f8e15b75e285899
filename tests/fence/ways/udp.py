"""Send a datagram."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port


def go():
    """Send."""
    module = network()
    module.socket(module.AF_INET, module.SOCK_DGRAM).sendto(TOKEN, (LOOPBACK, port('UDP')))


attempt(go)
