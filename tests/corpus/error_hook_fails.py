"""Fail in the hook for uncaught errors."""
import sys


def hook(kind, error, trace):
    """Fail."""
    raise LookupError('in the hook')


sys.excepthook = hook
raise ValueError('original')
