"""The queue with real processes and real kills: nothing twice, nothing acknowledged lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import List

import pytest

from faults.harness import SEED
from faults.harness import Tally
from faults.harness import sizes
from stagerunner.work.store import WorkQueue
from support import PATIENCE_S
from support import SOURCE
from support import wait_until

#: Leases and finishes until nothing is left, and notes each entry that it got.
LEASING = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import WorkQueue
queue = WorkQueue(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
got = []
while True:
    jobs = queue.lease(sys.argv[3], 25, 600)
    if not jobs:
        break
    for job in jobs:
        got.append(job['artifact_id'])
    queue.ack(jobs[0]['id'], 'done', token=jobs[0]['token'])
queue.close()
print(*got)
'''

#: Puts in, leases and finishes for ever, and says what it was told to be done.
WRITING = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import WorkQueue
queue = WorkQueue(sys.argv[2])
number = 0
while True:
    name = f'{sys.argv[3]}-{number}'
    queue.enqueue(name, {'number': number})
    print('put', name, flush=True)
    for job in queue.lease('w', 2, 600):
        queue.ack(job['id'], 'done', token=job['token'])
        print('done', job['artifact_id'], flush=True)
    number += 1
'''

#: Puts the same entries in as everybody else.
ENQUEUEING = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import WorkQueue
queue = WorkQueue(sys.argv[2])
print('ready', flush=True)
sys.stdin.readline()
print(*(number for number in range(int(sys.argv[4])) if queue.enqueue(f'e{number}', number)))
queue.close()
'''


#: Does everything at random, as fast as it can, beside others who do the same.
MIXED = '''\
import random
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import LeaseLost
from stagerunner.queue import WorkQueue
name = sys.argv[3]
queue = WorkQueue(sys.argv[2])
rng = random.Random(int(name))
print('ready', flush=True)
sys.stdin.readline()
held = []
for number in range(int(sys.argv[4])):
    act = rng.randrange(10)
    if act < 3:
        queue.enqueue(f'{name}-{number}', number, priority=act)
    elif act < 5:
        held += queue.lease(name, 2, 60)
    elif act < 8 and held:
        job = held.pop()
        if act < 7:
            queue.ack(job['id'], 'done', token=job['token'])
        else:
            queue.fail_and_retry(job['id'], 0, 3, 'x', token=job['token'])
    elif act == 8:
        queue.heartbeat(name, 60)
    else:
        stats = queue.stats()
        assert stats.pop('total') == sum(stats.values())
queue.close()
print(*(job['artifact_id'] for job in held))
'''


def start(program: str, path: str, *args: Any, **streams: Any) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-S', '-E', '-c', program, str(SOURCE), path, *map(str, args)],
        universal_newlines=True, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        **dict({'stdout': subprocess.PIPE}, **streams))


def all_at_once(program: str, path: str, n: int, *args: Any) -> List[List[str]]:
    """Start processes, let them go together, and return the words that each printed."""
    processes = [start(program, path, number, *args) for number in range(n)]
    for process in processes:
        assert process.stdout.readline() == 'ready\n', process.communicate()
    for process in processes:
        process.stdin.write('go\n')
        process.stdin.flush()
    ended = [process.communicate(timeout=PATIENCE_S) for process in processes]
    assert [process.returncode for process in processes] == [0] * n, ended
    assert [err for _, err in ended] == [''] * n
    return [out.split() for out, _ in ended]


def integrity(path: str) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute('PRAGMA integrity_check').fetchone()[0])
    finally:
        connection.close()


@sizes(2_000, 20_000)
@pytest.mark.integration
def test_four_processes_get_every_entry_once(tmp_path: Path, size: int) -> None:
    path = str(tmp_path / 'queue.db')
    queue = WorkQueue(path)
    queue.enqueue_many({'artifact_id': f'e{number}', 'artifact': number}
                       for number in range(size))

    got = all_at_once(LEASING, path, 4)

    assert sorted(sum(got, [])) == sorted(f'e{number}' for number in range(size))
    stats = queue.stats()
    assert (stats['queued'], stats['done'] + stats['in_progress']) == (0, size)
    queue.close()


@sizes(30, 500)
@pytest.mark.integration
def test_of_processes_that_put_in_the_same_each_entry_is_new_to_one(tmp_path: Path,
                                                                    size: int) -> None:
    path = str(tmp_path / 'queue.db')

    new = all_at_once(ENQUEUEING, path, 8 if size > 100 else 4, size)

    assert sorted(map(int, sum(new, []))) == list(range(size))
    queue = WorkQueue(path)
    assert queue.stats()['total'] == size
    queue.close()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('n_processes', 'n_each'), [
    pytest.param(5, 20, id='sample'),
    pytest.param(16, 300, id='full', marks=pytest.mark.campaign)])
def test_many_processes_that_do_everything_at_once_meet_no_locked_file(tmp_path, n_processes,
                                                                       n_each):
    path = str(tmp_path / 'queue.db')

    held = sum(all_at_once(MIXED, path, n_processes, n_each), [])

    queue = WorkQueue(path)
    assert sorted(entry.artifact_id for entry in queue.entries('in_progress', limit=10_000)) \
        == sorted(held)
    assert queue.refused() == 0
    queue.close()
    assert integrity(path) == 'ok'


@sizes(6, 60)
@pytest.mark.integration
def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path, size: int) -> None:
    """Killed after a different number of lines each time, so in the middle of any write."""
    tally = Tally('queue kills', SEED)
    path = str(tmp_path / 'queue.db')
    told: List[str] = []
    for number in range(size):
        with tally.trial(f'kill {number}') as trial:
            said = tmp_path / f'said-{number}'
            with said.open('wb') as stdout:
                process = start(WRITING, path, number, stdout=stdout)
                wait_until(lambda said=said, n=number: said.stat().st_size > 20 + 7 * n)
                os.kill(process.pid, signal.SIGKILL)
                process.communicate(timeout=PATIENCE_S)
            assert process.returncode == -signal.SIGKILL
            trial.fired()
            told += said.read_text('ascii').splitlines()
            queue = WorkQueue(path)
            # Read first: a reader that cannot write has to cope with what the dead one left.
            total = queue.stats()['total']
            assert queue.enqueue(f'after-{number}', 1) is True
            assert queue.stats()['total'] == total + 1
            queue.close()
            assert integrity(path) == 'ok'
            connection = sqlite3.connect(path)
            states = dict(connection.execute('SELECT artifact_id, state FROM jobs'))
            connection.close()
            put = {line[4:] for line in told if line.startswith('put ')}
            done = [line[5:] for line in told if line.startswith('done ')]
            assert put <= set(states)
            assert len(set(done)) == len(done)
            assert {states[name] for name in done} <= {'done'}
    tally.conclude()
