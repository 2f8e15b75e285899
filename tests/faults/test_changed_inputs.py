"""An input that is edited while it is hashed or used is never recorded as valid."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import leftovers
from faults.harness import sizes
from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import wait_until

INPUT = 'data/input/in.txt'
MARKER = 'data/work/.work.done'

#: Says what it read: the digest of its input, taken before or after it met the test.
PROCESSOR = '''\
"""Write the digest of the input; with a file `wait`, first meet whoever made it."""
import hashlib
import os
import sys
import time

def digest():
    hasher = hashlib.sha256()
    if not os.path.exists(sys.argv[1]):
        return 'gone'
    with open(sys.argv[1], 'rb') as source:
        for block in iter(lambda: source.read(1 << 20), b''):
            hasher.update(block)
    return hasher.hexdigest()

early = digest()
if os.path.exists('wait'):
    with open('running', 'w'):
        pass
    while not os.path.exists('go'):
        time.sleep(0.002)
with open('read.txt', 'a') as read:
    read.write(early + '\\n' + digest() + '\\n')
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'digest.txt'), 'w') as out:
    out.write(early)
'''

RETRY_ONCE = {'maxAttempts': 1}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file as it is now."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def recorded(workspace: Workspace) -> Optional[str]:
    """Return the digest of the input for which the work is recorded as done, if any."""
    try:
        parts = json.loads(workspace.read(MARKER))['parts']
    except FileNotFoundError:
        return None
    return str(parts['inputs'][0][1])


def check_record(workspace: Workspace, done: Finished) -> None:
    """Assert that what is recorded as done was made from the bytes it is recorded for."""
    if done.code == 0:
        early, late = workspace.read('read.txt').split()[-2:]
        assert recorded(workspace) == early == late, (recorded(workspace), early, late, done)


def check_recovery(install: Install, workspace: Workspace) -> None:
    """Assert that with a quiet input everything is in order after one run."""
    done = install.run(workspace)
    assert done.code == 0, done
    now = digest_of(workspace.path(INPUT))
    assert recorded(workspace) == now and workspace.read('data/work/digest.txt') == now
    assert not leftovers(workspace)
    assert '[SKIP] work' in install.run(workspace).out


# -- while it is hashed ------------------------------------------------------------

class Mutator:
    """Flips bytes of a file again and again, and puts its times back each time."""

    def __init__(self, path: Path, rng: random.Random):
        self.path = path
        self.rng = rng
        self.n_edits = 0
        self.is_asked_to_end = threading.Event()

    def run(self) -> None:
        """Edit until asked to end."""
        found = self.path.stat()
        with open(str(self.path), 'r+b', buffering=0) as target:
            while not self.is_asked_to_end.wait(0.001):
                target.seek(self.rng.randrange(found.st_size))
                target.write(bytes([self.rng.randrange(256)]))
                os.utime(str(self.path), ns=(found.st_atime_ns, found.st_mtime_ns))
                self.n_edits += 1


@contextmanager
def mutated(path: Path, rng: random.Random) -> Iterator[Mutator]:
    """Edit a file all the time within this block."""
    mutator = Mutator(path, rng)
    thread = threading.Thread(target=mutator.run)
    thread.start()
    try:
        wait_until(lambda: mutator.n_edits, 'the first edit')
        yield mutator
    finally:
        mutator.is_asked_to_end.set()
        thread.join(PATIENCE_S)


@sizes(1, 50)
@pytest.mark.integration
def test_an_input_edited_while_it_is_hashed_is_not_recorded(size: int, tmp_path: Path,
                                                            install: Install) -> None:
    """The file is large (and empty on the disk), so that an edit falls into every reading."""
    tally = Tally('changed-while-hashed', SEED)
    rng = random.Random(f'{SEED} hash')
    workspace = Workspace(tmp_path / 'w').simple(PROCESSOR, retry=RETRY_ONCE)
    tally.notes['refused'] = 0
    for number in range(size):
        with open(str(workspace.path(INPUT)), 'wb') as target:
            target.truncate(rng.randrange(32, 64) * 1024 * 1024)
        before = recorded(workspace)
        with tally.trial(f'file {number}') as trial:
            with mutated(workspace.path(INPUT), rng) as mutator:
                n_before = mutator.n_edits
                done = install.run(workspace)
                if mutator.n_edits > n_before + 5:
                    trial.fired()
            assert done.code in (0, 1) and 'Traceback' not in done.err, done
            if done.code:
                tally.notes['refused'] += 1
                # On a machine under load an edit may come late for the reading.
                assert re.search(f'input {INPUT} changed while (it was read|its stage ran)',
                                 done.err), done
                assert recorded(workspace) == before
            check_record(workspace, done)
            if size <= 2 or number % 10 == 0:
                check_recovery(install, workspace)
    tally.conclude()
    assert tally.notes['refused'], 'no edit fell into a reading'


# -- while its stage runs ------------------------------------------------------------

def _overwrite(path: Path) -> None:
    """Other bytes, same size, same mtime."""
    found = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(str(path), ns=(found.st_atime_ns, found.st_mtime_ns))


def _append(path: Path) -> None:
    with open(str(path), 'ab') as target:
        target.write(b'more\n')


def _replace(path: Path) -> None:
    """Another file under the same name, with the size and the mtime of the first."""
    found = path.stat()
    other = path.with_suffix('.new')
    other.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(str(other), ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(str(other), str(path))


def _remove(path: Path) -> None:
    path.unlink()


def _there_and_back(path: Path) -> None:
    """Other bytes for a moment, then the old ones with the old mtime."""
    found, data = path.stat(), path.read_bytes()
    path.write_bytes(b'x' * len(data))
    path.write_bytes(data)
    os.utime(str(path), ns=(found.st_atime_ns, found.st_mtime_ns))


def _truncate(path: Path) -> None:
    path.write_bytes(b'')


EDITS: List[Callable[[Path], None]] = [
    _overwrite, _replace, _there_and_back, _append, _remove, _truncate]


@sizes(3, 100)
@pytest.mark.integration
def test_an_input_edited_while_its_stage_runs_is_not_recorded(size: int, tmp_path: Path,
                                                              install: Install) -> None:
    """The stage read the old bytes before the edit, the new ones after it, or both."""
    tally = Tally('changed-while-used', SEED)
    workspace = Workspace(tmp_path / 'w').simple(PROCESSOR, retry=RETRY_ONCE)
    for number in range(size):
        edit = EDITS[number % len(EDITS)]
        workspace.write(INPUT, f'content number {number}\nof many\n')
        before = recorded(workspace)
        with tally.trial(edit.__name__) as trial:
            done = _run_and_edit(install, workspace, edit)
            trial.fired()
            assert done.code == 1, done
            assert f'input {INPUT} changed while its stage ran' in done.err, done
            assert recorded(workspace) == before and not leftovers(workspace)
            if not workspace.path(INPUT).exists():
                workspace.write(INPUT, f'content number {number}\nof many\n')
            check_recovery(install, workspace)
    tally.conclude()


def _run_and_edit(install: Install, workspace: Workspace,
                  edit: Callable[[Path], None]) -> Finished:
    """Run, edit the input while its stage runs, and return how the run ended."""
    workspace.write('wait')
    with open(str(workspace.path('err')), 'w+') as err:
        process = install.start(workspace, stderr=err)
        wait_until(workspace.path('running').exists, 'the start of the stage')
        edit(workspace.path(INPUT))
        workspace.write('go')
        code = process.wait(PATIENCE_S)
        err.seek(0)
        said = err.read()
    for name in ('wait', 'running', 'go'):
        workspace.path(name).unlink()
    return Finished(code, '', said)


@pytest.mark.slow
@pytest.mark.integration
def test_an_edit_right_after_the_stage_is_seen_by_the_next_run(tmp_path: Path,
                                                               install: Install) -> None:
    """Same size, mtime put back: only content and time of change tell."""
    workspace = Workspace(tmp_path / 'w').simple(PROCESSOR)
    seen: Dict[str, Any] = {}
    for number in range(3):
        assert install.run(workspace).code == 0
        seen[workspace.read('data/work/digest.txt')] = number
        _overwrite(workspace.path(INPUT))
        workspace.write(INPUT, workspace.read(INPUT).replace('o', str(number)))
    assert len(seen) == 3
