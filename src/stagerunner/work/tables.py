"""The tables of the queue, the one clock that their moments are in, and leases that ran out."""

from __future__ import annotations

import os
from itertools import chain
from itertools import groupby
from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.records import NamedTuple
from stagerunner.work.entries import Attempt
from stagerunner.work.entries import Entry
from stagerunner.work.entries import JobState
from stagerunner.work.entries import NewEntry

_STATES = tuple(state.value for state in JobState)

#: One step counts an entry out of one state and into another.
_MOVED = ', '.join(f"{state} = {state} + (new.state = '{state}') - (old.state = '{state}')"
                   for state in _STATES)
_OUT = ', '.join(f"{state} = {state} - (old.state = '{state}')" for state in _STATES)

#: `due` is the moment, in microseconds, from which an entry may be handed out: 0 is now, and for
#: one in progress it is the end of its lease.  `span` is how long that was when it was set.
#: `leases` numbers the attempts of an entry for ever, `attempts` begins anew with `retry_failed`.
#: Of a finished entry, the row itself tells how its last attempt ended: most have only that one.
#: The check is no `IN`, which SQLite would make a table for, at each row.
VERSIONS = ((
    f'''CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        artifact_id TEXT NOT NULL UNIQUE,
        artifact_json TEXT NOT NULL,
        resolver_hint TEXT,
        priority INTEGER NOT NULL,
        state TEXT NOT NULL CHECK ({' OR '.join(f"state = '{state}'" for state in _STATES)}),
        attempts INTEGER NOT NULL DEFAULT 0,
        max_attempts INTEGER NOT NULL DEFAULT 0,
        leases INTEGER NOT NULL DEFAULT 0,
        due INTEGER NOT NULL,
        span INTEGER NOT NULL,
        available_at TEXT,
        leased_at TEXT,
        lease_expires_at TEXT,
        worker_id TEXT,
        last_worker TEXT,
        token TEXT,
        last_error TEXT,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL)''',
    # Small ones, of the entries that are looked for: what is done costs nothing any more.
    "CREATE INDEX jobs_ready ON jobs (priority DESC, id) WHERE state = 'queued' AND due = 0",
    'CREATE INDEX jobs_due ON jobs (due) WHERE due > 0',
    "CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'error'",
    # How the other attempts ended.
    '''CREATE TABLE attempts (
        job_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        worker_id TEXT,
        leased_at TEXT,
        ended_at TEXT NOT NULL,
        outcome TEXT NOT NULL,
        error TEXT,
        PRIMARY KEY (job_id, number)) WITHOUT ROWID''',
    # One row: of which start of the system the times are, the wall clock at their zero, whether
    # nothing is handed out, how many finishes came too late, and how many entries are where.
    f'''CREATE TABLE facts (boot TEXT NOT NULL, offset INTEGER NOT NULL,
        paused INTEGER NOT NULL, refused INTEGER NOT NULL,
        {', '.join(f'{state} INTEGER NOT NULL' for state in _STATES)})''',
    "INSERT INTO facts VALUES ('', 0, 0, 0, 0, 0, 0, 0, 0)",
    # What comes in is counted by the statement that brings it (`count_in`): a trigger would cost
    # a sixth of the time of an import.
    f'''CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state
        BEGIN UPDATE facts SET {_MOVED}; END''',
    f'''CREATE TRIGGER jobs_out AFTER DELETE ON jobs
        BEGIN UPDATE facts SET {_OUT}; DELETE FROM attempts WHERE job_id = old.id; END''',
),)

_ADD = ('INSERT OR IGNORE INTO jobs (artifact_id, artifact_json, resolver_hint, priority, span, '
        'state, due, available_at, created_at, updated_at) VALUES ')

#: So many rows are added by one statement: SQLite before 3.32 takes 999 values.
_AT_ONCE = 190

#: What ends a lease, whatever comes after it.
_LET_GO = 'token = NULL, worker_id = NULL, lease_expires_at = NULL'

