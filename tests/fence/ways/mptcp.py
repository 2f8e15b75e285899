"""Open a connection of several paths (MPTCP)."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port

IPPROTO_MPTCP = 262


def go():
    """Connect and send."""
    module = network()
    connection = module.socket(module.AF_INET, module.SOCK_STREAM, IPPROTO_MPTCP)
    connection.connect((LOOPBACK, port()))
    connection.sendall(TOKEN)


attempt(go)
