"""Import a module of which only compiled code exists."""

import os
import py_compile
import sys

from _way import attempt
from _way import code
from _way import leave
from _way import place


def go():
    """Compile, remove the source, import."""
    source = leave('compiled/only_compiled.py', code())
    py_compile.compile(source, place('compiled/only_compiled.pyc'), doraise=True)
    os.unlink(source)
    sys.path.insert(0, place('compiled'))
    __import__('only_compiled')


attempt(go)
