"""Write a script and run it in this interpreter."""

import runpy

from _way import attempt
from _way import code
from _way import leave

attempt(lambda: runpy.run_path(leave('written/script.py', code())))
