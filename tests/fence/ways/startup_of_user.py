"""Have a `usercustomize` in the user's own packages run before this very script.

The test puts it there: `_startup/sitecustomize.py`, under PYTHONUSERBASE.
"""

from _way import attempt

attempt(lambda: None)
