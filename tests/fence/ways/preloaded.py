"""Have a library loaded into every program of the stage (LD_PRELOAD), before any fence.

The test compiles it, where it can: `_startup/preload.c`.
"""

from _way import attempt

attempt(lambda: None)
