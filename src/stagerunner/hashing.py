"""Choose who computes a SHA-256: what is built into the interpreter, or OpenSSL.

OpenSSL is five times as fast, and takes two milliseconds to load.  Most runs
hash little, so it is loaded when there is much to do.
"""

from __future__ import annotations

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
    """Return the constructor that needs no OpenSSL, as `random` of the standard library does."""
    for name in ('_sha2', '_sha256'):
        try:
            return import_module(name).sha256
        except ImportError:
            # Another version of Python has it, or this one was built without.
            continue
    return None


sha256 = Hashing(FEW_BYTES).begin
