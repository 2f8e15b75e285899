"""Import the script from the script."""
import sys

import __main__

print(__main__ is sys.modules['__main__'], vars(__main__) is globals(), __main__.__name__)
__main__.planted = 3
print(planted)  # noqa: F821
import code_import_main  # noqa: E402 - executed once more under its own name

print(code_import_main is __main__, sorted(name for name in sys.modules if 'import_main' in name))
