"""Send a datagram of UDP-Lite."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port

IPPROTO_UDPLITE = 136


def go():
    """Send."""
    module = network()
    module.socket(module.AF_INET, module.SOCK_DGRAM, IPPROTO_UDPLITE).sendto(
        TOKEN, (LOOPBACK, port('UDPLITE')))


attempt(go)
