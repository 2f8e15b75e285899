"""Go out as soon as an interpreter starts, before the script of the way."""

import os
import sys

if os.environ.get('WAY_NAME', '').startswith('startup_'):
    sys.path.insert(0, os.environ['WAY_FOLDER'])
    from _way import code
    exec(code(), {})
