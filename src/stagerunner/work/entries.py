"""What goes into the queue, checked, and what is told of it."""

from __future__ import annotations

import enum
import json
import math
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import Optional
from typing import Tuple
from typing import Union

from stagerunner.records import NamedTuple
from stagerunner.schema import nearest

#: What a row may have, in the order of the arguments of `enqueue`.
KEYS = ('artifact_id', 'artifact', 'resolver_hint', 'priority', 'delay_sec')

_KNOWN = frozenset(KEYS)

#: Made once: `json.dumps` with options makes an encoder for each call.
_as_json = json.JSONEncoder(allow_nan=False, sort_keys=True, check_circular=False).encode


class JobState(str, enum.Enum):
    """Where an entry is: waiting, being worked on, or finished in one of three ways."""

    QUEUED = 'queued'
    IN_PROGRESS = 'in_progress'
    DONE = 'done'
    SKIPPED = 'skipped'
    ERROR = 'error'


#: How an entry can end.
FINISHED = (JobState.DONE.value, JobState.SKIPPED.value, JobState.ERROR.value)


class Entry(NamedTuple):
    """An entry as it is now; times are text of the wall clock, and None what does not apply."""

    id: int
    artifact_id: str
    artifact_json: str
    resolver_hint: Optional[str]
    priority: int
    state: str
    #: How often it was handed out since it was put in, or queued again by `retry_failed`.
    attempts: int
    #: Not to be handed out before: the end of a delay, or of the wait before another attempt.
    available_at: Optional[str]
    leased_at: Optional[str]
    lease_expires_at: Optional[str]
    worker_id: Optional[str]
    last_error: Optional[str]
    created_at: str
    updated_at: str


class Attempt(NamedTuple):
    """One time that an entry was handed out, and how that ended.

    `outcome` is `done`, `skipped`, `error`, `retry` (it failed and was queued
    again) or `lost` (its lease ran out).
    """

    number: int
    worker_id: str
    leased_at: str
    ended_at: str
    outcome: str
    error: Optional[str]


#: A row as it is stored: id, artifact as JSON, hint, priority, delay in microseconds.  A plain
#: tuple: of a million rows, names would cost a quarter of a second.
NewEntry = Tuple[str, str, Optional[str], int, int]

#: A row that is to be put in: as people write it, or checked already.
Row = Union[Mapping[str, Any], NewEntry]


def check_rows(rows: Iterable[Row]) -> Iterator[NewEntry]:
    """Give each row as it is stored; the first with a fault raises `ValueError` and its number.

    What is checked already may be among them.
    """
    for number, row in enumerate(rows, 1):
        try:
            yield row if isinstance(row, tuple) else check_row(row)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f'row {number}: {error}') from error


def check_row(row: Mapping[str, Any]) -> NewEntry:
    """Return one row as it is stored, or say what is wrong with it (`ValueError`, `TypeError`)."""
    if not isinstance(row, (dict, Mapping)):
        raise ValueError(f'expected an object, got {row!r:.80}')
    if not _KNOWN.issuperset(row):
        unknown = next(key for key in row if key not in _KNOWN)
        raise ValueError(f'unknown key {unknown!r}{nearest(str(unknown), KEYS)}')
    get = row.get
    artifact_id, hint, priority = get('artifact_id'), get('resolver_hint'), get('priority', 0)
    if not isinstance(artifact_id, str) or not artifact_id:
        raise ValueError(f'expected a text as artifact_id, got {artifact_id!r}')
    if 'artifact' not in row:
        raise ValueError('has no artifact')
    if hint is not None and not isinstance(hint, str):
        raise ValueError(f'expected a text as resolver_hint, got {hint!r}')
    if type(priority) is not int or abs(priority) > 2 ** 31:
        raise ValueError(f'expected a whole number as priority, got {priority!r}')
    # Half a character cannot be stored; better told here, with the number of the row.
    if not artifact_id.isascii() or hint:
        f'{artifact_id}{hint}'.encode()
    delay_s = get('delay_sec', 0)
    return (artifact_id, _as_json(row['artifact']), hint, priority,
            micros('delay_sec', delay_s) if delay_s != 0 else 0)


def micros(name: str, seconds: Any) -> int:
    """Return seconds as microseconds; years are enough, and fit into a column."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) \
            or not math.isfinite(seconds) or not 0 <= seconds <= 1e10:
        raise ValueError(f'expected seconds from 0 to 1e10 as {name}, got {seconds!r}')
    return round(seconds * 1_000_000)


def as_outcome(outcome: str) -> str:
    """Return how an entry ends, as text; `ValueError` when that is no end."""
    state = JobState(outcome).value
    if state not in FINISHED:
        raise ValueError(f'an entry ends as one of {", ".join(FINISHED)}, not {state}')
    return state
