"""Import the C part of a module through the builtin function."""

from _way import HIDDEN
from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Connect and send."""
    connection = __import__('_' + HIDDEN).socket()
    connection.connect((LOOPBACK, port()))
    connection.send(TOKEN)


attempt(go)
