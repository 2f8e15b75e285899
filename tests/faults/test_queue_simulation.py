"""The queue under chance, with a model beside it: 10,000 seeds of 200 steps, and planted bugs.

See `queue_model` for the steps and what is checked after each.  The planted
bugs prove that the simulation would find them: each is a queue with one fault
of the kind that other queues had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List
from typing import Sequence

import pytest

from faults.harness import REPORT
from faults.harness import SEED
from faults.queue_model import Ground
from faults.queue_model import first_failure
from stagerunner.clock import Clock
from stagerunner.errors import LeaseLost
from stagerunner.work import tables
from stagerunner.work.store import WorkQueue

#: A planted bug has to be found within so many seeds of 200 steps.
MOST_SEEDS = 60


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(str(tmp_path / 'queue.db'))
    yield ground
    ground.close()


@pytest.mark.slow
@pytest.mark.parametrize(('n_seeds', 'n_steps'), [
    pytest.param(500, 25, id='sample'),
    pytest.param(10_000, 200, id='full', marks=pytest.mark.campaign)])
def test_whatever_happens_the_queue_is_as_the_model_says(ground, n_seeds, n_steps):
    seed, error = first_failure(ground, WorkQueue, range(SEED, SEED + n_seeds), n_steps)

    assert error is None, f'seed {seed}: {error}'
    REPORT.append(f'queue simulation: {n_seeds} seeds of {n_steps} steps, from {SEED}')


# -- planted bugs --------------------------------------------------------------------

class AckWithoutToken(WorkQueue):
    """Whoever says done, is done."""

    def _finish_all(self, endings: Sequence[Any]) -> List[int]:
        with self._database.write() as connection:
            tokens = dict(connection.execute('SELECT id, token FROM jobs'))
        return super()._finish_all([ending._replace(token=tokens.get(ending.job_id))
                                    for ending in endings])


class LeaseCountsNoAttempt(WorkQueue):
    """An entry that kills its workers is handed out for ever."""

    def lease(self, *args: Any, **named: Any) -> Any:
        jobs = super().lease(*args, **named)
        with self._database.write() as connection:
            connection.executemany('UPDATE jobs SET attempts = attempts - 1 WHERE id = ?',
                                   [(job['id'],) for job in jobs])
        return jobs


class WallClock(WorkQueue):
    """A lease is as long as the clock on the wall says."""

    class AsMonotonic(Clock):
        def __init__(self, clock: Clock):
            self.now = self.monotonic = clock.now

    def __init__(self, *args: Any, clock: Clock, **named: Any):
        super().__init__(*args, clock=self.AsMonotonic(clock), **named)


class HeartbeatWithoutToken(WorkQueue):
    """A heartbeat keeps what its name had, whoever has it now."""

    def heartbeat(self, worker_id: str, lease_ttl_sec: float = 600) -> int:
        with self._database.write() as connection:
            now = self._moment(connection)
            mine = [job_id for job_id, held in self._held.items()
                    if held.worker_id == worker_id]
            return sum(tables.prolong(connection, now, job_id, token, int(lease_ttl_sec * 1e6))
                       for job_id in mine for token, in connection.execute(
                           'SELECT token FROM jobs WHERE id = ?', (job_id,)).fetchall())


class OneAttemptMore(WorkQueue):
    """Off by one."""

    def fail_and_retry(self, job_id: int, backoff_sec: float, max_attempts: int,
                       *args: Any, **named: Any) -> None:
        super().fail_and_retry(job_id, backoff_sec, max_attempts + 1, *args, **named)


class HandBackIsAnAttempt(WorkQueue):
    """What a stopping worker hands back is used up."""

    def hand_back(self, job_id: int, token: Any = None) -> None:
        super().fail_and_retry(job_id, 0, 99, None, token)


class EarlyLease(WorkQueue):
    """What is about to run out is taken at once."""

    def lease(self, *args: Any, **named: Any) -> Any:
        with self._database.write() as connection:
            now = self._moment(connection)
            tables.take_back(connection, now._replace(us=now.us + 1_000_000))
        return super().lease(*args, **named)


class NobodyTakesBack(WorkQueue):
    """Leases of the dead are waited for."""

    def lease(self, *args: Any, **named: Any) -> Any:
        with self._database.write() as connection:
            connection.execute('UPDATE jobs SET due = due + 1000000000 '
                               "WHERE state = 'in_progress'")
        return super().lease(*args, **named)


class CountsWhatIsThere(WorkQueue):
    """Entries that were there already are counted as new."""

    def enqueue_many(self, rows: Any) -> int:
        rows = list(rows)
        n_new = super().enqueue_many(rows)
        with self._database.write() as connection:
            connection.execute('UPDATE facts SET queued = queued + ?', (len(rows) - n_new,))
        return n_new


class RetriesAll(WorkQueue):
    """What was skipped is queued again with what failed."""

    def retry_failed(self) -> int:
        n_queued = super().retry_failed()
        with self._database.write() as connection:
            connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'skipped'")
        return n_queued


class RefusesSilently(WorkQueue):
    """A late finish is refused, and nobody counts it."""

    def _finish_all(self, endings: Sequence[Any]) -> List[int]:
        lost = super()._finish_all(endings)
        with self._database.write() as connection:
            connection.execute('UPDATE facts SET refused = refused - ?', (len(lost),))
        return lost


class ForgetsTheUnfinished(WorkQueue):
    """A purge takes what is being worked on."""

    def purge(self, *states: str, **named: Any) -> int:
        with self._database.write() as connection:
            connection.execute("DELETE FROM jobs WHERE state = 'in_progress'")
        return super().purge(*states, **named)


@pytest.mark.slow
@pytest.mark.parametrize('kind', [
    AckWithoutToken, LeaseCountsNoAttempt, WallClock, HeartbeatWithoutToken, OneAttemptMore,
    HandBackIsAnAttempt, EarlyLease, NobodyTakesBack, CountsWhatIsThere, RetriesAll,
    RefusesSilently, ForgetsTheUnfinished], ids=lambda kind: kind.__name__)
def test_a_planted_bug_is_found(ground, kind):
    seed, error = first_failure(ground, kind, range(SEED, SEED + MOST_SEEDS), 200)

    assert f'seed {seed}, step' in str(error)
    assert isinstance(error.__cause__, (AssertionError, LeaseLost))
