"""Open a connection in an event loop."""

import importlib

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Connect and send."""
    loops = importlib.import_module('async' + 'io')

    async def tell():
        _, writer = await loops.open_connection(LOOPBACK, port())
        writer.write(TOKEN)
        await writer.drain()
        writer.close()

    loops.run(tell())


attempt(go)
