"""Shorten tracebacks."""
import sys

sys.tracebacklimit = 1


def fail():
    """Fail."""
    raise ValueError('short')


fail()
