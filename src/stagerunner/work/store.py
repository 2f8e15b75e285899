"""The durable queue: entries in a SQLite file, leased to one worker at a time.

An entry is handed out with a token, for a time.  Whoever finishes it must show
the token: when the lease ran out and the entry was handed to somebody else,
the late one is refused (`LeaseLost`) and counted.  So work may be done twice,
after a crash, but an entry is finished once.  An attempt counts when it is
handed out: an entry that kills its workers ends in `error` all the same.

Leases that ran out are taken back by whoever leases next; no watchman has to
be alive.  Times are those of the monotonic clock while the system runs; after
another start of it, what was left by the wall clock, never more than was
asked for.  A clock that is set so moves nothing.
"""

from __future__ import annotations

import os
from typing import Any
from typing import Dict
from typing import Iterable
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence

from stagerunner.buckets import boot_id
from stagerunner.clock import Clock
from stagerunner.database import Database
from stagerunner.errors import LeaseLost
from stagerunner.records import NamedTuple
from stagerunner.work import tables
from stagerunner.work.entries import FINISHED
from stagerunner.work.entries import KEYS
from stagerunner.work.entries import Attempt
from stagerunner.work.entries import Entry
from stagerunner.work.entries import JobState
from stagerunner.work.entries import Row
from stagerunner.work.entries import as_outcome
from stagerunner.work.entries import check_rows
from stagerunner.work.entries import micros

#: How often an entry is handed out before it counts as poison.
MAX_ATTEMPTS = 3

#: So many entries are forgotten at once: the others who wait for the file get their turn between.
_PURGED_AT_ONCE = 10_000


