"""The queue killed at each write, flush and removal that one of its calls makes: all or nothing.

The calls are taken from a recorded run; each is then run again from the same
file and killed just before one of them.  What is found afterwards must be what
was there before the call or what is there after it, and the file be sound.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Sequence

import pytest

from faults.harness import SEED
from faults.harness import Tally
from faults.harness import need_strace
from faults.harness import real_interpreter
from faults.harness import run
from faults.harness import sizes
from faults.harness import spread
from stagerunner.work.store import WorkQueue
from support import SOURCE

#: Whatever changes a file, by the names that architectures have for it.
CALLS = ','.join(f'?{name}' for name in '''
    write pwrite64 fsync fdatasync unlink unlinkat ftruncate truncate rename renameat
    '''.split())

#: What is tried, call by call: a kill inside may leave what was there after any of them.
OPERATIONS: Dict[str, List[str]] = {
    'enqueue': ['queue.enqueue("new", {"x": 1}, priority=2)'],
    'import': ['queue.enqueue_many({"artifact_id": f"n{i}", "artifact": "x" * 100, '
               '"delay_sec": i % 3} for i in range(400))'],
    'lease': ['queue.lease("w", 3, 600)'],
    'heartbeat': ['queue.lease("w", 3, 600)', 'queue.heartbeat("w", 60)'],
    'ack': ['queue.ack(JOB, "done", token=TOKEN)'],
    'ack_many': ['jobs = queue.lease("w", 3, 600)',
                 'queue.ack_many([{"id": job["id"], "outcome": "skipped"} for job in jobs])'],
    'fail_and_retry': ['queue.fail_and_retry(JOB, 60, 3, "no luck", token=TOKEN)'],
    'last_failure': ['queue.fail_and_retry(JOB, 60, 1, "no luck", token=TOKEN)'],
    'refused': ['try:\n    queue.ack(JOB, "done", token="old")\n'
                'except Exception as error:\n    assert type(error).__name__ == "LeaseLost"'],
    'hand_back': ['queue.hand_back(JOB, token=TOKEN)'],
    'retry_failed': ['queue.retry_failed()'],
    'purge': ['queue.purge("done", "skipped")'],
    'pause': ['queue.pause()'],
    'resume': ['queue.pause()', 'queue.resume()'],
}


class Point(NamedTuple):
    """The n-th call of one kind."""

    call: str
    ordinal: int


def make_start(path: str) -> Dict[str, Any]:
    """Make a queue with entries in every state; return what the operations need to know."""
    queue = WorkQueue(path)
    queue.enqueue_many({'artifact_id': f'e{number}', 'artifact': number, 'priority': number % 2,
                        'delay_sec': number // 30 * 900} for number in range(40))
    jobs = queue.lease('v', 12, 900)
    for job, outcome in zip(jobs, ('done', 'skipped', 'error', 'done', 'error')):
        queue.ack(job['id'], outcome, last_error='why')
    for job in jobs[5:7]:
        queue.fail_and_retry(job['id'], 0, 3, 'once')
    # A lease that has run out, to be taken back by the next one.
    queue.lease('dead', 2, 0.001)
    queue.close()
    return {'JOB': jobs[-1]['id'], 'TOKEN': jobs[-1]['token']}


def program(path: str, known: Dict[str, Any], steps: Sequence[str]) -> List[str]:
    """Return the command line of an interpreter that takes these steps."""
    lines = ['import sys', 'sys.path.insert(0, sys.argv[1])',
             'from stagerunner.queue import WorkQueue', 'queue = WorkQueue(sys.argv[2])',
             *(f'{name} = {value!r}' for name, value in known.items()), *steps, 'queue.close()']
    return [real_interpreter(), '-B', '-S', '-E', '-c', '\n'.join(lines), str(SOURCE), path]


def content(path: str) -> Any:
    """Return what is in a file, without times and tokens, after looking whether it is sound."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        if not connection.execute('SELECT 1 FROM sqlite_master').fetchone():
            return None
        return [connection.execute(query).fetchall() for query in (
            'SELECT artifact_id, artifact_json, state, attempts, leases, priority, worker_id, '
            'token IS NULL, last_error, span, due > 0 FROM jobs ORDER BY id',
            'SELECT job_id, number, worker_id, outcome, error FROM attempts ORDER BY 1, 2',
            'SELECT paused, refused, queued, in_progress, done, skipped, error FROM facts')]
    finally:
        connection.close()


