"""A runner killed at any single call into the kernel leaves nothing half-done, and goes on."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Sequence
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import check_skips
from faults.harness import kill_all
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import need_strace
from faults.harness import outputs
from faults.harness import sizes
from faults.harness import spread
from faults.harness import unparsable
from support import Workspace

#: Whatever changes a disk or a lock, by the names that architectures have for it.
CALLS = ','.join(f'?{name}' for name in '''
    write pwrite64 openat open fsync fdatasync syncfs rename renameat renameat2 link linkat
    symlink symlinkat unlink unlinkat mkdir mkdirat rmdir ftruncate truncate flock
    '''.split())


#: Commits lines without lengths, as a processor in another language might. So it sees to it itself
#: that no line is there twice which it wrote and had not committed when it was killed.
UNVERIFIED = '''\
import json
import os
import sys

offset = int(os.environ['PIPELINE_LINE_OFFSET'])
progress = os.environ['PIPELINE_PROGRESS_PATH']
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'result.txt'), 'a+b') as result:
    result.seek(0)
    result.truncate(sum(len(result.readline()) for _ in range(offset)))
    for number, line in enumerate(open(sys.argv[1], 'rb'), 1):
        if number > offset:
            result.write(line.upper())
            if number % 20 == 0:
                result.flush()
                with open(progress + '.new', 'w') as target:
                    json.dump({'lineOffset': number}, target)
                os.replace(progress + '.new', progress)
'''


#: A run may have other calls than the one that was recorded: how often a derived file is written
#: depends on the time it takes, and who looks at /proc opens a file per process there is.  Then
#: the kill comes earlier or later, or not at all.
_TRIES = 3


class Point(NamedTuple):
    """The n-th call of one kind; to open a file for reading changes nothing."""

    call: str
    ordinal: int
    is_change: bool
    is_publishing: bool


class Scene(NamedTuple):
    """A state to start from, and the outputs of before and after the run that gets killed."""

    start: Path
    old: Dict[str, bytes]
    new: Dict[str, bytes]


def make_scene(tmp_path: Path, install: Install, upper: str, *, has_past: bool) -> Scene:
    """Make a workspace that has never run, or one whose input changed since its success."""
    demo = make_demo(tmp_path / 'start', install, make_text(230, seed=1), upper=upper)
    if upper == 'bin/unverified.py':
        demo.processor(UNVERIFIED, upper)
    if has_past:
        assert install.run(demo).code == 0
    old = outputs(demo)
    demo.write('data/input/sample.txt', make_text(260, seed=2))
    other = _copy(demo.root, tmp_path / 'golden')
    assert install.run(other).code == 0
    return Scene(demo.root, old, outputs(other))


def _copy(source: Path, target: Path) -> Workspace:
    shutil.copytree(str(source), str(target), symlinks=True)
    return Workspace(target)


def clean_points(install: Install, workspace: Workspace, trace: Path) -> List[Point]:
    """Return every call that an undisturbed run makes about the workspace or says on stdout.

    Ordinals count all calls of that name from the start of the process, those
    of the interpreter's own start too, because that is how strace counts them.
    """
    done = install.run(workspace, prefix=['strace', '-y', '-qq', '-o', str(trace),
                                          '-e', f'trace={CALLS}'])
    assert done.code == 0, done
    counts: Dict[str, int] = Counter()
    points = []
    for line in trace.read_text(encoding='utf-8', errors='replace').splitlines():
        found = re.match(r'(\w+)\(', line)
        if found:
            call = found.group(1)
            counts[call] += 1
            # (The folder that a relative path belongs to says nothing about the path.)
            path = re.sub(r'AT_FDCWD<[^>]*>', '', line)
            if str(workspace.root) in path or line.startswith('write(1<'):
                is_change = not call.startswith('open') or 'O_CREAT' in line
                points.append(Point(call, counts[call], is_change, call.startswith('rename')
                                    and '.stage_upper.partial' in line))
    return points


@sizes(3, 10_000)
@pytest.mark.integration
@pytest.mark.parametrize(('upper', 'has_past'), [
    pytest.param('bin/stage_upper.py', False, id='fresh'),
    pytest.param('bin/stage_upper.py', True, id='after-success'),
    pytest.param('bin/unverified.py', True, id='unverified')])
def test_a_runner_killed_at_any_call_is_followed_by_one_that_completes(
        upper: str, has_past: bool, size: int, tmp_path: Path, install: Install) -> None:
    """Every second time its orphan, if it left one, is killed as well; else it is waited for."""
    need_strace(CALLS)
    tally = Tally(f'kill-at-syscall {upper} {"after a success" if has_past else "fresh"}', SEED)
    scene = make_scene(tmp_path, install, upper, has_past=has_past)
    points = clean_points(install, _copy(scene.start, tmp_path / 'clean'), tmp_path / 'trace')
    tally.notes['of'] = len(points)
    chosen = points if size > len(points) else choose(points, size)
    tally.notes['unreached'] = 0
    workspace = Workspace(tmp_path / 'killed')
    for number, point in enumerate(chosen):
        if not any(_kill_at(install, scene, workspace, point) for _ in range(_TRIES)):
            tally.notes['unreached'] += 1
            continue
        with tally.trial(f'{point.call} {point.ordinal}') as trial:
            trial.fired()
            try:
                if number % 2:
                    kill_all(workspace)
                _check(install, workspace, scene)
            finally:
                kill_all(workspace)
    tally.conclude()
    assert tally.notes['unreached'] <= 1 + len(chosen) // 20
    assert len({point.call for point in chosen}) >= 2


def choose(points: Sequence[Point], size: int) -> List[Point]:
    """Return a sample: where outputs are published, and some of the rest.

    Openings for reading are left out: before them nothing differs from before
    the change that follows.
    """
    publishing = spread([point for point in points if point.is_publishing], size - 1)
    rest = [point for point in points if point.is_change and not point.is_publishing]
    return publishing + spread(rest, size - len(publishing))


def _kill_at(install: Install, scene: Scene, workspace: Workspace, point: Point) -> bool:
    """Run from the start until just before one call; True when the runner died of it."""
    shutil.rmtree(str(workspace.root), ignore_errors=True)
    _copy(scene.start, workspace.root)
    trace = Path(f'{workspace.root}.trace')
    done = install.run(workspace, prefix=[
        'strace', '-qq', '-o', str(trace), '-e', f'trace={point.call}',
        '-e', f'inject={point.call}:signal=SIGKILL:when={point.ordinal}'])
    return done.code == -9 and '+++ killed by SIGKILL +++' in trace.read_text(errors='replace')


def _check(install: Install, workspace: Workspace, scene: Scene) -> None:
    """Assert that nothing half-written is seen, and that the next run makes it whole."""
    for name, data in outputs(workspace).items():
        assert data in (scene.old.get(name), scene.new[name]), f'{name} is neither old nor new'
    assert outputs(workspace).keys() >= scene.old.keys()
    assert not unparsable(workspace), unparsable(workspace)

    done = install.run(workspace)

    assert done.code == 0, done
    assert outputs(workspace) == scene.new
    assert not leftovers(workspace), leftovers(workspace)
    check_skips(install, workspace)


def test_points_are_spread_over_all() -> None:
    """The harness itself: a sample has both ends and what lies between."""
    everything: List[Tuple[int, ...]] = [(number,) for number in range(100)]

    assert spread(everything, 1000) == everything
    assert spread(everything, 3) == [(0,), (50,), (99,)]
    assert spread(everything, 1) == [(0,)]
