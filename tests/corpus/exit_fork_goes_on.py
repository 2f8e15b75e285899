"""Fork and let the child leave through the end of the script."""
import atexit
import os
import sys

atexit.register(lambda: print('handler of', who))
who = 'parent'
sys.stdout.flush()
child = os.fork()
if child == 0:
    who = 'child'
    print('the child ends with an error', flush=True)
    raise ValueError('child')
print(os.waitpid(child, 0)[1])
