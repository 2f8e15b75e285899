"""A model of the queue beside the real one: what each call must answer, checked after each step.

Time is a clock that is turned by hand, chance comes from a seed, and the SQL
is the real one.  What became of each entry is read from the tables and from a
log that triggers of this file write, never from what the queue says of itself.
"""

from __future__ import annotations

import random
import sqlite3
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Set
from typing import Tuple

from fakes import FakeClock
from stagerunner.errors import LeaseLost
from stagerunner.work.entries import FINISHED
from stagerunner.work.store import WorkQueue

HOUR_S, YEAR_S = 3600.0, 365 * 86_400.0

#: How often each step is taken.
WEIGHTS = {
    'put': 6, 'put_many': 2, 'lease': 9, 'beat': 3, 'finish': 7, 'finish_many': 2, 'fail': 4,
    'hand_back': 2, 'finish_late': 3, 'wait': 6, 'set_clock': 2, 'freeze': 1, 'stop': 1,
    'go_on': 2, 'die': 1, 'restart': 0.3, 'retry_failed': 1, 'purge': 0.7, 'pause': 0.5,
    'resume': 1.5,
}

#: Every change of a state, by whomever.
_LOG = '''
CREATE TABLE log (job_id INTEGER, was TEXT, now TEXT);
CREATE TRIGGER log_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state
    BEGIN INSERT INTO log VALUES (old.id, old.state, new.state); END;
CREATE TRIGGER log_out AFTER DELETE ON jobs
    BEGIN INSERT INTO log VALUES (old.id, old.state, NULL); END;
'''


class Expected:
    """An entry as it must be; moments in seconds of the monotonic clock."""

    def __init__(self, priority: int, due_s: float):
        self.id = 0
        self.priority = priority
        self.due_s = due_s
        self.state = 'queued'
        self.attempts = self.leases = self.most = 0
        self.token: Optional[str] = None
        #: When it was finished, by the wall clock.
        self.ended_s = 0.0
        #: How often it ended since it was put in or queued again.
        self.n_ends = 0

    def let_go(self, state: str, due_s: float, wall_s: float) -> None:
        self.state, self.due_s, self.token, self.ended_s = state, due_s, None, wall_s


class Lease(NamedTuple):
    """What a worker knows of an entry that it was handed."""

    id: int
    name: str
    token: str


class Process:
    """A process that works: what it holds, and whether it is stopped (SIGSTOP)."""

    def __init__(self, name: str, queue: WorkQueue):
        self.name = name
        self.queue = queue
        self.held: List[Lease] = []
        self.is_stopped = False