def recorded_points(done: Path, folder: Path) -> List[Point]:
    """Return every call about the folder, counted as strace counts: from the process's start."""
    counts: Dict[str, int] = Counter()
    points = []
    for line in done.read_text(encoding='utf-8', errors='replace').splitlines():
        found = re.match(r'(\w+)\(', line)
        if found:
            counts[found.group(1)] += 1
            if str(folder) in line:
                points.append(Point(found.group(1), counts[found.group(1)]))
    return points


class Ground:
    """Copies of a start, one per trial."""

    def __init__(self, tmp_path: Path, is_new: bool):
        self.start = tmp_path / 'start'
        self.start.mkdir()
        self.known = {} if is_new else make_start(str(self.start / 'queue.db'))
        self.folder = tmp_path / 'trial'
        self.path = str(self.folder / 'queue.db')
        self.trace = tmp_path / 'trace'

    def renew(self) -> None:
        shutil.rmtree(str(self.folder), ignore_errors=True)
        shutil.copytree(str(self.start), str(self.folder))

    def run(self, steps: Sequence[str], *prefix: str) -> int:
        self.renew()
        return run([*prefix, *program(self.path, self.known, steps)], cwd=self.folder).code

    def points(self, steps: Sequence[str]) -> List[Point]:
        code = self.run(steps, 'strace', '-y', '-qq', '-o', str(self.trace), '-e',
                        f'trace={CALLS}')
        assert code == 0
        return recorded_points(self.trace, self.folder)

    def kill_at(self, steps: Sequence[str], point: Point) -> bool:
        """Run until just before one call; True when the process died of it."""
        code = self.run(steps, 'strace', '-qq', '-o', str(self.trace), '-e',
                        f'trace={point.call}', '-e',
                        f'inject={point.call}:signal=SIGKILL:when={point.ordinal}')
        return code == -9 and '+++ killed by SIGKILL +++' in self.trace.read_text()


def check(ground: Ground, allowed: Sequence[Any]) -> None:
    """Assert that all or nothing was done, and that the queue goes on to work."""
    queue = WorkQueue(ground.path)
    # First by a reader, who cannot write what the dead one left undone.
    total = queue.stats()['total']
    found = content(ground.path)
    assert found in allowed, f'{found} is none of {allowed}'
    assert total == (len(found[0]) if found else 0)
    queue.resume()
    assert queue.enqueue('after', 1, priority=9)
    job, = queue.lease('after', 1, 60)
    queue.ack(job['id'], 'done')
    assert (job['artifact_id'], queue.stats()['total']) == ('after', total + 1)
    queue.close()
    content(ground.path)


@sizes(2, 10_000)
@pytest.mark.integration
@pytest.mark.parametrize('is_new', [True, False], ids=['new', 'used'])
def test_a_call_that_is_killed_did_all_or_nothing(tmp_path: Path, is_new: bool,
                                                  size: int) -> None:
    """With a file that is there, and (what needs no entry) with one that the call has to make.

    The sample takes some of the operations only.
    """
    need_strace(CALLS)
    tally = Tally(f'queue kill-at-syscall {"new" if is_new else "used"}', SEED)
    ground = Ground(tmp_path, is_new)
    names = ['enqueue', 'import', 'lease', 'pause'] if is_new else list(OPERATIONS)
    for name in spread(names, 2) if size == 2 else names:
        steps = OPERATIONS[name]
        # A file with nothing in it yet is a step of its own.
        allowed = [None, [[], [], [(0,) * 7]]] if is_new else []
        for n_steps in range(len(steps) + 1):
            assert ground.run(steps[:n_steps]) == 0
            allowed += [content(ground.path)] if Path(ground.path).exists() else []
        points = ground.points(steps)
        assert len({point.call for point in points}) >= 3, points
        for point in spread(points, size + 1):
            with tally.trial(f'{name}: {point.call} {point.ordinal}') as trial:
                assert ground.kill_at(steps, point)
                trial.fired()
                check(ground, allowed)
    tally.conclude()
