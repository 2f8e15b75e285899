"""Leave from the hook for uncaught errors."""
import sys


def hook(kind, error, trace):
    """Leave."""
    sys.exit(11)


sys.excepthook = hook
raise ValueError('original')
