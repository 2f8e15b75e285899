"""Raise where nobody can catch it."""
import sys


class Bad:
    """Fails when it goes."""

    def __del__(self):
        raise ValueError('in __del__')


bad = Bad()
del bad
sys.unraisablehook = lambda raised: print('hook', raised.exc_type, raised.exc_value,
                                          raised.err_msg)
bad = Bad()
del bad
at_the_end = Bad()
print('main ends')
