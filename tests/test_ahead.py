"""Tests of `stagerunner.ahead`: large files are hashed in threads, as a hint."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from engine import Engine
from fakes import FakeClock
from fakes import FakeLauncher
from stagerunner import fingerprint
from stagerunner.ahead import LARGE
from stagerunner.ahead import Ahead
from stagerunner.fingerprint import Digests
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit


def later() -> FakeClock:
    """Return a clock on which every file is an hour old."""
    return FakeClock(now=time.time() + 3600)


@pytest.fixture
def paths(tmp_path):
    """Return the paths of three files of different content."""
    found = []
    for number in range(3):
        path = tmp_path / f'{number}.bin'
        path.write_bytes(bytes([number]) * (300_000 + number))
        found.append(str(path))
    return found


def sha(path: str) -> str:
    """Return a digest, computed without the code under test."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_what_threads_found_out_is_what_the_files_hold(paths):
    ahead = Ahead(paths, 2, later())
    taken = [ahead.take(path) for path in paths]
    ahead.close()

    for path, found in zip(paths, taken):
        assert found is None or found.digest == sha(path)
    assert all(not thread.is_alive() for thread in ahead.threads)


def test_a_file_that_no_thread_has_begun_with_is_left_to_the_caller(paths):
    ahead = Ahead(paths, 2, later())
    ahead.close()

    assert ahead.take('never asked for') is None


def test_a_file_that_cannot_be_read_is_none_of_its_business(paths, tmp_path):
    ahead = Ahead([str(tmp_path), str(tmp_path / 'missing')], 2, later())

    assert ahead.take(str(tmp_path)) is None
    ahead.close()


def test_what_is_half_hashed_is_let_go(tmp_path):
    big = tmp_path / 'big'
    with open(str(big), 'wb') as file:
        file.truncate(4 << 30)
    ahead = Ahead([str(big)], 1, later())

    ahead.close()

    assert not ahead.threads[0].is_alive()


# -- as digests use it -----------------------------------------------------------------

@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Return digests to which any file is large."""
    monkeypatch.setattr(fingerprint, 'LARGE', 1)
    digests = Digests(str(tmp_path / 'index.json'), later())
    yield digests
    digests.close()


def wait_for_all(digests):
    """Return when the threads have nothing left to do."""
    for thread in digests._ahead.threads:
        thread.join()


def test_digests_take_what_threads_found_out(digests, paths):
    digests.look_ahead(paths, 2)
    wait_for_all(digests)

    assert [digests.of(path)[0] for path in paths] == [sha(path) for path in paths]
    assert set(digests.known) == set(paths)


@pytest.mark.skipif(os.name != 'posix', reason='stats are not believed there')
def test_a_file_that_was_written_to_since_is_hashed_again(digests, paths):
    digests.look_ahead(paths, 2)
    wait_for_all(digests)
    time.sleep(0.02)
    Path(paths[0]).write_bytes(b'new')

    assert digests.of(paths[0])[0] == sha(paths[0])


def test_a_file_that_was_too_young_is_hashed_again(digests, paths):
    """Its stat could be the same although somebody wrote to it in the same tick."""
    digests.clock.set_wall(time.time() - 3600)
    digests.look_ahead(paths, 2)
    wait_for_all(digests)
    found = digests._ahead.begun[paths[0]]
    digests._ahead.begun[paths[0]] = found._replace(digest='planted')

    assert digests.of(paths[0])[0] == sha(paths[0])


@pytest.mark.parametrize('n_paths, n_threads', [(1, 2), (0, 2), (3, 1)])
def test_for_one_file_or_one_worker_there_are_no_threads(digests, paths, n_paths, n_threads):
    before = threading.active_count()
    digests.look_ahead(paths[:n_paths], n_threads)

    assert threading.active_count() == before and digests._ahead is None


def test_small_files_and_those_that_are_known_are_left_out(tmp_path, paths):
    digests = Digests(str(tmp_path / 'index.json'), later())
    digests.look_ahead(paths, 2)
    assert digests._ahead is None and os.path.getsize(paths[0]) < LARGE


@pytest.mark.slow
def test_a_run_with_two_workers_hashes_two_large_files_and_ends_its_threads(tmp_path):
    workspace = Workspace(tmp_path).simple()
    for name in 'ab':
        workspace.write(f'data/input/{name}.bin', name.encode() * (LARGE + 1))
    workspace.pipeline(*(stage(name, inputs=[f'data/input/{name}.bin']) for name in 'ab'))
    engine = Engine(workspace, FakeLauncher(later()))

    code = engine.run(workers=2)
    engine.close()

    assert code == 0 and sorted(engine.ran()) == ['a', 'b']
    assert workspace.json('data/a/.a.done')['parts']['inputs'][0][1] == sha(
        str(workspace.path('data/input/a.bin')))
    assert threading.active_count() == 1
