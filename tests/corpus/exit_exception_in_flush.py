"""Fail when the streams are flushed at the end."""
import sys


class Stream:
    """A stream that cannot be flushed."""

    def write(self, text):
        """Lose it."""

    def flush(self):
        """Fail."""
        raise OSError('cannot be flushed')


sys.stdout = Stream()
print('lost')
