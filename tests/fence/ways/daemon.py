"""Leave a process behind that goes out a second after the stage is over."""

import os
import time

from _way import attempt
from _way import code

DELAY_S = 1.0


def go():
    """Fork twice, so that nobody is the parent; hold no pipe of the stage."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        time.sleep(DELAY_S)
        exec(code(), {})
    finally:
        os._exit(0)


attempt(go)
