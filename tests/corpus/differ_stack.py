"""Look below the first frame of the script."""
import inspect
import sys
import traceback
import warnings

print(len(inspect.stack()), sys._getframe().f_back is None)
traceback.print_stack()
warnings.warn('blames nobody', stacklevel=2)


def depth(number):
    """Count how deep calls may go."""
    try:
        return depth(number + 1)
    except RecursionError:
        return number


print(depth(0))
