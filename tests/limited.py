"""Do something with less than root has: without its rights, or without room for large files."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Iterator

import pytest

NOBODY = 65534

needs_root = pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0,
                                reason='only root can give up rights')


@contextlib.contextmanager
def no_file_over(size_bytes: int) -> Iterator[None]:
    """Let every write beyond a size fail with EFBIG, as a full disk does with ENOSPC."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Do what follows without the rights of root, who must have set up names without a root."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
