"""Do odd things to the module that runs."""
import sys
import types

main = sys.modules['__main__']
sys.modules['__main__'] = types.ModuleType('__main__', 'replaced')
print(main.__doc__, __name__, sys.modules['__main__'].__doc__)


class Late:
    """Goes with the old main module."""

    def __del__(self):
        print('late')


late = Late()
del sys.modules['__main__']
print(__name__, late is not None)
