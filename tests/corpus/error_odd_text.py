"""Raise errors whose text cannot be made, or is odd."""
import sys


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self):
        raise ValueError('no text')


class Long(Exception):
    """Has many lines."""


for error in (Mute(), Long('a\nb\nä\udc80'), OSError(2, 'no', 'file'),
              UnicodeDecodeError('x', b'y', 0, 1, 'z')):
    sys.excepthook(type(error), error, None)
Long.__module__ = 'elsewhere'
raise Long('of another module', 3)