#: Ends one attempt, if the token is that of its lease.
FINISH = ("UPDATE jobs SET state = CASE WHEN attempts < ? THEN 'queued' ELSE ? END, "
          'due = CASE WHEN attempts < ? THEN ? ELSE 0 END, span = ?, '
          'available_at = CASE WHEN attempts < ? THEN ? END, '
          f'last_error = ?, {_LET_GO}, updated_at = ? WHERE id = ? AND token = ?')

_RAN_OUT = 'its lease ran out: its worker was killed, or hung'

_FACTS = ('SELECT boot, offset, paused, EXISTS (SELECT 1 FROM jobs WHERE due > 0 AND due <= ?) '
          'FROM facts')

_ENTRY = ', '.join(Entry._fields)

#: What `lease` tells of an entry.
_HANDED_OUT = ('id', 'artifact_id', 'artifact_json', 'attempts', 'resolver_hint', 'token')


class Moment(NamedTuple):
    """Now, in microseconds of the clock that dues are in, and of the wall clock."""

    us: int
    wall_us: int
    is_paused: bool
    #: A lease may have run out, or a delay be over.
    is_due: bool

    def due(self, later_us: int) -> int:
        """Return the moment so much later as a due."""
        return self.us + later_us if later_us else 0

    def stamp(self, later_us: int = 0) -> str:
        """Return the time of the wall clock so much later as text."""
        return stamp((self.wall_us + later_us) / 1_000_000)


class Lease(NamedTuple):
    """To whom entries are handed out, for how long, and how often at most each."""

    worker_id: str
    ttl_us: int
    max_attempts: int


class Ending(NamedTuple):
    """How a lease ends: in `outcome`, or queued again where fewer than `tries` attempts were."""

    job_id: int
    token: Optional[str]
    outcome: str
    error: Optional[str] = None
    tries: int = 0
    wait_us: int = 0


def wall_moment(clock: Clock) -> Moment:
    """Return now for what makes nothing due, and so needs no look into the file."""
    return Moment(0, round(clock.now() * 1_000_000), is_paused=False, is_due=False)


def moment(connection: Any, clock: Clock, own_boot: str) -> Moment:
    """Return now; all dues in the file are times of the same clock after this."""
    wall_us = round(clock.now() * 1_000_000)
    us = round(clock.monotonic() * 1_000_000) if own_boot else wall_us
    boot, offset, paused, is_due = connection.execute(_FACTS, (us,)).fetchone()
    if boot != own_boot or not own_boot:
        # `max` and `min`: neither longer than was asked for, nor in the past.
        connection.execute(
            'UPDATE jobs SET due = ? + max(0, min(span, due + ? - ?)) WHERE due > 0 '
            'AND (due > ? + span OR ?)',
            (us, offset, wall_us, us, boot != own_boot))
        is_due = True
    if boot != own_boot or abs(offset - (wall_us - us)) > 1_000_000:
        connection.execute('UPDATE facts SET boot = ?, offset = ?', (own_boot, wall_us - us))
    return Moment(us, wall_us, bool(paused), bool(is_due))


def take_back(connection: Any, now: Moment) -> None:
    """End leases that ran out, and let what was delayed until now join what is ready."""
    said = now.stamp()
    ended = "state = 'in_progress' AND due > 0 AND due <= ?"
    connection.execute(
        f"INSERT INTO attempts SELECT id, leases, worker_id, leased_at, ?, 'lost', ? "
        f'FROM jobs WHERE {ended}', (said, _RAN_OUT, now.us))
    connection.execute(
        f"UPDATE jobs SET state = CASE WHEN attempts < max_attempts THEN 'queued' ELSE 'error' "
        f'END, due = 0, updated_at = ?, last_error = ?, {_LET_GO} WHERE {ended}',
        (said, _RAN_OUT, now.us))
    connection.execute("UPDATE jobs SET due = 0 WHERE state = 'queued' AND due > 0 AND due <= ?",
                       (now.us,))


# -- one step each, inside a transaction ---------------------------------------------

