"""Replace the hook for uncaught errors."""
import sys
import traceback


def hook(kind, error, trace):
    """Print the error in another way."""
    print('hook', kind, error, error.__traceback__ is trace, sys.excepthook is hook)
    print([(line.name, line.lineno) for line in traceback.extract_tb(trace)])
    print(globals().get('__file__') is not None, sys.exc_info(), sys.last_type)


sys.excepthook = hook
raise ValueError('seen by the hook')
