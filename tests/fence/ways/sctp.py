"""Open an SCTP association."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port

IPPROTO_SCTP = 132


def go():
    """Connect and send."""
    module = network()
    connection = module.socket(module.AF_INET, module.SOCK_STREAM, IPPROTO_SCTP)
    connection.connect((LOOPBACK, port('SCTP')))
    connection.sendall(TOKEN)


attempt(go)
