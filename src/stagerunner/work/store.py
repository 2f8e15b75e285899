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

import enum
import json
import math
import os
from typing import Any
from typing import Dict
from typing import Iterable
from typing import List
from typing import Mapping
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from stagerunner.buckets import boot_id
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.database import Database
from stagerunner.errors import LeaseLost

#: How often an entry is handed out before it counts as poison.
MAX_ATTEMPTS = 3

_COUNTED = 'UPDATE counts SET n = n {} 1 WHERE state = {}.state;'

#: `due` is the moment, in microseconds, from which an entry may be handed out: 0 is now, and for
#: one in progress it is the end of its lease.  `span` is how long that was when it was set.
_VERSIONS = ((
    '''CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        artifact_id TEXT NOT NULL UNIQUE,
        artifact_json TEXT NOT NULL,
        resolver_hint TEXT,
        priority INTEGER NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('queued', 'in_progress', 'done', 'skipped', 'error')),
        attempts INTEGER NOT NULL DEFAULT 0,
        max_attempts INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL,
        span INTEGER NOT NULL,
        available_at TEXT,
        lease_expires_at TEXT,
        worker_id TEXT,
        token TEXT,
        last_error TEXT,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL)''',
    'CREATE INDEX jobs_in_order ON jobs (state, due, priority DESC, id)',
    'CREATE TABLE counts (state TEXT PRIMARY KEY, n INTEGER NOT NULL)',
    '''INSERT INTO counts
        VALUES ('queued', 0), ('in_progress', 0), ('done', 0), ('skipped', 0), ('error', 0)''',
    f'CREATE TRIGGER jobs_in AFTER INSERT ON jobs BEGIN {_COUNTED.format("+", "new")} END',
    f'CREATE TRIGGER jobs_out AFTER DELETE ON jobs BEGIN {_COUNTED.format("-", "old")} END',
    f'''CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state
        BEGIN {_COUNTED.format("-", "old")} {_COUNTED.format("+", "new")} END''',
    # One row: of which start of the system the times are, and the wall clock at its zero.
    '''CREATE TABLE facts (boot TEXT NOT NULL, offset INTEGER NOT NULL,
        paused INTEGER NOT NULL, refused INTEGER NOT NULL)''',
    "INSERT INTO facts VALUES ('', 0, 0, 0)",
),)

_ADD = ('INSERT OR IGNORE INTO jobs (artifact_id, artifact_json, resolver_hint, priority, state, '
        "due, span, available_at, created_at, updated_at) VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, "
        '?, ?)')

#: What ends a lease, whatever comes after it.
_LET_GO = 'token = NULL, worker_id = NULL, lease_expires_at = NULL'

_KEYS = ('artifact_id', 'artifact', 'resolver_hint', 'priority', 'delay_sec')


class JobState(str, enum.Enum):
    """Where an entry is: waiting, being worked on, or finished in one of three ways."""

    QUEUED = 'queued'
    IN_PROGRESS = 'in_progress'
    DONE = 'done'
    SKIPPED = 'skipped'
    ERROR = 'error'


_FINISHED = (JobState.DONE.value, JobState.SKIPPED.value, JobState.ERROR.value)


class _Moment(NamedTuple):
    """Now, in microseconds of the clock that dues are in, and of the wall clock."""

    us: int
    wall_us: int

    def stamp(self, later_us: int = 0) -> str:
        """Return the time of the wall clock so much later as text."""
        return stamp((self.wall_us + later_us) / 1_000_000)


class _Lease(NamedTuple):
    """To whom an entry was handed out, and with which token."""

    worker_id: str
    token: str


