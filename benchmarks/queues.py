"""Measure the durable queue beside the least that SQLite can do with the same durability.

    python benchmarks/queues.py                 all parts, a minute or two
    python benchmarks/queues.py single import   some of them

Everything happens in a temporary folder, with the standard library alone.  The
floor is a table, an index and two statements per entry, without tokens, counts,
history or delays.  With both, each commit is on the disk before it is told: the
floor has `synchronous=FULL`, the queue flushes the same file when others may
write again already.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Sequence

from bench import CHECKOUT
from bench import Bench
from bench import make_parser
from bench import measure_parts
from bench import table

#: One by one, the queue has to reach this part of the floor's rate.
LEAST_OF_FLOOR = 0.8

#: In batches of 100, and of an import: entries a second.
LEAST_BATCHED, LEAST_IMPORTED = 20_000, 200_000

#: Four processes have to reach this part of one's rate.
LEAST_OF_ONE = 0.9

#: `stats` of a million entries may take so many times as long as of a thousand.
MOST_STATS = 1.5

#: Both kinds of queue with the same three verbs, and what one process does with them.  It waits
#: for a line, so that several begin together, and says when it began and ended, and its CPU.
_WORKER = '''\
import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, sys.argv[1])
from stagerunner.queue import WorkQueue

kind, duty, path, count, batch = *sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6])


class Floor:
    def __init__(self):
        self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self.db.execute('PRAGMA journal_mode=WAL')
        self.db.execute('PRAGMA synchronous=FULL')
        self.db.execute('CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, '
                        'payload TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, lease REAL)')
        self.db.execute('CREATE INDEX IF NOT EXISTS ready ON jobs (id) WHERE state = 0')

    def fill(self, rows):
        self.db.execute('BEGIN IMMEDIATE')
        self.db.executemany('INSERT INTO jobs (payload) VALUES (?)',
                            ((json.dumps(row['artifact']),) for row in rows))
        self.db.execute('COMMIT')

    def take(self):
        self.db.execute('BEGIN IMMEDIATE')
        ids = self.db.execute('SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT ?',
                              (batch,)).fetchall()
        self.db.executemany('UPDATE jobs SET state = 1, lease = ? WHERE id = ?',
                            [(time.time() + 60, one) for one, in ids])
        self.db.execute('COMMIT')
        return ids

    def finish(self, ids):
        self.db.execute('BEGIN IMMEDIATE')
        self.db.executemany('UPDATE jobs SET state = 2 WHERE id = ?', ids)
        self.db.execute('COMMIT')

    def close(self):
        self.db.close()


class Ours:
    def __init__(self):
        self.queue = WorkQueue(path)
        self.fill = self.queue.enqueue_many
        self.close = self.queue.close
        self.queue.resume()

    def take(self):
        return self.queue.lease(str(os.getpid()), batch, 60)

    def finish(self, jobs):
        if batch == 1:
            self.queue.ack(jobs[0]['id'], 'done', token=jobs[0]['token'])
        else:
            self.queue.ack_many([{'id': job['id'], 'outcome': 'done', 'token': job['token']}
                                 for job in jobs])


queue = Floor() if kind == 'floor' else Ours()
rows = [{'artifact_id': 'a%d' % number, 'artifact': {'path': 'data/input/%d.txt' % number,
         'note': 'one entry among many'}} for number in range(count)]
if duty == 'lines':
    lines = [json.dumps(row) for row in rows]
if duty == 'drain' and not os.path.exists(path + '.filled'):
    queue.fill(rows)
    open(path + '.filled', 'w').close()
if duty == 'stats' and count:
    queue.fill(rows)
print('ready', flush=True)
sys.stdin.readline()
cpu, began, n = time.process_time(), time.monotonic(), count
if duty == 'fill':
    queue.fill(rows)
elif duty == 'lines':
    queue.fill(map(json.loads, lines))
elif duty == 'stats':
    n = 200
    for _ in range(n):
        queue.queue.stats()
else:
    n = 0
    while True:
        some = queue.take()
        if not some:
            break
        queue.finish(some)
        n += len(some)
print(json.dumps({'began': began, 'ended': time.monotonic(), 'n': n,
                  'cpu': time.process_time() - cpu}))
queue.close()
'''


class Turn:
    """One kind of queue, what is done with it, and the rates (per second) that came out."""

    def __init__(self, kind: str, duty: str, count: int, batch: int = 1, n_processes: int = 1):
        self.arguments = (kind, duty, count, batch)
        self.n_processes = n_processes
        self.rates: List[float] = []
        self.cpu_us: List[float] = []

    def take(self, bench: Bench) -> None:
        """Do it once, in a folder of its own."""
        kind, duty, count, batch = self.arguments
        folder = bench.new_folder()
        command = [bench.python, '-c', _WORKER, str(CHECKOUT / 'src'), kind, duty,
                   str(folder / 'queue.db'), str(count), str(batch)]
        processes = []
        for _ in range(self.n_processes):
            # One after another: the first one fills it.
            process = subprocess.Popen(command, env=bench.env, universal_newlines=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            processes.append(process)
            if process.stdout.readline() != 'ready\n':
                sys.exit('a worker ended before it was ready')
        for process in processes:
            process.stdin.write('go\n')
            process.stdin.flush()
        said = [json.loads(process.communicate()[0]) for process in processes]
        n_done = sum(one['n'] for one in said)
        if duty == 'drain' and n_done != count:
            sys.exit(f'{n_done} of {count} entries were worked on')
        span_s = max(one['ended'] for one in said) - min(one['began'] for one in said)
        self.rates.append(n_done / span_s)
        self.cpu_us.append(sum(one['cpu'] for one in said) / n_done * 1e6)
        shutil.rmtree(str(folder))

    @property
    def rate(self) -> float:
        """The rate of the turn in the middle."""
        return statistics.median(self.rates)


def of(one: Turn, other: Turn) -> float:
    """Return the median of the ratios of turns that belong together."""
    return statistics.median(a / b for a, b in zip(one.rates, other.rates))


def measure(bench: Bench, options: Any, title: str, turns: Dict[str, Turn]) -> None:
    """Take turns, so that other load on the machine hits all alike, and print what came out."""
    for _ in range(options.rounds):
        for turn in turns.values():
            turn.take(bench)
    table(title, ['', 'a second', 'from', 'to', 'us of CPU each'],
          [[name, f'{turn.rate:,.0f}', f'{min(turn.rates):,.0f}', f'{max(turn.rates):,.0f}',
            f'{statistics.median(turn.cpu_us):.1f}'] for name, turn in turns.items()])
    for name, turn in turns.items():
        bench.results[f'{title}: {name}'] = {'perSecond': turn.rates, 'cpuUs': turn.cpu_us}


def at_least(bench: Bench, name: str, least: float, found: float) -> None:
    """Print a figure beside its limit, and remember it when it is missed."""
    print(f'  {name}: {found:,.2f} (limit {least:g})')
    bench.results[name] = {'value': found, 'limit': least, 'isWithin': found >= least}
    if found < least:
        bench.missed.append(f'{name}: {found:,.2f}, limit {least:g}')


# -- the parts ---------------------------------------------------------------------------

def single(bench: Bench, options: Any) -> None:
    """Compare leasing and finishing one by one with the floor."""
    floor, ours = (Turn(kind, 'drain', options.entries) for kind in ('floor', 'ours'))
    measure(bench, options, 'lease and ack one by one', {'floor': floor, 'queue': ours})
    at_least(bench, 'one by one, of the floor', LEAST_OF_FLOOR, of(ours, floor))


def batch(bench: Bench, options: Any) -> None:
    """Compare leasing and finishing a hundred at a time with the floor."""
    floor, ours = (Turn(kind, 'drain', 20 * options.entries, 100) for kind in ('floor', 'ours'))
    measure(bench, options, 'lease and ack_many by 100', {'floor': floor, 'queue': ours})
    at_least(bench, 'by 100, a second', LEAST_BATCHED, ours.rate)


def four(bench: Bench, options: Any) -> None:
    """Compare four processes with one."""
    one, many = (Turn('ours', 'drain', options.entries, n_processes=n) for n in (1, 4))
    measure(bench, options, 'lease and ack one by one', {'one process': one, 'four': many})
    at_least(bench, 'four processes, of one', LEAST_OF_ONE, of(many, one))


def fill(bench: Bench, options: Any) -> None:
    """Measure an import of rows, and of the same as lines of JSON."""
    count = 100 * options.entries
    turns = {'floor': Turn('floor', 'fill', count), 'enqueue_many': Turn('ours', 'fill', count),
             'enqueue_many of parsed lines': Turn('ours', 'lines', count)}
    measure(bench, options, f'import of {count:,} rows', turns)
    at_least(bench, 'import, rows a second', LEAST_IMPORTED, turns['enqueue_many'].rate)


def stats(bench: Bench, options: Any) -> None:
    """Compare the counts of many entries with those of few."""
    few, many = Turn('ours', 'stats', 1_000), Turn('ours', 'stats', options.million)
    measure(bench, options, 'stats', {'1,000 entries': few, f'{options.million:,} entries': many})
    at_least(bench, 'stats of many, of few', 1 / MOST_STATS, of(many, few))


PARTS: Dict[str, Callable[[Bench, Any], None]] = {
    'single': single, 'batch': batch, 'four': four, 'import': fill, 'stats': stats}


def main(argv: Sequence[str] = ()) -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    parser = make_parser(str(__doc__), PARTS)
    parser.add_argument('--rounds', type=int, default=5, help='turns of each (%(default)s)')
    parser.add_argument('--entries', type=int, default=2000,
                        help='entries one by one; 20 times as many in batches, 100 times as many '
                             'in an import (%(default)s)')
    parser.add_argument('--million', type=int, default=1_000_000, metavar='N',
                        help='entries of the bigger queue of stats (%(default)s)')
    print(f'SQLite {sqlite3.sqlite_version}')
    return measure_parts(parser, PARTS, argv or None)


if __name__ == '__main__':
    raise SystemExit(main())
