"""Count how often this module is executed."""

import builtins

builtins.HELPER_RUNS = getattr(builtins, 'HELPER_RUNS', 0) + 1
NAME = __name__
KEYS = sorted(globals())


def fail():
    """Raise from another file."""
    raise LookupError('from the helper')
