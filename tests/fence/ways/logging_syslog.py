"""Log to a system log elsewhere, by UDP."""

import logging
import logging.handlers

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Log."""
    handler = logging.handlers.SysLogHandler((LOOPBACK, port('UDP')))
    handler.handle(logging.makeLogRecord({'msg': TOKEN.decode('ascii')}))
    handler.close()


attempt(go)