class Simulation:
    """One seed: `run` takes steps and raises `AssertionError` when a step went wrong."""

    def __init__(self, path: str, kind: Callable[..., WorkQueue], seed: int):
        self.rng = random.Random(seed)
        self.seed = seed
        self.path = path
        self.kind = kind
        self.clock = FakeClock()
        self.n_boots = 1
        self.most = self.rng.choice([1, 2, 3])
        self.processes = [self._process(f'w{number}') for number in range(3)]
        self.jobs: Dict[str, Expected] = {}
        self.past: List[Lease] = []
        self.n_refused = self.n_log = 0
        self.is_paused = False
        self.steps: List[str] = []
        #: Entries that may leave a final state in this step.
        self.reopened: Set[int] = set()
        self._look = sqlite3.connect(path, isolation_level=None)

    def run(self, n_steps: int) -> None:
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        try:
            for name in self.rng.choices(names, weights, k=n_steps):
                self.steps.append(name)
                self.reopened = set()
                getattr(self, name)()
                self.check()
            self.check_answers()
        except Exception as error:
            raise AssertionError(f'seed {self.seed}, step {len(self.steps)} '
                                 f'({" ".join(self.steps[-8:])}): {error!r}') from error
        finally:
            for process in self.processes:
                process.queue.close()
            self._look.close()

    def _process(self, name: str) -> Process:
        queue = self.kind(self.path, clock=self.clock, boot=f'boot {self.n_boots}')
        # The same SQL, but the disk is not what is tried here.
        opened = queue._database._open()
        opened.connection.execute('PRAGMA synchronous=OFF')
        opened.journal.close()
        queue._database._opened = [opened._replace(journal=None)]
        return Process(name, queue)

    # -- steps: putting in and handing out -------------------------------------------

    def put(self) -> None:
        name, priority = f'e{self.rng.randrange(12)}', self.rng.randrange(3)
        delay_s = self.rng.choice([0, 0, 0, 5, 50])
        is_new = self._any().queue.enqueue(name, 1, None, priority, delay_sec=delay_s)
        assert is_new is (name not in self.jobs), f'{name} is new: {is_new}'
        self._note_new(name, priority, delay_s)

    def put_many(self) -> None:
        rows = [(f'e{self.rng.randrange(12)}', self.rng.randrange(3),
                 self.rng.choice([0, 0, 5])) for _ in range(self.rng.randrange(4))]
        n_new = len({name for name, _, _ in rows} - set(self.jobs))
        assert n_new == self._any().queue.enqueue_many(
            {'artifact_id': name, 'artifact': 1, 'priority': priority, 'delay_sec': delay_s}
            for name, priority, delay_s in rows)
        for row in rows:
            self._note_new(*row)

    def _note_new(self, name: str, priority: int, delay_s: float) -> None:
        if name not in self.jobs:
            due_s = self._now() + delay_s if delay_s else 0.0
            self.jobs[name] = job = Expected(priority, due_s)
            job.id, = self._look.execute('SELECT id FROM jobs WHERE artifact_id = ?',
                                         (name,)).fetchone()

    def lease(self) -> None:
        process = self._awake()
        limit, ttl_s = self.rng.randrange(1, 4), self.rng.choice([5, 20, 60])
        most = self.most
        got = process.queue.lease(process.name, limit, ttl_s, most)

        for job in self.jobs.values():
            if job.state == 'in_progress' and job.due_s <= self._now():
                is_over = job.attempts >= job.most
                job.n_ends += is_over
                job.let_go('error' if is_over else 'queued', 0.0, self.clock.now())
        ready = sorted((-job.priority, job.id, name) for name, job in self.jobs.items()
                       if job.state == 'queued' and job.due_s <= self._now())
        expected = [] if self.is_paused else [name for _, _, name in ready[:limit]]
        assert [job['artifact_id'] for job in got] == expected, \
            f'leased {[job["artifact_id"] for job in got]}, not {expected}'
        for row in got:
            job = self.jobs[row['artifact_id']]
            job.attempts += 1
            job.leases += 1
            job.state, job.token, job.most = 'in_progress', row['token'], most
            job.due_s = self._now() + ttl_s
            assert row['attempts'] == job.attempts <= most, f'attempt {row["attempts"]} of {most}'
            process.held.append(Lease(row['id'], row['artifact_id'], row['token']))

    def beat(self) -> None:
        process, ttl_s = self._awake(), self.rng.choice([5, 60])
        kept = [lease for lease in process.held if self._is_mine(lease)]
        n_kept = process.queue.heartbeat(process.name, ttl_s)
        assert n_kept == len(kept), f'{n_kept} leases kept of {len(kept)}'
        for lease in kept:
            self.jobs[lease.name].due_s = self._now() + ttl_s

    # -- steps: finishing ------------------------------------------------------------

    def finish(self) -> None:
        outcome = self.rng.choice(FINISHED)
        self._end(lambda queue, lease, token: queue.ack(lease.id, outcome, token=token),
                  lambda job: outcome)

    def fail(self) -> None:
        backoff_s, most = self.rng.choice([0, 10, 100]), self.most
        self._end(lambda queue, lease, token: queue.fail_and_retry(lease.id, backoff_s, most, 'x',
                                                                   token=token),
                  lambda job: 'error' if job.attempts >= most else 'queued', backoff_s)

    def hand_back(self) -> None:
        lease = self._end(lambda queue, lease, token: queue.hand_back(lease.id, token=token),
                          lambda job: 'queued')
        if lease:
            job = self.jobs[lease.name]
            job.attempts -= 1
            job.leases -= 1

    def finish_many(self) -> None:
        process = self._awake()
        some = process.held[:3]
        lost = process.queue.ack_many([{'id': lease.id, 'outcome': 'done', 'token': lease.token}
                                       for lease in some])
        assert lost == [lease.id for lease in some if not self._is_mine(lease)], f'lost {lost}'
        for lease in some:
            if self._is_mine(lease):
                self._note_end(lease, 'done', 0)
            else:
                self.n_refused += 1
            self._leave(process, lease)

    def finish_late(self) -> None:
        """Somebody finishes what he, or somebody else, finished or lost before."""
        if self.past:
            lease = self.rng.choice(self.past)
            if not self._is_mine(lease):
                self._refused(lambda: self._any().queue.ack(lease.id, 'done', token=lease.token))

    def _end(self, act: Callable[[WorkQueue, Lease, Optional[str]], None],
             becomes: Callable[[Expected], str], wait_s: float = 0) -> Optional[Lease]:
        """Let a worker end one of its leases, and return it unless it was lost."""
        process = self._awake()
        if not process.held:
            return None
        lease = self.rng.choice(process.held)
        latest = [one for one in process.held if one.id == lease.id][-1]
        # Without a token the latest counts that the queue object was handed.
        token = None if latest == lease and self.rng.random() < 0.3 else lease.token
        if not self._is_mine(lease):
            self._refused(lambda: act(process.queue, lease, token))
            self._leave(process, lease)
            return None
        act(process.queue, lease, token)
        self._note_end(lease, becomes(self.jobs[lease.name]), wait_s)
        self._leave(process, lease)
        return lease

    def _note_end(self, lease: Lease, state: str, wait_s: float) -> None:
        job = self.jobs[lease.name]
        job.n_ends += state in FINISHED
        job.let_go(state, self._now() + wait_s if wait_s and state == 'queued' else 0.0,
                   self.clock.now())

    def _refused(self, act: Callable[[], None]) -> None:
        self.n_refused += 1
        try:
            act()
        except LeaseLost:
            return
        raise AssertionError('a late finish was taken')

    def _leave(self, process: Process, lease: Lease) -> None:
        process.held.remove(lease)
        self.past.append(lease)

    # -- steps: time and trouble -----------------------------------------------------

    def wait(self) -> None:
        self.clock.advance(self.rng.choice([0.5, 4, 5, 20, 61]))

    def set_clock(self) -> None:
        self.clock.set_wall(self.clock.now() + self.rng.choice(
            [-10 * YEAR_S, -HOUR_S, -11, 11, HOUR_S, 10 * YEAR_S]))

    def freeze(self) -> None:
        """Time passes, which the wall clock does not show."""
        self.clock.monotonic_s += self.rng.choice([1, 30])

    def stop(self) -> None:
        self._any().is_stopped = True

    def go_on(self) -> None:
        self._any().is_stopped = False

    def die(self) -> None:
        """A worker is killed; what it holds is left to run out."""
        process = self._any()
        self.past += process.held
        process.queue.close()
        self.processes[self.processes.index(process)] = self._process(process.name)

    def restart(self) -> None:
        """The system starts anew: all are dead, and the monotonic clock begins again.

        The wall clock may be anything after it: no lease or delay is longer
        then than what was left of it at the most.
        """
        is_known = self.rng.random() < 0.5
        if is_known:
            # Where the wall clock stood was noted; what was set after the last note is not known.
            self.processes[0].queue.heartbeat('nobody')
        was_s, down_s = self._now(), self.rng.choice([1, 30])
        self.clock.monotonic_s = float(self.rng.randrange(5, 100))
        step_s = self.rng.choice([0, 0, -10 * YEAR_S, -11, HOUR_S])
        self.clock.set_wall(self.clock.now() + down_s + step_s)
        self.n_boots += 1
        for process in list(self.processes):
            self.past += process.held
            process.queue.close()
            self.processes[self.processes.index(process)] = self._process(process.name)
        self.processes[0].queue.heartbeat('nobody')
        waiting = {name: job.due_s for name, job in self.jobs.items()}
        for job in self.jobs.values():
            job.due_s = 0.0
        for name, due_us, span_us in self._look.execute(
                'SELECT artifact_id, due, span FROM jobs WHERE due > 0'):
            job, left_s = self.jobs[name], due_us / 1e6 - self._now()
            assert 0 <= left_s <= span_us / 1e6, f'{name} is held for {left_s} s more'
            if is_known and not step_s:
                due_s = max(0.0, min(waiting[name] - was_s - down_s, span_us / 1e6))
                assert abs(due_s - left_s) <= 2, f'{name}: {left_s} s left, not {due_s}'
            job.due_s = due_us / 1e6

    # -- steps: the operator ---------------------------------------------------------

    def retry_failed(self) -> None:
        failed = [job for job in self.jobs.values() if job.state == 'error']
        self.reopened = {job.id for job in failed}
        n_queued = self._any().queue.retry_failed()
        assert n_queued == len(failed), f'{n_queued} queued again, not {len(failed)}'
        for job in failed:
            job.let_go('queued', 0.0, 0.0)
            job.attempts = job.n_ends = 0

    def purge(self) -> None:
        state, age_s = self.rng.choice(FINISHED), self.rng.choice([0, 60])
        until_s = self.clock.now() - age_s
        gone = [name for name, job in self.jobs.items()
                if job.state == state and job.ended_s <= until_s]
        self.reopened = {self.jobs[name].id for name in gone}
        n_purged = self._any().queue.purge(state, older_than_sec=age_s)
        assert n_purged == len(gone), f'{n_purged} purged, not {len(gone)}'
        for name in gone:
            del self.jobs[name]

    def pause(self) -> None:
        self._any().queue.pause()
        self.is_paused = True

    def resume(self) -> None:
        self._any().queue.resume()
        self.is_paused = False

    # -- what must hold --------------------------------------------------------------

    def check(self) -> None:
        """Assert that the tables are as expected, and every move of a state allowed."""
        rows = self._look.execute('SELECT artifact_id, id, state, attempts, leases, token, due, '
                                  'worker_id FROM jobs').fetchall()
        assert len(rows) == len(self.jobs), f'{len(rows)} rows, not {len(self.jobs)}'
        n_by_state = dict.fromkeys(('queued', 'in_progress', *FINISHED), 0)
        for name, number, state, attempts, leases, token, due_us, worker in rows:
            job = self.jobs[name]
            found, expected = (number, state, attempts, leases, token), (
                job.id, job.state, job.attempts, job.leases, job.token)
            assert found == expected, f'{name} is {found}, not {expected}'
            # What is due is due, whether or not somebody noted it already.
            assert due_us == round(job.due_s * 1e6) or (not due_us and job.due_s <= self._now()), \
                f'{name} is due at {due_us / 1e6}, not {job.due_s}'
            assert (worker is not None) == (state == 'in_progress')
            assert job.n_ends == (state in FINISHED), f'{name} ended {job.n_ends} times'
            n_by_state[state] += 1
        facts = self._look.execute('SELECT refused, queued, in_progress, done, skipped, error '
                                   'FROM facts').fetchone()
        assert facts == (self.n_refused, *n_by_state.values()), \
            f'counted {facts}, not {(self.n_refused, *n_by_state.values())}'
        log = self._look.execute('SELECT rowid, job_id, was, now FROM log WHERE rowid > ?',
                                 (self.n_log,)).fetchall()
        for self.n_log, job_id, was, now in log:
            assert was not in FINISHED or job_id in self.reopened, f'{job_id}: {was} to {now}'
            assert (was, now) != ('queued', 'queued') and (now != 'done' or was == 'in_progress')

    def check_answers(self) -> None:
        """Assert that what the queue says of itself is what the tables say."""
        queue = self._any().queue
        stats = queue.stats()
        assert stats.pop('total') == sum(stats.values()) == len(self.jobs)
        assert queue.is_paused() is self.is_paused and queue.refused() == self.n_refused
        for name, job in self.jobs.items():
            ended = queue.attempts(job.id)
            numbers = [attempt.number for attempt in ended]
            assert numbers == list(range(1, job.leases + (job.token is None))), \
                f'{name}: attempts {numbers} of {job.leases}'
            assert job.n_ends == 0 or ended[-1].outcome in (job.state, 'lost')

    def _is_mine(self, lease: Lease) -> bool:
        job = self.jobs.get(lease.name)
        return job is not None and job.token == lease.token

    def _now(self) -> float:
        return self.clock.monotonic()

    def _any(self) -> Process:
        return self.rng.choice(self.processes)

    def _awake(self) -> Process:
        awake = [process for process in self.processes if not process.is_stopped]
        return self.rng.choice(awake or self.processes)


class Ground:
    """A queue file for many simulations, one after another, each of which finds it empty."""

    def __init__(self, path: str):
        self.path = path
        queue = WorkQueue(path)
        queue.resume()
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute('PRAGMA synchronous=OFF')
        self._connection.executescript(_LOG)
        queue.close()

    def simulate(self, kind: Callable[..., WorkQueue], seed: int, n_steps: int) -> None:
        """Run one seed."""
        self._connection.execute('BEGIN')
        for table in ('jobs', 'attempts', 'log'):
            self._connection.execute(f'DELETE FROM {table}')
        self._connection.execute("UPDATE facts SET boot = '', paused = 0, refused = 0, "
                                 'queued = 0, in_progress = 0, done = 0, skipped = 0, error = 0')
        self._connection.execute('COMMIT')
        Simulation(self.path, kind, seed).run(n_steps)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def first_failure(ground: Ground, kind: Callable[..., WorkQueue], seeds: range,
                  n_steps: int) -> Tuple[int, Any]:
    """Return the first seed that a kind of queue fails, and how; (-1, None) when none."""
    for seed in seeds:
        try:
            ground.simulate(kind, seed, n_steps)
        except AssertionError as error:
            return seed, error
    return -1, None
