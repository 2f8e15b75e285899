"""Start an interpreter with a `sitecustomize` on its PYTHONPATH."""

import os
import subprocess
import sys

from _way import attempt
from _way import code
from _way import leave


def go():
    """Write it and start."""
    folder = os.path.dirname(leave('startup/sitecustomize.py', code()))
    subprocess.call([sys.executable, '-c', 'pass'], env=dict(os.environ, PYTHONPATH=folder))


attempt(go)
