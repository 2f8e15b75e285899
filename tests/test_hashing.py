"""Tests of `stagerunner.hashing`: whoever computes it, it is the same SHA-256."""

from __future__ import annotations

import hashlib
import sys

import pytest

from stagerunner.hashing import FEW_BYTES
from stagerunner.hashing import Hashing
from stagerunner.hashing import built_in_sha256
from support import SOURCE
from support import run_process

pytestmark = pytest.mark.unit


@pytest.mark.parametrize('n_bytes', [0, FEW_BYTES])
def test_both_compute_the_same(n_bytes):
    hashing = Hashing(n_bytes)

    for data in (b'', b'a', bytes(range(256)) * 300):
        hasher = hashing.begin(len(data))
        hasher.update(data)
        assert hasher.hexdigest() == hashlib.sha256(data).hexdigest()


def test_what_is_more_than_the_first_bytes_is_for_openssl():
    hashing, openssl = Hashing(10), type(hashlib.sha256())

    if built_in_sha256() is not None:
        assert type(hashing.begin(10)) is not openssl
    assert [type(hashing.begin(size)) for size in (1, 0)] == [openssl] * 2


def test_where_none_is_built_in_openssl_does_it_all():
    hashing = Hashing(10)
    hashing.built_in = None

    assert type(hashing.begin(1)) is type(hashlib.sha256())


@pytest.mark.skipif(built_in_sha256() is None, reason='none is built in')
@pytest.mark.parametrize('size, is_loaded', [(1000, False), (FEW_BYTES + 1, True)])
def test_openssl_is_loaded_only_for_much(tmp_path, size, is_loaded):
    # Without `site`: what measures coverage begins there, and loads it itself.
    done = run_process(sys.executable, '-S', '-c', (
        f'import sys; sys.path.insert(0, {str(SOURCE)!r})\n'
        'from stagerunner.files import digest_bytes\n'
        f'digest_bytes(bytes({size}))\n'
        'print("_hashlib" in sys.modules)\n'), cwd=tmp_path)

    assert done.out.strip() == str(is_loaded)
