"""Print from both sides of a fork, with something in the buffer."""
import os
import sys

print('before the fork', flush=True)
print('buffered')
child = os.fork()
if child == 0:
    print('child')
else:
    os.waitpid(child, 0)
    print('parent', file=sys.stdout)
