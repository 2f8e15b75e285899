"""Connect and send in one call (TCP Fast Open)."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port

MSG_FASTOPEN = 0x20000000


def go():
    """Send."""
    network().socket().sendto(TOKEN, MSG_FASTOPEN, (LOOPBACK, port()))


attempt(go)