class WorkQueue:
    """The queue in the file at `path`, for any number of threads and processes of this machine.

    The file is made by the first call that changes something.  What only
    looks (`stats`, `entries`, `find`, `attempts`, `is_paused`, `refused`)
    changes no byte of it and waits for nobody.
    """

    def __init__(self, path: str, wal_mode: bool = True, *, clock: Optional[Clock] = None,
                 boot: Optional[str] = None):
        self.path = os.fspath(path)
        self._database = Database(self.path, tables.VERSIONS, is_wal=wal_mode)
        self._clock = clock or Clock()
        self._boot = boot_id() if boot is None else boot
        #: Who holds what this object was handed, and the token: for callers that do not keep it.
        self._held: Dict[int, _Held] = {}

    # -- putting in ------------------------------------------------------------------

    def enqueue(self, artifact_id: str, artifact: Any, resolver_hint: Optional[str] = None,
                priority: int = 0, delay_sec: float = 0) -> bool:
        """Add an entry and return True; False when there is one of this id, however it ended."""
        row = dict(zip(KEYS, (artifact_id, artifact, resolver_hint, priority, delay_sec)))
        return self.enqueue_many([row]) == 1

    def enqueue_many(self, rows: Iterable[Row]) -> int:
        """Add all of these, or none where one has a fault (`ValueError`); return how many are new.

        Each has `artifact_id` and `artifact`, and may have `resolver_hint`,
        `priority` (higher comes first) and `delay_sec`.  Nothing is written,
        and nobody kept waiting, before the last row was seen.
        """
        entries = list(check_rows(rows))
        with self._database.write() as connection:
            return tables.put_in(connection, self._moment(connection), entries)

    # -- handing out -----------------------------------------------------------------

    def lease(self, worker_id: str, limit: int, lease_ttl_sec: float,
              max_attempts: int = MAX_ATTEMPTS) -> List[Dict[str, Any]]:
        """Hand out up to `limit` entries for so many seconds, the highest priority first.

        An entry whose lease runs out is handed out again, until it was handed
        out `max_attempts` times; then it ends in `error`.
        """
        ttl_us = micros('lease_ttl_sec', lease_ttl_sec)
        if limit < 0 or ttl_us == 0 or max_attempts < 1:
            raise ValueError(f'expected a limit of 0 or more, and lease_ttl_sec and max_attempts '
                             f'above 0, got {limit}, {lease_ttl_sec} and {max_attempts}')
        with self._database.write() as connection:
            now = self._moment(connection)
            if now.is_due:
                tables.take_back(connection, now)
            if now.is_paused:
                return []
            jobs = tables.hand_out(connection, now,
                                   tables.Lease(worker_id, ttl_us, max_attempts), limit)
        for job in jobs:
            self._held[job['id']] = _Held(worker_id, job['token'])
        return jobs

    def heartbeat(self, worker_id: str, lease_ttl_sec: float = 600) -> int:
        """Lease all that this object holds under this name anew from now on; return how many.

        What was lost is not held any more after this; see `holds`.
        """
        ttl_us = micros('lease_ttl_sec', lease_ttl_sec)
        if ttl_us == 0:
            raise ValueError(f'expected lease_ttl_sec above 0, got {lease_ttl_sec}')
        mine = [(job_id, held.token) for job_id, held in list(self._held.items())
                if held.worker_id == worker_id]
        with self._database.write() as connection:
            now = self._moment(connection)
            lost = [(job_id, token) for job_id, token in mine
                    if not tables.prolong(connection, now, job_id, token, ttl_us)]
        for job_id, token in lost:
            self._forget(job_id, token)
        return len(mine) - len(lost)

    def holds(self, job_id: int, token: Optional[str] = None) -> bool:
        """Return False once it is known that an entry is not leased to this object (any more).

        Known from the last `lease`, `heartbeat` or finish: it does not look
        into the file.  Work on an entry that is lost can as well be given up.
        """
        held = self._held.get(job_id)
        return held is not None and token in (None, held.token)

    def workers(self) -> List[str]:
        """Return the names under which something is leased now."""
        return self._database.read(tables.workers)

    def end_leases(self, worker_id: str) -> int:
        """Hand out again, as if its time were over, what is leased to a worker; return how many.

        For workers that are known to be dead.  One that is alive would lose
        its work: what it finishes is refused.
        """
        with self._database.write() as connection:
            return tables.end_leases(connection, self._moment(connection), worker_id)

    # -- finishing -------------------------------------------------------------------

    def ack(self, job_id: int, outcome: str, last_error: Optional[str] = None,
            token: Optional[str] = None) -> None:
        """Finish an entry as `done`, `skipped` or `error`; `LeaseLost` when it is not leased."""
        self._finish(tables.Ending(job_id, self._shown(job_id, token), as_outcome(outcome),
                                   last_error))

    def ack_many(self, finished: Iterable[Mapping[str, Any]]) -> List[int]:
        """Finish many entries in one transaction; return the ids of those that were lost.

        Each has `id` and `outcome`, and may have `last_error` and `token`, as
        for `ack`.  A lost one does not keep the others from being finished.
        """
        return self._finish_all([
            tables.Ending(row['id'], self._shown(row['id'], row.get('token')),
                          as_outcome(row['outcome']), row.get('last_error'))
            for row in finished])

    def fail_and_retry(self, job_id: int, backoff_sec: float, max_attempts: int,
                       last_error: Optional[str], token: Optional[str] = None) -> None:
        """Queue an entry again for later, or end it in `error` after its last attempt."""
        self._finish(tables.Ending(job_id, self._shown(job_id, token), JobState.ERROR.value,
                                   last_error, max_attempts, micros('backoff_sec', backoff_sec)))

    def hand_back(self, job_id: int, token: Optional[str] = None, delay_sec: float = 0) -> None:
        """Give back an entry that nobody worked on to its end: that was no attempt."""
        span = micros('delay_sec', delay_sec)
        shown = self._shown(job_id, token)
        with self._database.write() as connection:
            is_mine = tables.give_back(connection, self._moment(connection), job_id, shown, span)
        self._forget(job_id, shown)
        if not is_mine:
            raise LeaseLost(job_id)

    def _finish(self, ending: tables.Ending) -> None:
        # One statement is enough, unless the attempt is to be noted, or that it came too late.
        if not ending.tries and self._database.execute(tables.FINISH, tables.finish_values(
                tables.wall_moment(self._clock), ending)):
            self._forget(ending.job_id, ending.token)
        elif self._finish_all([ending]):
            raise LeaseLost(ending.job_id)

    def _finish_all(self, endings: Sequence[tables.Ending]) -> List[int]:
        is_timed = any(ending.wait_us for ending in endings)
        with self._database.write() as connection:
            now = self._moment(connection) if is_timed else tables.wall_moment(self._clock)
            lost = [ending.job_id for ending in endings
                    if not tables.finish(connection, now, ending)]
        for ending in endings:
            self._forget(ending.job_id, ending.token)
        return lost

    def _shown(self, job_id: int, token: Optional[str]) -> Optional[str]:
        held = self._held.get(job_id)
        return token or (held.token if held else None)

    def _forget(self, job_id: int, token: Optional[str]) -> None:
        held = self._held.get(job_id)
        if held is not None and held.token == token:
            self._held.pop(job_id, None)

    # -- running it ------------------------------------------------------------------

    def retry_failed(self) -> int:
        """Queue all entries in `error` again, as if they were new; return how many."""
        with self._database.write() as connection:
            return tables.queue_failed(connection, self._moment(connection))

    def pause(self) -> None:
        """Hand out nothing any more, to nobody; what is leased may be finished."""
        self._set_paused(True)

    def resume(self) -> None:
        """Hand out entries again."""
        self._set_paused(False)

    def purge(self, *states: str, older_than_sec: float = 0) -> int:
        """Forget finished entries, all or those of these states; return how many.

        Only what was finished so many seconds ago, by the wall clock; its id
        can be put in again then.  A kill may leave some of them for the next
        purge, each of them whole.
        """
        chosen = sorted({JobState(state).value for state in states or FINISHED})
        if not set(chosen) <= set(FINISHED):
            raise ValueError(f'only finished entries can be purged ({", ".join(FINISHED)})')
        age_us = micros('older_than_sec', older_than_sec)
        marks = ', '.join('?' * len(chosen))
        n_purged = last = 0
        while True:
            with self._database.write() as connection:
                until = self._moment(connection).stamp(-age_us)
                found = connection.execute(
                    f'SELECT id FROM jobs WHERE id > ? AND state IN ({marks}) '
                    f'AND updated_at <= ? ORDER BY id LIMIT ?',
                    (last, *chosen, until, _PURGED_AT_ONCE)).fetchall()
                connection.executemany('DELETE FROM jobs WHERE id = ?', found)
            n_purged += len(found)
            if len(found) < _PURGED_AT_ONCE:
                return n_purged
            last = found[-1][0]

    def close(self) -> None:
        """Close the file; what is leased stays leased."""
        self._database.close()

    def _set_paused(self, is_paused: bool) -> None:
        with self._database.write() as connection:
            connection.execute('UPDATE facts SET paused = ?', (int(is_paused),))

    def _moment(self, connection: Any) -> tables.Moment:
        return tables.moment(connection, self._clock, self._boot)

    # -- looking ---------------------------------------------------------------------

    def stats(self) -> Dict[str, int]:
        """Return how many entries are in each state, and `total`; takes the same time always."""
        counts = self._database.read(tables.counts)
        return dict(counts, total=sum(counts.values()))

    def is_paused(self) -> bool:
        """Return True between `pause` and `resume`, whoever called them."""
        return self._database.read(tables.is_paused)

    def refused(self) -> int:
        """Return how often somebody wanted to finish what was not leased to him any more."""
        return self._database.read(tables.refused)

    def entries(self, state: Optional[str] = None, *, after: int = 0,
                limit: int = 100) -> List[Entry]:
        """Return a page of entries, all or those of one state, in the order they were put in.

        The next page comes `after` the `id` of the last one of this page.
        """
        chosen = None if state is None else JobState(state).value
        return self._database.read(
            lambda connection: tables.page(connection, chosen, after, limit))

    def find(self, artifact_id: str) -> Optional[Entry]:
        """Return the entry of an id, or None."""
        return self._database.read(lambda connection: tables.find(connection, artifact_id))

    def attempts(self, job_id: int) -> List[Attempt]:
        """Return the attempts of an entry that are over, in their order."""
        return self._database.read(lambda connection: tables.attempts(connection, job_id))


class _Held(NamedTuple):
    """Under which name an entry was handed out, and with which token."""

    worker_id: str
    token: str
