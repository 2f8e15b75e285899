"""Find no children but one's own."""
import os

try:
    print(os.wait())
except ChildProcessError as error:
    print(error)
child = os.fork()
if child == 0:
    os._exit(3)
print(os.wait()[1] >> 8)
grandchild = os.fork()
if grandchild == 0:
    os.setsid()
    os._exit(os.getsid(0) != os.getpid())
print(os.waitpid(grandchild, 0)[1])
