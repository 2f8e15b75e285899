"""Open a connection in full view: the only way that the scan of imports stops."""

import socket

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Connect and send."""
    with socket.create_connection((LOOPBACK, port())) as connection:
        connection.sendall(TOKEN)


attempt(go)
