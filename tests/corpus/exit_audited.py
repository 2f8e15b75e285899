"""Listens to everything, to the interpreter's end too."""
import os
import sys

if hasattr(sys, 'addaudithook'):
    sys.addaudithook(lambda event, arguments, write=os.write: (
        write(1, event.encode() + b'\n') if event.startswith('cpython.') else None))
