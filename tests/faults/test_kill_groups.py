"""A runner with four workers, killed at a call of any of its threads, leaves nothing half-done.

Its commits are made in groups by a thread of their own; what it said was done must be.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Set
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import kill_all
from faults.harness import leftovers
from faults.harness import need_strace
from faults.harness import sizes
from faults.harness import spread
from faults.harness import unparsable
from faults.test_kill_at_syscall import CALLS
from support import Finished
from support import Workspace

N_STAGES = 24

#: So often a kill is tried that hits nobody or another process.
TRIES = 2

STAGE = '''\
import os
import sys

name = os.environ['PIPELINE_STAGE_NAME'] + '.txt'
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], name), 'w') as target:
    target.write(open(sys.argv[1]).read().upper() * 50)
'''


class Point(NamedTuple):
    """The n-th call of one kind in some thread."""

    call: str
    ordinal: int


def make_stages(root: Path) -> Workspace:
    """Make stages that wait for nothing; some of them publish into one folder."""
    workspace = Workspace(root)
    workspace.processor(STAGE, 'bin/work.py')
    workspace.write('data/input/in.txt', 'text\n' * 20)
    workspace.pipeline(*({'name': f's{number:02}', 'processor': 'bin/work.py',
                          'inputs': ['data/input/in.txt'], 'outputDir': f'out/{number % 5}'}
                         for number in range(N_STAGES)))
    return workspace


def copy(source: Workspace, target: Path) -> Workspace:
    """Copy a workspace over what was there."""
    shutil.rmtree(str(target), ignore_errors=True)
    shutil.copytree(str(source.root), str(target), symlinks=True)
    return Workspace(target)


def published(workspace: Workspace) -> Dict[str, bytes]:
    """Return what people see in the output folders."""
    return {name: data for name, data in workspace.contents('out').items() if '/.' not in name}


def points_of(install: Install, workspace: Workspace, trace: Path) -> List[Point]:
    """Return the calls of an undisturbed run by those threads that rename: the runner's.

    Openings are left out: most of them are for reading, and before them nothing differs.
    """
    done = install.run(workspace, '--max-workers', 4, prefix=[
        'strace', '-f', '-qq', '-o', str(trace), '-e', f'trace={CALLS}'])
    assert done.code == 0, done
    counts: Dict[Tuple[str, str], int] = Counter(re.findall(
        r'^(\d+) +(\w+)\(', trace.read_text(errors='replace'), re.MULTILINE))
    threads = {thread for thread, call in counts if call.startswith('rename')}
    most: Dict[str, int] = {}
    for (thread, call), count in counts.items():
        if thread in threads and not call.startswith('open'):
            most[call] = max(most.get(call, 0), count)
    return [Point(call, ordinal) for call in sorted(most)
            for ordinal in range(1, most[call] + 1)]


@sizes(2, 400)
@pytest.mark.integration
def test_a_runner_killed_in_a_group_has_committed_all_or_nothing(
        size: int, tmp_path: Path, install: Install) -> None:
    """Which call is the n-th differs from run to run, and a keeper may come to it first.

    Then the runner does not die of it, and the point is left out.
    """
    need_strace(CALLS)
    tally = Tally('kill-in-groups', SEED)
    start = make_stages(tmp_path / 'start')
    points = points_of(install, copy(start, tmp_path / 'w'), tmp_path / 'trace')
    golden = published(Workspace(tmp_path / 'w'))
    assert len(golden) == N_STAGES
    random.Random(SEED).shuffle(points)
    tally.notes.update(of=len(points), unreached=0)
    for point in spread(points, size):
        for _ in range(TRIES):
            workspace = copy(start, tmp_path / 'w')
            said = _kill_at(install, workspace, point, tmp_path / 'trace')
            if said is not None:
                break
        else:
            tally.notes['unreached'] += 1
            continue
        with tally.trial(f'{point.call} {point.ordinal}') as trial:
            trial.fired()
            _check(install, workspace, said, golden)
    tally.conclude()
    assert tally.n


def _kill_at(install: Install, workspace: Workspace, point: Point,
             trace: Path) -> Optional[Set[str]]:
    """Run until a call; return the stages that were said to be done, None if nobody died."""
    done = install.run(workspace, '--max-workers', 4, prefix=[
        'strace', '-f', '-qq', '-o', str(trace), '-e', f'trace={point.call}',
        '-e', f'inject={point.call}:signal=SIGKILL:when={point.ordinal}'])
    kill_all(workspace)
    return told(done, 'DONE') if done.code == -9 else None


def told(done: Finished, word: str) -> Set[str]:
    """Return the stages of which a run said one word."""
    return set(re.findall(rf'^\[{word}\] (\w+)', done.out, re.MULTILINE))


def _check(install: Install, workspace: Workspace, said: Set[str],
           golden: Dict[str, bytes]) -> None:
    """Assert that what is there is whole, that what was said holds, and that a run ends it."""
    assert published(workspace).items() <= golden.items()
    assert not unparsable(workspace), unparsable(workspace)

    done = install.run(workspace, '--max-workers', 4)

    assert (done.code, done.err) == (0, ''), done
    assert said <= told(done, 'SKIP'), (said, done)
    assert published(workspace) == golden and not leftovers(workspace), leftovers(workspace)
    again = install.run(workspace, '--max-workers', 4)
    assert (again.code, again.err) == (0, ''), again
    assert len(told(again, 'SKIP')) == N_STAGES, again
    verified = install.run(workspace, 'audit', 'verify')
    assert verified.code == 0, verified
