"""Go out of another thread."""

import threading

from _way import attempt
from _way import code


def go():
    """Start and wait."""
    thread = threading.Thread(target=exec, args=(code(), {}))
    thread.start()
    thread.join()


attempt(go)
