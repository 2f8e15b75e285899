"""Register handlers for the end."""
import atexit
import sys


def tell(*args):
    """Tell what is still there."""
    print(*args, __name__, globals().get('__file__', 'no file'), sorted(globals()),
          hasattr(sys, 'last_value'), sys.modules['__main__'].__dict__ is globals())


atexit.register(tell, 'first registered')
atexit.register(tell, 'second registered')
atexit.register(atexit.register, tell, 'registered at the end')
print(atexit._ncallbacks())
