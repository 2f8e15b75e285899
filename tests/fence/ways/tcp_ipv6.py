"""Open a connection by IPv6."""

from _way import LOOPBACK_6
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port


def go():
    """Connect and send."""
    network().create_connection((LOOPBACK_6, port('TCP6'))).sendall(TOKEN)


attempt(go)
