"""A run as it is seen from outside: whether it lives, how far it is, how it ended.

Whether it lives its lock tells, never a process id or what its record says.
Reads, and changes nothing; no lock is held longer than a look takes.
"""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence

from stagerunner.clock import unstamp
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import UsageError
from stagerunner.files import read_json
from stagerunner.records import NamedTuple
from stagerunner.report.tally import Tally
from stagerunner.report.trail import Trail
from stagerunner.schema import nearest
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.state.run import RUNNING
from stagerunner.state.run import RunRecord
from stagerunner.state.run import is_dead
from stagerunner.state.run import read_run
from stagerunner.wording import event_of

#: The state of a run that ended without being able to say so.
CRASHED = 'crashed'

#: What a task may have come to.
STATUSES = ('ok', 'skipped', 'failed', 'blocked', 'cancelled', 'interrupted')


def find_run(records: Sequence[RunRecord], run_id: str) -> RunRecord:
    """Return the record of a run, or raise `UsageError` with what may have been meant."""
    for record in records:
        if record.run_id == run_id:
            return record
    known = [record.run_id for record in records]
    raise UsageError(f"there is no run '{printable(run_id)}'" + (
        nearest(run_id, known) or (f'; the last one is {known[-1]}' if known else '')))


class Seen(NamedTuple):
    """What was seen of a run: `counts` has a number of tasks per status, and their `total`."""

    record: RunRecord
    state: str
    counts: Dict[str, int]
    #: Its events so far, unless its figures were enough.
    tally: Optional[Tally] = None
    fault: str = ''

    @property
    def is_alive(self) -> bool:
        """True while somebody works on the run."""
        return self.state == RUNNING

    def duration_s(self, now: float) -> Optional[float]:
        """Return how long the run took or takes; None where nobody knows when it ended."""
        ended = now if self.is_alive else _seconds(self.record.ended_at)
        began = _seconds(self.record.started_at)
        return None if began is None or ended is None else max(0.0, ended - began)


class Sight:
    """One run; `look` again for what is new since."""

    def __init__(self, names: StateNames, root: str, record: RunRecord):
        self.names = names
        self.root = root
        self.record = record
        self._trail: Optional[Trail] = None
        self._tally = Tally()
        self._seen: Optional[Seen] = None

    def look(self) -> Seen:
        """Return how the run stands now; what has ended is not looked at again."""
        if self._seen is None or self._seen.is_alive:
            self._seen = self._look()
        return self._seen

    def _look(self) -> Seen:
        self.record = read_run(self.names, self.record.run_id) or self.record
        state = self.record.state
        if state == RUNNING and is_dead(self.root, self.record.run_id):
            # It may have ended between the two looks.
            self.record = read_run(self.names, self.record.run_id) or self.record
            state = CRASHED if self.record.state == RUNNING else self.record.state
        if state not in (RUNNING, CRASHED):
            counts = _counts_of_metrics(self.names, self.record.run_id)
            if counts is not None:
                return Seen(self.record, state, counts)
        return self._from_events(state)

    def _from_events(self, state: str) -> Seen:
        fault = ''
        try:
            if self._trail is None:
                self._trail = Trail(self.names, self.record.run_id)
            for told in self._trail.read():
                self._take(told)
        except StateError as error:
            fault = str(error)
        if state != RUNNING:
            self._tally.abandon()
        counts = dict(self._tally.by_status(), total=self._tally.counts().total)
        return Seen(self.record, state, counts, self._tally, fault)

    def _take(self, told: Dict[str, Any]) -> None:
        """Count one record; what somebody wrote into the file by hand may be anything."""
        try:
            event = event_of(told)
            if event is not None:
                self._tally.receive(event, unstamp(told['at']))
        except (KeyError, TypeError, ValueError, AttributeError):
            pass


def _seconds(text: Optional[str]) -> Optional[float]:
    try:
        return None if text is None else unstamp(text)
    except ValueError:
        return None


def _counts_of_metrics(names: StateNames, run_id: str) -> Optional[Dict[str, int]]:
    """Return the counts of a run that ended, of fan-outs that of their tasks."""
    try:
        rows: List[Dict[str, Any]] = read_json(names.metrics(run_id))['stages']
        counts = dict.fromkeys(STATUSES, 0)
        for row in rows:
            for status in STATUSES:
                counts[status] += (int(row['tasks'].get(status, 0)) if 'tasks' in row
                                   else row['status'] == status)
        return dict(counts, total=sum(counts.values()))
    except (Unreadable, KeyError, TypeError, ValueError, AttributeError):
        return None
