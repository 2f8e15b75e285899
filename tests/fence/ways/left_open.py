"""Use a connection that somebody forgot to close: any descriptor above the usual three."""

import os
import stat

from _way import TOKEN
from _way import attempt


def go():
    """Write to every socket that is there."""
    for name in os.listdir('/proc/self/fd'):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.write(int(name), TOKEN)
        except OSError:
            continue


attempt(go)
