"""The audit of a run: every event in `state/audit_<id>.jsonl`, each line chained to the last.

A record is written before anybody else hears of its event, so what was printed
is in it.  Nothing is kept back, and a kill loses nothing that was written; the
end of a run and its entry in the journal of heads are on the disk before the
run's record says that it has ended.
"""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import Sink
from stagerunner.events import TasksSkipped
from stagerunner.files import append
from stagerunner.files import remove_tree
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.chain import SCHEMA
from stagerunner.report.chain import Key
from stagerunner.report.chain import encode
from stagerunner.report.chain import seal
from stagerunner.report.heads import Heads
from stagerunner.report.heads import Section
from stagerunner.report.heads import open_to_append
from stagerunner.state.lines import append_or_cut
from stagerunner.state.names import StateNames
from stagerunner.wording import event_name
from stagerunner.wording import plain

if TYPE_CHECKING:
    from typing import Optional
    from typing import Sequence

#: Fields that every record has at its beginning, or that are known only when it is written.
_SAID_OTHERWISE = ('runId', 'at', 'auditHead')

#: So many tasks that were skipped together have a record each, at most.
MOST_SINGLY = 100

#: What JSON in ASCII does not have as it is.
_ESCAPED = bytes(range(32)) + b'"\\' + bytes(range(127, 256))


class Audit(Sink):
    """Appends a record for each event, under the lock of the run."""

    def __init__(self, names: StateNames, run_id: str, clock: Clock, key: Optional[Key] = None):
        self.path = names.audit(run_id)
        self.run_id = run_id
        self.clock = clock
        self.key = key
        self.heads = Heads(names, key)
        self.descriptor = -1
        self.is_new = True
        self.offset = self.size = self.n_records = 0
        #: The hash of the last record; empty before the first event.
        self.last = ''

    def prepare(self) -> None:
        """Make the file, whose name is on the disk as soon as the folder is flushed."""
        self.is_new = not os.path.lexists(self.path)
        self.descriptor = open_to_append(self.path)

    def receive(self, event: Event) -> None:
        """Write a record of what happened."""
        fields = plain(event)
        at = fields.get('at') or stamp(self.clock.now())
        for name in _SAID_OTHERWISE:
            fields.pop(name, None)
        self._append(at, encode(fields)[1:-1])

    def receive_skips(self, event: TasksSkipped) -> None:
        """Write a record for each, or where that would take long one for all."""
        if len(event.tasks) <= MOST_SINGLY:
            super().receive_skips(event)
            return
        self._append(event.at, (
            f'"event":"{event_name(TasksSkipped)}","why":{encode(event.why)},'
            f'"tasks":{_texts(event.tasks)},"keys":{_texts(event.keys)},'
            f'"doneAt":{_texts(event.done_at)}'))

    def _append(self, at: str, fields: str) -> None:
        if not self.last:
            self.last, self.offset = self.heads.begin(
                self.run_id, at, self.descriptor, is_new=self.is_new)
            self.size = self.offset
        body = (f'{{"schema":{SCHEMA},"seq":{self.n_records + 1},"runId":"{self.run_id}",'
                f'"at":"{at}",{fields}')
        line, digest = seal(body, self.last, self.key)
        try:
            append_or_cut(self.descriptor, line, self.size, durable=False)
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error
        self.n_records += 1
        self.size += len(line)
        self.last = digest

    def end(self, event: RunEnded) -> str:
        """Write the last record, durably, and return the head; empty if nothing was told."""
        if not self.last:
            return ''
        self.receive(event)
        try:
            append(self.descriptor, b'', durable=True)
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error
        return self.heads.end(self.run_id, event.at, event.state, Section(
            self.offset, self.size, self.n_records, self.last))

    def close(self) -> None:
        """Let go of the file; one in which nothing stands is removed."""
        if self.descriptor < 0:
            return
        try:
            is_empty = not self.last and os.fstat(self.descriptor).st_size == 0
            os.close(self.descriptor)
            if is_empty:
                remove_tree(self.path)
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error
        self.descriptor = -1


def _texts(values: Sequence[str]) -> str:
    """Return a list of texts as JSON, without looking at each where none needs an escape.

    >>> _texts(['a', 'b']), _texts([]), _texts(['a\\n', 'b"'])
    ('["a","b"]', '[]', '["a\\\\n","b\\\\""]')
    """
    whole = ''.join(values).encode('utf-8', 'backslashreplace')
    if not values or whole.translate(None, _ESCAPED) != whole:
        return encode(list(values))
    return '["' + '","'.join(values) + '"]'
