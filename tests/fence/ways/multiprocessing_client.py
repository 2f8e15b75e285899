"""Be a client of multiprocessing, over TCP."""

from multiprocessing.connection import Client

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Connect and send."""
    client = Client((LOOPBACK, port()))
    client.send_bytes(TOKEN)
    client.close()


attempt(go)
