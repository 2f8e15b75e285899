"""Change how deep calls may go."""
import sys


def depth(number):
    """Go down."""
    return depth(number - 1) + 1 if number else 0


print(sys.getrecursionlimit(), depth(900))
sys.setrecursionlimit(5000)
print(sys.getrecursionlimit(), depth(4500))
try:
    depth(10 ** 6)
except RecursionError as error:
    print(error)
