"""Print from all kinds of finalizers."""
import sys
import weakref

import helper


class Noisy:
    """Tells when it goes."""

    def __init__(self, name):
        self.name = name

    def __del__(self):
        print('del', self.name, sys is None, __name__, type(helper).__name__)


def generator():
    """Never finished."""
    try:
        yield 1
    finally:
        print('generator closed')


in_main = Noisy('in main')
helper.kept = Noisy('in a helper')
sys.kept = Noisy('in sys')
cycle = Noisy('in a cycle')
cycle.self = cycle
running = generator()
next(running)
weakref.finalize(in_main, print, 'finalize')
watched = weakref.ref(helper.kept, lambda ref: print('weak callback'))
kept_by_default = [Noisy('in a list')]
print('main ends')
