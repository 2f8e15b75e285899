"""List the compiled helpers that are kept for next time."""
import os
import sys

sys.dont_write_bytecode = False
import helper  # noqa: E402

print(os.path.isdir(os.path.join(os.path.dirname(helper.__file__), '__pycache__')))
