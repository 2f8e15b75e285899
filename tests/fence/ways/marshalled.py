"""Execute compiled code that was stored as data."""

import marshal

from _way import attempt
from _way import code


def go():
    """Store and execute."""
    stored = marshal.dumps(compile(code(), 'stored', 'exec'))
    exec(marshal.loads(stored), {})


attempt(go)
