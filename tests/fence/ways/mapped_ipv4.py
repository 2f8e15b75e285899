"""Reach an IPv4 address through an IPv6 socket."""

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port


def go():
    """Connect and send."""
    module = network()
    connection = module.socket(module.AF_INET6)
    connection.connect(('::ffff:' + LOOPBACK, port()))
    connection.sendall(TOKEN)


attempt(go)
