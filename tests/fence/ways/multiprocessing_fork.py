"""Go out of a child of multiprocessing."""

import multiprocessing

from _way import attempt
from _way import code


def go():
    """Start and wait."""
    child = multiprocessing.get_context('fork').Process(target=exec, args=(code(), {}))
    child.start()
    child.join()


attempt(go)
