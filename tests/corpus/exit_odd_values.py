"""End each of some children with an odd value."""
import os
import sys

for value in (None, True, False, -1, 256, 2 ** 40, 'text', ['list'], 0.5, b'bytes'):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        sys.exit(value)
    print(value, os.waitpid(child, 0)[1])
