"""Choose who computes a SHA-256: what is built into the interpreter, or OpenSSL.

OpenSSL is five times as fast, and takes two milliseconds to load.  Most runs
hash little, so it is loaded when there is much to do.
"""

from __future__ import annotations

import sys
from importlib import import_module

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

#: In the time that it takes to load OpenSSL, the other one gets through about so much.
FEW_BYTES = 512 * 1024


class Hashing:
    """Makes hashers; the first `n_bytes` are for the built-in one, where there is such."""

    def __init__(self, n_bytes: int):
        self.n_left = n_bytes
        self.built_in = built_in_sha256()

    def begin(self, n_bytes: int) -> Any:
        """Return a new SHA-256, as `hashlib` has it, for about so many bytes."""
        self.n_left -= n_bytes
        if self.n_left >= 0 and self.built_in is not None:
            return self.built_in()
        import hashlib

        return hashlib.sha256()


def built_in_sha256() -> Any:
    """Return the constructor that needs no OpenSSL, as `random` of the standard library does.

    None where this Python was built without.  (`launch.boot`, which imports nothing of the
    project, has its own.)
    """
    try:
        return import_module('_sha2' if sys.version_info >= (3, 12) else '_sha256').sha256
    except ImportError:
        return None


sha256 = Hashing(FEW_BYTES).begin