class WorkQueue:
    """The queue in the file at `path`, for any number of threads and processes of this machine."""

    def __init__(self, path: str, wal_mode: bool = True, *, clock: Optional[Clock] = None,
                 boot: Optional[str] = None):
        self.path = os.fspath(path)
        self._database = Database(self.path, _VERSIONS, is_wal=wal_mode)
        self._clock = clock or Clock()
        self._boot = boot_id() if boot is None else boot
        #: The tokens of what this object was handed, for callers that do not keep them.
        self._held: Dict[int, _Lease] = {}

    # -- putting in ------------------------------------------------------------------

    def enqueue(self, artifact_id: str, artifact: Any, resolver_hint: Optional[str] = None,
                priority: int = 0, delay_sec: float = 0) -> bool:
        """Add an entry and return True; False when there is one of this id, however it ended."""
        row = dict(zip(_KEYS, (artifact_id, artifact, resolver_hint, priority, delay_sec)))
        return self.enqueue_many([row]) == 1

    def enqueue_many(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add all of these, or none where one has a fault (`ValueError`); return how many are new.

        Each has `artifact_id` and `artifact`, and may have `resolver_hint`,
        `priority` (higher comes first) and `delay_sec`.
        """
        checked = [_checked(number, row) for number, row in enumerate(rows, 1)]
        with self._database.write() as connection:
            moment = self._moment(connection)
            now = moment.stamp()
            cursor = connection.executemany(_ADD, (
                (*columns, moment.us + span if span else 0, span, moment.stamp(span), now, now)
                for columns, span in checked))
            return max(0, int(cursor.rowcount))

    # -- handing out -----------------------------------------------------------------

    def lease(self, worker_id: str, limit: int, lease_ttl_sec: float,
              max_attempts: int = MAX_ATTEMPTS) -> List[Dict[str, Any]]:
        """Hand out up to `limit` entries for so many seconds, the highest priority first.

        An entry whose lease runs out is handed out again, until it was handed
        out `max_attempts` times; then it ends in `error`.
        """
        ttl_us = _micros('lease_ttl_sec', lease_ttl_sec)
        if limit < 0 or ttl_us == 0 or max_attempts < 1:
            raise ValueError(f'expected a limit of 0 or more, and lease_ttl_sec and max_attempts '
                             f'above 0, got {limit}, {lease_ttl_sec} and {max_attempts}')
        with self._database.write() as connection:
            moment = self._moment(connection)
            self._take_back(connection, moment)
            if connection.execute('SELECT paused FROM facts').fetchone()[0]:
                return []
            # What was delayed and is due joins the others: so one index finds the first of all.
            connection.execute("UPDATE jobs SET due = 0 WHERE state = 'queued' AND due > 0 "
                               'AND due <= ?', (moment.us,))
            found = connection.execute(
                'SELECT id, artifact_id, artifact_json, attempts + 1, resolver_hint FROM jobs '
                "WHERE state = 'queued' AND due = 0 ORDER BY priority DESC, id LIMIT ?",
                (limit,)).fetchall()
            names = ('id', 'artifact_id', 'artifact_json', 'attempts', 'resolver_hint', 'token')
            jobs = [dict(zip(names, (*row, os.urandom(12).hex()))) for row in found]
            connection.executemany(
                "UPDATE jobs SET state = 'in_progress', attempts = ?, max_attempts = ?, due = ?, "
                'span = ?, lease_expires_at = ?, worker_id = ?, token = ?, updated_at = ? '
                'WHERE id = ?',
                [(job['attempts'], max_attempts, moment.us + ttl_us, ttl_us,
                  moment.stamp(ttl_us), worker_id, job['token'], moment.stamp(), job['id'])
                 for job in jobs])
        self._held.update((job['id'], _Lease(worker_id, job['token'])) for job in jobs)
        return jobs

    def heartbeat(self, worker_id: str, lease_ttl_sec: float = 600) -> int:
        """Lease all that this object holds under this name anew from now on; return how many."""
        ttl_us = _micros('lease_ttl_sec', lease_ttl_sec)
        mine = [(job_id, lease) for job_id, lease in list(self._held.items())
                if lease.worker_id == worker_id]
        lost = []
        with self._database.write() as connection:
            moment = self._moment(connection)
            for job_id, lease in mine:
                is_extended = connection.execute(
                    'UPDATE jobs SET due = ?, span = ?, lease_expires_at = ?, updated_at = ? '
                    'WHERE id = ? AND token = ?',
                    (moment.us + ttl_us, ttl_us, moment.stamp(ttl_us), moment.stamp(), job_id,
                     lease.token)).rowcount
                lost += [] if is_extended else [(job_id, lease)]
        for job_id, lease in lost:
            self._forget(job_id, lease.token)
        return len(mine) - len(lost)

    # -- finishing -------------------------------------------------------------------

    def ack(self, job_id: int, outcome: str, last_error: Optional[str] = None,
            token: Optional[str] = None) -> None:
        """Finish an entry as `done`, `skipped` or `error`; `LeaseLost` when it is not leased."""
        state = JobState(outcome).value
        if state not in _FINISHED:
            raise ValueError(f'an entry ends as one of {", ".join(_FINISHED)}, not {state}')
        self._let_go(job_id, token, 'state = ?, due = 0, last_error = ?', (state, last_error))

    def fail_and_retry(self, job_id: int, backoff_sec: float, max_attempts: int,
                       last_error: Optional[str], token: Optional[str] = None) -> None:
        """Queue an entry again for later, or end it in `error` after its last attempt."""
        span = _micros('backoff_sec', backoff_sec)
        self._let_go(
            job_id, token,
            "state = CASE WHEN attempts < ? THEN 'queued' ELSE 'error' END, "
            'due = CASE WHEN attempts < ? THEN ? ELSE 0 END, span = ?, available_at = ?, '
            'last_error = ?',
            (max_attempts, max_attempts, _In(span), span, _At(span), last_error))

    def hand_back(self, job_id: int, token: Optional[str] = None) -> None:
        """Give back an entry that nobody began to work on: that was no attempt."""
        self._let_go(job_id, token, "state = 'queued', due = 0, attempts = attempts - 1", ())

    def _let_go(self, job_id: int, token: Optional[str], changes: str,
                values: Tuple[Any, ...]) -> None:
        held = self._held.get(job_id)
        shown = token or (held.token if held else None)
        with self._database.write() as connection:
            moment = self._moment(connection)
            filled = [value.at(moment) if isinstance(value, (_In, _At)) else value
                      for value in values]
            is_mine = connection.execute(
                f'UPDATE jobs SET {changes}, {_LET_GO}, updated_at = ? '
                f"WHERE id = ? AND token = ? AND state = 'in_progress'",
                (*filled, moment.stamp(), job_id, shown)).rowcount
            if not is_mine:
                connection.execute('UPDATE facts SET refused = refused + 1')
        self._forget(job_id, shown)
        if not is_mine:
            raise LeaseLost(job_id)

    def _forget(self, job_id: int, token: Optional[str]) -> None:
        held = self._held.get(job_id)
        if held is not None and held.token == token:
            self._held.pop(job_id, None)

    # -- running it ------------------------------------------------------------------

    def retry_failed(self) -> int:
        """Queue all entries in `error` again, as if they were new; return how many."""
        with self._database.write() as connection:
            return int(connection.execute(
                "UPDATE jobs SET state = 'queued', attempts = 0, due = 0, updated_at = ? "
                "WHERE state = 'error'", (self._moment(connection).stamp(),)).rowcount)

    def pause(self) -> None:
        """Hand out nothing any more, to nobody; what is leased may be finished."""
        self._set_paused(True)

    def resume(self) -> None:
        """Hand out entries again."""
        self._set_paused(False)

    def is_paused(self) -> bool:
        """Return True between `pause` and `resume`, whoever called them."""
        with self._database.read() as connection:
            return bool(connection.execute('SELECT paused FROM facts').fetchone()[0])

    def stats(self) -> Dict[str, int]:
        """Return how many entries are in each state, and `total`; takes the same time always."""
        with self._database.read() as connection:
            counts = dict(connection.execute('SELECT state, n FROM counts'))
        stats = {state.value: int(counts[state.value]) for state in JobState}
        return dict(stats, total=sum(stats.values()))

    def refused(self) -> int:
        """Return how often somebody wanted to finish what was not leased to him any more."""
        with self._database.read() as connection:
            return int(connection.execute('SELECT refused FROM facts').fetchone()[0])

    def purge(self, *states: str) -> int:
        """Forget finished entries, all or those of these states; return how many."""
        chosen = [JobState(state).value for state in states or _FINISHED]
        if not set(chosen) <= set(_FINISHED):
            raise ValueError(f'only finished entries can be purged ({", ".join(_FINISHED)})')
        with self._database.write() as connection:
            return sum(int(connection.execute('DELETE FROM jobs WHERE state = ?',
                                              (state,)).rowcount) for state in set(chosen))

    def close(self) -> None:
        """Close the file; what is leased stays leased."""
        self._database.close()

    def _set_paused(self, is_paused: bool) -> None:
        with self._database.write() as connection:
            connection.execute('UPDATE facts SET paused = ?', (int(is_paused),))

    # -- time ------------------------------------------------------------------------

    def _take_back(self, connection: Any, moment: _Moment) -> None:
        ended = (f'UPDATE jobs SET state = ?, due = 0, updated_at = ?, last_error = ?, {_LET_GO} '
                 f"WHERE state = 'in_progress' AND due <= ? AND attempts ")
        said = 'its lease ran out: its worker was killed, or hung'
        now = moment.stamp()
        connection.execute(f'{ended} >= max_attempts', ('error', now, said, moment.us))
        connection.execute(f'{ended} < max_attempts', ('queued', now, said, moment.us))

    def _moment(self, connection: Any) -> _Moment:
        """Return now; all dues in the file are times of the same clock after this."""
        wall_us = round(self._clock.now() * 1_000_000)
        us = round(self._clock.monotonic() * 1_000_000) if self._boot else wall_us
        boot, offset = connection.execute('SELECT boot, offset FROM facts').fetchone()
        if boot != self._boot or not self._boot:
            # `max` and `min`: neither longer than was asked for, nor in the past.
            connection.execute(
                'UPDATE jobs SET due = ? + max(0, min(span, due + ? - ?)) WHERE due > 0 '
                'AND (due > ? + span OR ?)',
                (us, offset, wall_us, us, boot != self._boot))
        if boot != self._boot or abs(offset - (wall_us - us)) > 1_000_000:
            connection.execute('UPDATE facts SET boot = ?, offset = ?',
                               (self._boot, wall_us - us))
        return _Moment(us, wall_us)


class _In(NamedTuple):
    """A moment of the queue's clock that is only known in the transaction."""

    span_us: int

    def at(self, moment: _Moment) -> int:
        """Return it."""
        return moment.us + self.span_us if self.span_us else 0


class _At(NamedTuple):
    """The same as text, of the wall clock."""

    span_us: int

    def at(self, moment: _Moment) -> str:
        """Return it."""
        return moment.stamp(self.span_us)


def _checked(number: int, row: Mapping[str, Any]) -> Tuple[Tuple[Any, ...], int]:
    """Return the first columns of a new entry and its delay in microseconds, or raise."""
    try:
        unknown = sorted(set(row) - set(_KEYS))
        if unknown:
            raise ValueError(f'unknown key {unknown[0]!r}')
        artifact_id, hint = row.get('artifact_id'), row.get('resolver_hint')
        if not isinstance(artifact_id, str) or not artifact_id:
            raise ValueError(f'expected a text as artifact_id, got {artifact_id!r}')
        if 'artifact' not in row:
            raise ValueError('has no artifact')
        if hint is not None and not isinstance(hint, str):
            raise ValueError(f'expected a text as resolver_hint, got {hint!r}')
        priority = row.get('priority', 0)
        if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > 2 ** 31:
            raise ValueError(f'expected a whole number as priority, got {priority!r}')
        text = json.dumps(row['artifact'], allow_nan=False, sort_keys=True)
        # Half a character cannot be stored; better told here, with the number of the row.
        f'{artifact_id}{hint or ""}'.encode()
        return (artifact_id, text, hint, priority), _micros('delay_sec', row.get('delay_sec', 0))
    except (TypeError, ValueError) as error:
        raise ValueError(f'row {number}: {error}') from error


def _micros(name: str, seconds: Any) -> int:
    """Return seconds as microseconds; years are enough, and fit into a column."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) \
            or not math.isfinite(seconds) or not 0 <= seconds <= 1e10:
        raise ValueError(f'expected seconds from 0 to 1e10 as {name}, got {seconds!r}')
    return round(seconds * 1_000_000)