def put_in(connection: Any, now: Moment, entries: Sequence[NewEntry]) -> int:
    """Add the entries whose id is new and count them; return how many."""
    n_new = 0
    for is_delayed, some in groupby(entries, key=_is_delayed):
        n_new += (_put_in_later if is_delayed else _put_in_at_once)(connection, now, list(some))
    connection.execute('UPDATE facts SET queued = queued + ?', (n_new,))
    return n_new


def _is_delayed(entry: NewEntry) -> bool:
    return entry[4] > 0


def _put_in_at_once(connection: Any, now: Moment, entries: Sequence[NewEntry]) -> int:
    """Add many rows by one statement, which names what they have in common: twice as fast."""
    n_new = 0
    row = f"(?, ?, ?, ?, ?, 'queued', 0, NULL, '{now.stamp()}', '{now.stamp()}')"
    for first in range(0, len(entries), _AT_ONCE):
        part = entries[first:first + _AT_ONCE]
        n_new += connection.execute(_ADD + ', '.join([row] * len(part)),
                                    tuple(chain.from_iterable(part))).rowcount
    return n_new


def _put_in_later(connection: Any, now: Moment, entries: Sequence[NewEntry]) -> int:
    at = now.stamp()
    return int(connection.executemany(
        f"{_ADD}(?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
        ((*entry, now.due(entry[4]), now.stamp(entry[4]), at, at) for entry in entries)).rowcount)


def hand_out(connection: Any, now: Moment, lease: Lease, limit: int) -> List[Dict[str, Any]]:
    """Lease the first entries that are ready, each with a token of its own."""
    found = connection.execute(
        'SELECT id, artifact_id, artifact_json, attempts + 1, resolver_hint FROM jobs '
        "WHERE state = 'queued' AND due = 0 ORDER BY priority DESC, id LIMIT ?",
        (limit,)).fetchall()
    jobs = [dict(zip(_HANDED_OUT, (*row, os.urandom(12).hex()))) for row in found]
    at, until = now.stamp(), now.stamp(lease.ttl_us)
    connection.executemany(
        "UPDATE jobs SET state = 'in_progress', attempts = attempts + 1, leases = leases + 1, "
        'max_attempts = ?, due = ?, span = ?, leased_at = ?, lease_expires_at = ?, '
        'worker_id = ?, last_worker = ?, token = ?, updated_at = ? WHERE id = ?',
        [(lease.max_attempts, now.due(lease.ttl_us), lease.ttl_us, at, until, lease.worker_id,
          lease.worker_id, job['token'], at, job['id']) for job in jobs])
    return jobs


def prolong(connection: Any, now: Moment, job_id: int, token: str, ttl_us: int) -> bool:
    """Lease an entry anew from now on; False when it is not leased with this token."""
    return bool(connection.execute(
        'UPDATE jobs SET due = ?, span = ?, lease_expires_at = ?, updated_at = ? '
        'WHERE id = ? AND token = ?',
        (now.due(ttl_us), ttl_us, now.stamp(ttl_us), now.stamp(), job_id, token)).rowcount)


def finish(connection: Any, now: Moment, end: Ending) -> bool:
    """End an attempt, or count that it came too late and return False."""
    if end.tries:
        connection.execute(
            "INSERT INTO attempts SELECT id, leases, worker_id, leased_at, ?, 'retry', ? "
            'FROM jobs WHERE id = ? AND token = ? AND attempts < ?',
            (now.stamp(), end.error, end.job_id, end.token, end.tries))
    return _is_mine(connection, connection.execute(FINISH, finish_values(now, end)))


def finish_values(now: Moment, end: Ending) -> Tuple[Any, ...]:
    """Return what `FINISH` takes to end an attempt: alone where it is not to be tried again."""
    tries = end.tries
    return (tries, end.outcome, tries, now.due(end.wait_us), end.wait_us,
            tries, now.stamp(end.wait_us) if end.wait_us else None,
            end.error, now.stamp(), end.job_id, end.token)


