"""Import a helper in several ways, and again."""
import builtins
import importlib
import sys

import helper

again = __import__('helper')
print(again is helper, builtins.HELPER_RUNS, helper.NAME, helper.KEYS)
importlib.reload(helper)
print(builtins.HELPER_RUNS, helper.__file__, helper.__spec__.origin, helper.__spec__.cached)
del sys.modules['helper']
print(importlib.import_module('helper') is helper, builtins.HELPER_RUNS,
      type(helper.__loader__).__name__)
print(importlib.util.find_spec('helper').loader,
      importlib.util.find_spec('pack').submodule_search_locations)
