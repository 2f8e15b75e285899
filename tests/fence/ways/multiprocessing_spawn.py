"""Go out of a fresh interpreter that multiprocessing starts."""

import multiprocessing

from _way import attempt
from _way import code


def go():
    """Start and wait."""
    child = multiprocessing.get_context('spawn').Process(target=exec, args=(code(), {}))
    child.start()
    child.join()


if __name__ == '__main__':
    attempt(go)
