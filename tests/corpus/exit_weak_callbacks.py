"""Somebody waits for the end of something that only an interpreter's end brings about."""
import os
import sys
import weakref


class Kept:
    pass


def tell(reference, write=os.write):
    write(1, b'gone\n')


os.kept = Kept()
# Not with it: what a collector finds together goes without a word (see `differ_collector.py`).
sys.reference = weakref.ref(os.kept, tell)
