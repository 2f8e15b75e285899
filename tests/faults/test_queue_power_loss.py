"""After a power cut the queue is sound, and nothing that was told by anybody is undone.

Two processes write at once, so the flush of one falls between the writes of
the other: what each told rests on the journal as a whole.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from typing import Dict
from typing import List

import pytest

from faults.harness import SEED
from faults.harness import Tally
from faults.harness import environment
from faults.harness import need_strace
from faults.harness import real_interpreter
from faults.harness import run
from faults.harness import sizes
from faults.harness import spread
from faults.power import CALLS
from faults.power import STRACE
from faults.power import Crash
from faults.power import Recording
from faults.power import crashes
from faults.power import restore
from stagerunner.work.store import WorkQueue
from support import SOURCE

#: Two processes put in, lease and finish, and tell what is done; `planted` leaves out flushes.
PROGRAM = '''\
import os
import sys

sys.path.insert(0, sys.argv[1])
from stagerunner import journal
from stagerunner.queue import WorkQueue

if sys.argv[2] == 'planted':
    journal._flush = lambda descriptor: None
child = os.fork()
queue = WorkQueue('queue.db')
for number in range(4):
    name = '%s%d' % ('p' if child else 'c', number)
    queue.enqueue(name, number)
    os.write(1, b'put %s\\n' % name.encode())
    job, = queue.lease('w', 1, 600)
    os.write(1, b'leased %s\\n' % job['artifact_id'].encode())
    queue.ack(job['id'], 'done', token=job['token'])
    os.write(1, b'done %s\\n' % job['artifact_id'].encode())
if child:
    os.waitpid(child, 0)
    queue.close()
'''

#: What was told of an entry, and the states in which it may be then.
ALLOWED = {'put': ['queued', 'in_progress', 'done'], 'leased': ['in_progress', 'done'],
           'done': ['done']}


def record(root: Path, planted: str) -> Recording:
    need_strace(CALLS)
    root.mkdir()
    recording = Recording(root)
    trace = Path(f'{root}.trace')
    done = run([*STRACE, '-o', trace, real_interpreter(), '-B', '-S', '-c', PROGRAM, SOURCE,
                planted], cwd=root, env=environment())
    assert (done.code, len(done.out.split())) == (0, 48), done
    return recording.read(trace)


def check(crash: Crash, folder: Path) -> None:
    """Assert that the file is sound, has all that was told, and can be worked with."""
    restore(crash.tree, folder)
    try:
        queue = WorkQueue(str(folder / 'queue.db'))
        states = {entry.artifact_id: entry.state for entry in queue.entries()}
        assert queue.stats()['total'] == len(states)
        for line in crash.said.splitlines():
            word, name = line.split()
            assert states.get(name) in ALLOWED[word], f'{line}, but it is {states.get(name)}'
        queue.enqueue('after', 1)
        queue.close()
        connection = sqlite3.connect(str(folder / 'queue.db'))
        assert connection.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
        connection.close()
    finally:
        shutil.rmtree(str(folder))


def states_of(recording: Recording, size: int, rng: random.Random) -> List[Crash]:
    """Return states of the disk, each once: at `size` moments, at most a dozen of each."""
    found: Dict[object, Crash] = {}
    for n_ops in spread(range(len(recording.ops) + 1), size):
        some = list(crashes(recording, n_ops))
        for crash in some[:2] + rng.sample(some[2:], min(10, len(some) - 2)):
            found[tuple(sorted(crash.tree.items())), crash.said] = crash
    return list(found.values())


@sizes(25, 10_000)
@pytest.mark.integration
@pytest.mark.parametrize('planted', ['none', 'planted'])
def test_what_any_process_told_survives_a_power_cut(planted: str, size: int,
                                                    tmp_path: Path) -> None:
    """The planted bug (the journal is not flushed) proves that the model bites."""
    tally = Tally(f'power-loss queue, planted: {planted}', SEED)
    recording = record(tmp_path / 'w', planted)
    tally.notes['overlaps'] = sum(op.kind == 'sync' and op.at < index
                                  for index, op in enumerate(recording.ops))
    n_moments = 5 if planted == 'planted' else size
    for crash in states_of(recording, n_moments, random.Random(SEED)):
        tally.n += 1
        tally.n_fired += 1
        try:
            check(crash, tmp_path / 'disk')
            tally.n_ok += 1
        except AssertionError as error:
            tally.bad.append(f'{crash.what}: {str(error)[:300]}')
    if planted == 'planted':
        assert tally.bad, 'the planted bug was not noticed'
        tally.notes['caught'], tally.bad = len(tally.bad), []
    tally.conclude()
