"""Go out of a fork."""

import os

from _way import attempt
from _way import code


def go():
    """Fork and wait."""
    child = os.fork()
    if child == 0:
        try:
            exec(code(), {})
        finally:
            os._exit(0)
    os.waitpid(child, 0)


attempt(go)
