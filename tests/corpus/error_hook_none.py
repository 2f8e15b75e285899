"""Have None as a hook for uncaught errors."""
import sys

sys.excepthook = None
raise ValueError('hook is none')
