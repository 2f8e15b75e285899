"""Somebody waits for the end of something that only an interpreter's end brings about."""
import os
import weakref


class Kept:
    pass


def tell(reference, write=os.write):
    write(1, b'gone\n')


os.kept = Kept()
os.reference = weakref.ref(os.kept, tell)