def give_back(connection: Any, now: Moment, job_id: int, token: Optional[str],
              span_us: int = 0) -> bool:
    """Undo a lease as if it had not been, or count that it came too late and return False.

    The entry is handed out again after `span_us` at the earliest.
    """
    return _is_mine(connection, connection.execute(
        "UPDATE jobs SET state = 'queued', due = ?, span = ?, attempts = attempts - 1, "
        f'leases = leases - 1, {_LET_GO}, updated_at = ? WHERE id = ? AND token = ?',
        (now.due(span_us), span_us, now.stamp(), job_id, token)))


def queue_failed(connection: Any, now: Moment) -> int:
    """Queue what is in `error` again as if it were new; return how many."""
    # The row is to tell of other attempts.  Those whose lease ran out stand there already.
    connection.execute(
        'INSERT OR IGNORE INTO attempts '
        "SELECT id, leases, last_worker, leased_at, updated_at, state, last_error FROM jobs "
        "WHERE state = 'error'")
    return int(connection.execute(
        "UPDATE jobs SET state = 'queued', attempts = 0, due = 0, available_at = NULL, "
        "updated_at = ? WHERE state = 'error'", (now.stamp(),)).rowcount)


def _is_mine(connection: Any, done: Any) -> bool:
    if done.rowcount:
        return True
    connection.execute('UPDATE facts SET refused = refused + 1')
    return False


# -- looking -------------------------------------------------------------------------

def counts(connection: Any) -> Dict[str, int]:
    """Return how many entries are in each state."""
    return dict(zip(_STATES, connection.execute(f'SELECT {", ".join(_STATES)} FROM facts')
                    .fetchone()))


def workers(connection: Any) -> List[str]:
    """Return the names under which something is leased now."""
    return [str(row[0]) for row in connection.execute(
        "SELECT DISTINCT worker_id FROM jobs WHERE due > 0 AND state = 'in_progress'")]


def end_leases(connection: Any, now: Moment, worker_id: str) -> int:
    """Let all leases of a worker be over by now; return how many."""
    return int(connection.execute(
        "UPDATE jobs SET due = ? WHERE due > 0 AND state = 'in_progress' AND worker_id = ?",
        (now.us, worker_id)).rowcount)


def is_paused(connection: Any) -> bool:
    """Return True when nothing is to be handed out."""
    return bool(connection.execute('SELECT paused FROM facts').fetchone()[0])


def refused(connection: Any) -> int:
    """Return how many finishes came too late."""
    return int(connection.execute('SELECT refused FROM facts').fetchone()[0])


def page(connection: Any, state: Optional[str], after: int, limit: int) -> List[Entry]:
    """Return entries by their number, of one state or of all."""
    chosen, values = ('', ()) if state is None else ('AND state = ? ', (state,))
    return [Entry(*row) for row in connection.execute(
        f'SELECT {_ENTRY} FROM jobs WHERE id > ? {chosen}ORDER BY id LIMIT ?',
        (after, *values, limit))]


def find(connection: Any, artifact_id: str) -> Optional[Entry]:
    """Return the entry of an id, or None."""
    row = connection.execute(f'SELECT {_ENTRY} FROM jobs WHERE artifact_id = ?',
                             (artifact_id,)).fetchone()
    return None if row is None else Entry(*row)


def attempts(connection: Any, job_id: int) -> List[Attempt]:
    """Return how the attempts of an entry ended, in their order."""
    return [Attempt(*row) for row in connection.execute(
        'SELECT number, worker_id, leased_at, ended_at, outcome, error FROM attempts '
        'WHERE job_id = ? UNION ALL '
        'SELECT leases, last_worker, leased_at, updated_at, state, last_error FROM jobs '
        "WHERE id = ? AND state IN ('done', 'skipped', 'error') AND NOT EXISTS "
        '(SELECT 1 FROM attempts WHERE job_id = id AND number = leases) ORDER BY 1',
        (job_id, job_id))]
