"""Die of a bad address, and let children die of others."""
import ctypes
import os
import resource
import signal

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for number in (signal.SIGABRT, signal.SIGKILL, signal.SIGBUS, signal.SIGUSR1, signal.SIGALRM):
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), number)
    print(number, os.waitpid(child, 0)[1] & 127, flush=True)
ctypes.string_at(0)
