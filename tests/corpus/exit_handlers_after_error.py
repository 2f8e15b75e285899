"""Look at the error from a handler."""
import atexit
import sys
import traceback


def tell():
    """Show what the interpreter remembers."""
    print(sys.last_type, sys.last_value, getattr(sys, 'last_exc', None) is not None,
          globals().get('__file__', 'no file'), sys.excepthook is sys.__excepthook__)
    print(''.join(traceback.format_tb(sys.last_traceback)))
    print(''.join(traceback.format_tb(sys.last_value.__traceback__)))


atexit.register(tell)
raise ValueError('looked at later')
