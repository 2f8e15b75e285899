"""Import a module by a name that is put together at run time."""

import importlib

from _way import HIDDEN
from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Connect and send."""
    with importlib.import_module(HIDDEN).create_connection((LOOPBACK, port())) as connection:
        connection.sendall(TOKEN)


attempt(go)
