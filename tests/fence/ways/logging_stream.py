"""Log to a server: `logging.handlers` opens the connection."""

import logging
import logging.handlers

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Log."""
    logging.raiseExceptions = False
    handler = logging.handlers.SocketHandler(LOOPBACK, port())
    handler.handle(logging.makeLogRecord({'msg': TOKEN.decode('ascii')}))
    handler.close()


attempt(go)
