"""Write a module and import it at once."""
import importlib
import sys

import helper  # noqa: F401 - the folder's listing is cached now

with open('bin/written.py', 'w') as written:
    written.write('VALUE = 1\n')
importlib.invalidate_caches()
import written  # noqa: E402

print(written.VALUE, written.__file__)
with open('bin/written.py', 'w') as target:
    target.write('VALUE = 1000\n')
importlib.invalidate_caches()
sys.dont_write_bytecode = True
print(importlib.reload(written).VALUE)
