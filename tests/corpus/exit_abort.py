"""Abort in C."""
import os
import resource

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
print('flushed', flush=True)
os.abort()
