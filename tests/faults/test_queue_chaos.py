"""Workers of the queue are killed, stopped for longer than their leases, and poisoned.

What became of each entry is told by triggers that the test puts into the file,
and by a log that each worker appends to before and after each finish; what the
queue says of itself is only compared with that.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List
from typing import Set

import pytest

from faults.harness import REPORT
from faults.harness import SEED
from faults.harness import need_linux
from stagerunner.work.store import WorkQueue
from support import PATIENCE_S
from support import SOURCE
from support import wait_until

TTL_S = 0.25

#: Every end of an entry, and every time that one is handed out, by whomever.
_LOG = '''
CREATE TABLE log (job_id INTEGER, was TEXT, now TEXT, token TEXT);
CREATE TRIGGER log_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state
    BEGIN INSERT INTO log VALUES (old.id, old.state, new.state, old.token); END;
'''

#: Finishes entries until none is left and no more will come; some fail at their first attempt.
WORKER = '''\
import os
import sys
import time
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import LeaseLost
from stagerunner.queue import WorkQueue
path, name, log, end, ttl_s = sys.argv[2:]
queue = WorkQueue(path)
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(*words):
    os.write(log, (' '.join(map(str, words)) + chr(10)).encode())
while True:
    is_fed = os.path.exists(end)
    jobs = queue.lease(name, 4, float(ttl_s), 1000)
    note('lease', len(jobs))
    for job in jobs:
        time.sleep(0.003)
        note('try', job['artifact_id'], job['token'])
        try:
            if job['attempts'] == 1 and job['id'] % 9 == 0:
                queue.fail_and_retry(job['id'], 0, 1000, 'once', token=job['token'])
                note('failed')
            else:
                queue.ack(job['id'], 'done', token=job['token'])
                note('done', job['artifact_id'])
        except LeaseLost:
            note('stale')
    stats = queue.stats()
    if is_fed and not stats['queued'] + stats['in_progress']:
        break
    if not jobs:
        time.sleep(0.02)
queue.close()
'''


class Workers:
    """Four worker processes, one of which is replaced whenever it is killed."""

    def __init__(self, folder: Path, path: str):
        self.folder = folder
        self.path = path
        self.end = folder / 'no more'
        self.processes: List[subprocess.Popen] = []
        self.logs: List[Path] = []
        self.n_started = 0
        for _ in range(4):
            self.start()

    def start(self) -> None:
        log = self.folder / f'worker-{self.n_started}.log'
        log.touch()
        self.processes.append(subprocess.Popen(
            [sys.executable, '-S', '-E', '-c', WORKER, str(SOURCE), self.path,
             f'w{self.n_started}', str(log), str(self.end), str(TTL_S)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE))
        self.logs.append(log)
        self.n_started += 1

    def busy(self, rng: random.Random) -> int:
        """Return one that has begun to work; none ends before there is no more to do."""
        assert [process.communicate() for process in self.processes
                if process.poll() is not None] == []
        wait_until(lambda: any(self.log_of(process).stat().st_size
                               for process in self.processes))
        return rng.choice([number for number, process in enumerate(self.processes)
                           if self.log_of(process).stat().st_size])

    def log_of(self, process: subprocess.Popen) -> Path:
        return Path(process.args[-3])

    def kill(self, number: int) -> None:
        process = self.processes.pop(number)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -signal.SIGKILL
        self.start()

    def pause(self, number: int, for_s: float) -> None:
        """Stop one for so long (SIGSTOP)."""
        process = self.processes[number]
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: _state(process.pid) == 'T')
        time.sleep(for_s)
        process.send_signal(signal.SIGCONT)

    def join(self) -> None:
        for process in self.processes:
            _, err = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, err) == (0, b'')

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _state(pid: int) -> str:
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]


def words_of(logs: List[Path]) -> List[List[List[str]]]:
    """Return the words of each line of each log; a last line that was cut off does not count."""
    return [[line.split() for line in log.read_text().split('\n')[:-1]] for log in logs]


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('n_entries', 'n_faults'), [
    pytest.param(300, 3, id='sample'),
    pytest.param(10_000, 60, id='full', marks=pytest.mark.campaign)])
def test_killed_and_stopped_workers_neither_lose_nor_finish_twice(tmp_path, n_entries, n_faults):
    need_linux()
    rng = random.Random(SEED)
    path = str(tmp_path / 'queue.db')
    queue = WorkQueue(path)
    names = [f'e{number}' for number in range(n_entries)]
    n_each = n_entries // (2 * n_faults)
    queue.enqueue_many({'artifact_id': name, 'artifact': name} for name in names[:n_each])
    watch = sqlite3.connect(path, isolation_level=None)
    watch.executescript(_LOG)
    n_attempted = n_each
    workers = Workers(tmp_path, path)
    try:
        for fault in range(2 * n_faults):
            # Put in piece by piece, so that there is work for every fault to hit.
            rest = names[n_attempted:n_attempted + n_each] if fault < 2 * n_faults - 1 \
                else names[n_attempted:]
            queue.enqueue_many({'artifact_id': name, 'artifact': name} for name in rest)
            n_attempted += len(rest)
            number = workers.busy(rng)
            if fault % 2:
                workers.pause(number, 1.6 * TTL_S)
            else:
                time.sleep(rng.uniform(0, 0.05))
                workers.kill(number)
        workers.end.touch()
        workers.join()
    finally:
        workers.close()

    logs = words_of(workers.logs)
    ends = watch.execute("SELECT artifact_id, log.token FROM log JOIN jobs ON job_id = jobs.id "
                         "WHERE now IN ('done', 'skipped', 'error')").fetchall()
    n_ends = Counter(name for name, _ in ends)
    told: Set[str] = {words[1] for log in logs for words in log if words[0] == 'done'}
    n_tried = sum(words[0] == 'try' for log in logs for words in log)
    n_stale = sum(words[0] == 'stale' for log in logs for words in log)
    # Killed between a try and its result, with a token that ended nothing: refused, or not begun.
    n_unclear = sum(log[-1][0] == 'try' and log[-1][2] not in {token for _, token in ends}
                    for log in logs if log)
    states = dict(watch.execute('SELECT state, count(*) FROM jobs GROUP BY state'))
    assert watch.execute('PRAGMA integrity_check').fetchone() == ('ok',)
    watch.close()
    stats, n_refused = queue.stats(), queue.refused()
    queue.close()
    REPORT.append(
        f'queue chaos: attempted={n_attempted} lost={len(set(names) - set(n_ends))} '
        f'unexpected={len(set(n_ends) - set(names))} '
        f'ended otherwise than once={sum(n != 1 for n in n_ends.values())} '
        f'kills={n_faults} stops={n_faults} finishes tried={n_tried} stale={n_stale} '
        f'refused={n_refused} unclear={n_unclear} seed={SEED}')
    assert n_attempted == n_entries
    assert set(n_ends) == set(names) and set(n_ends.values()) == {1}
    assert told <= set(n_ends)
    assert states == {'done': n_entries}
    assert stats == dict(dict.fromkeys(stats, 0), done=n_entries, total=n_entries)
    assert n_stale <= n_refused <= n_stale + n_unclear


# -- poison --------------------------------------------------------------------------

#: Works on entries; some of them are bad for whoever does.
POISONED = '''\
import os
import resource
import signal
import sys
import time
sys.path.insert(0, sys.argv[1])
from stagerunner.queue import Worker
from stagerunner.queue import WorkQueue
limit = 512 * 2 ** 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
class Pipeline:
    def process(self, artifact):
        if artifact == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        if artifact == 'exit':
            os._exit(3)
        if artifact == 'hang':
            time.sleep(4 * float(sys.argv[4]))
        if artifact == 'memory':
            bytearray(2 * limit)
        return 'ok'
queue = WorkQueue(sys.argv[2])
worker = Worker(sys.argv[3], queue, Pipeline(), retry_backoff=0, jitter=0, max_job_attempts=3)
while True:
    jobs = queue.lease(sys.argv[3], 1, float(sys.argv[4]), 3)
    for job in jobs:
        worker.run_one(job)
    stats = queue.stats()
    if not stats['queued'] + stats['in_progress']:
        break
    if not jobs:
        time.sleep(0.02)
queue.close()
'''


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('n_each', 'n_good'), [
    pytest.param(1, 10, id='sample'),
    pytest.param(5, 200, id='full', marks=pytest.mark.campaign)])
def test_an_entry_that_is_poison_ends_in_error_after_its_last_attempt(tmp_path, n_each, n_good):
    """Whether it kills its worker, ends it, hangs past its lease, or takes all memory."""
    need_linux()
    path = str(tmp_path / 'queue.db')
    queue = WorkQueue(path)
    bad = [f'{kind} {number}' for kind in ('kill', 'exit', 'hang', 'memory')
           for number in range(n_each)]
    names = bad + [f'good {number}' for number in range(n_good)]
    random.Random(SEED).shuffle(names)
    queue.enqueue_many({'artifact_id': name, 'artifact': name.split()[0]} for name in names)
    watch = sqlite3.connect(path, isolation_level=None)
    watch.executescript(_LOG)
    running: Dict[int, subprocess.Popen] = {}
    n_started = 0

    def is_over() -> bool:
        nonlocal n_started
        stats = queue.stats()
        for number, process in list(running.items()):
            if process.poll() is not None:
                del running[number]
        # One more than can hang at once: where nobody is there to take an entry away, whose lease
        # ran out, who has it may still finish it.
        while len(running) < n_each + 2 and stats['queued'] + stats['in_progress']:
            n_started += 1
            running[n_started] = subprocess.Popen(
                [sys.executable, '-S', '-E', '-c', POISONED, str(SOURCE), path, f'w{n_started}',
                 str(TTL_S)], stdin=subprocess.DEVNULL)
        return not running
    try:
        wait_until(is_over)
    finally:
        for process in running.values():
            process.kill()
            process.wait()

    leases = Counter(dict(watch.execute(
        "SELECT artifact_id, count(*) FROM log JOIN jobs ON job_id = jobs.id "
        "WHERE now = 'in_progress' GROUP BY artifact_id").fetchall()))
    ends: Any = watch.execute(
        "SELECT artifact_id, now FROM log JOIN jobs ON job_id = jobs.id "
        "WHERE now IN ('done', 'error') ORDER BY 1").fetchall()
    watch.close()
    REPORT.append(f'queue poison: {len(bad)} bad, each leased {sorted({leases[n] for n in bad})} '
                  f'times; {n_good} good; {n_started} workers')
    # Of each kill and each exit a worker died.
    assert n_started >= 3 * 2 * n_each
    assert {leases[name] for name in bad} == {3}
    assert ends == sorted((name, 'error' if name in bad else 'done') for name in names)
    assert {entry.attempts for entry in queue.entries('error')} == {3}
    queue.close()
