"""Change a helper while running, and load it again."""
import importlib

import helper

with open(helper.__file__, 'a') as source:
    source.write('CHANGED = 1\n')
print(importlib.reload(helper).CHANGED)
