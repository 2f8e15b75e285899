"""Go without a hook for uncaught errors."""
import sys

del sys.excepthook
raise ValueError('no hook')
