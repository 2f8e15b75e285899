"""Look around from a handler after sys.exit."""
import atexit
import sys

atexit.register(lambda: print(globals().get('__file__', 'no file'), hasattr(sys, 'last_value'),
                              sys.excepthook is sys.__excepthook__, sys.exc_info()))
sys.exit(9)
