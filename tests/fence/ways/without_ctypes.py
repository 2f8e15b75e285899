"""Keep the runner's own code from `ctypes`, by a module of that name on PYTHONPATH.

The test puts it there: `_shadow/ctypes.py`, through `env` of the stage.
"""

from _way import attempt
from _way import code

attempt(lambda: exec(code(), {}))
