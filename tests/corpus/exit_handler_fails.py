"""Raise in handlers for the end."""
import atexit
import sys


def fail():
    """Fail."""
    raise ValueError('at the end')


atexit.register(print, 'goes on')
atexit.register(fail)
atexit.register(sys.exit, 5)
