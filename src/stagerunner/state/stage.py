"""The last result of a task, for people: `state/stage_<task>.json`; the marker decides."""

from __future__ import annotations

import os

from stagerunner.events import USAGE
from stagerunner.events import AttemptEnded
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskAdopted
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import stage_of
from stagerunner.files import remove_tree
from stagerunner.files import write_json
from stagerunner.records import TYPE_CHECKING
from stagerunner.retry import BUSY
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple

#: So many attempts of a task are kept in its record, the newest ones.
KEPT_ATTEMPTS = 20


class StageRecords(Sink):
    """Gathers what happens to each task and writes its record when an attempt ended.

    A skip leaves the record as it is, and so does a run that finds the stage
    busy: whoever holds its lock writes it.  It may be thrown away at any time,
    so it is written as a whole but not flushed.
    """

    def __init__(self, names: StateNames, run_id: str):
        self.names = names
        self.run_id = run_id
        self.reasons: Dict[str, Tuple[Reason, ...]] = {}
        self.attempts: Dict[str, List[AttemptEnded]] = {}
        #: Stages of which this run has made an attempt.
        self.attempted: Set[str] = set()
        #: Stages with items, whose tasks have a record only while they fail; and first errors.
        self.with_items: Set[str] = set()
        self.errors: Dict[str, str] = {}

    def receive(self, event: Event) -> None:
        if isinstance(event, StageExpanded) and event.has_items:
            self.with_items.add(event.stage)
        elif isinstance(event, StageEnded):
            self._write_fan_out(event)
        elif isinstance(event, TaskStarted):
            # Why a task is executed is said by its first attempt; another has an old record.
            self.reasons.setdefault(event.task, event.reasons)
        elif isinstance(event, AttemptEnded):
            self.attempts.setdefault(event.task, []).append(event)
            self.attempted.add(stage_of(event.task))
            if event.delay_s is not None:
                self._write(event.task, 'failed', event.duration_s, error=event.error)
        elif isinstance(event, TaskDone) and stage_of(event.task) in self.with_items:
            self._forget(event.task)
        elif isinstance(event, TaskDone):
            self._write(event.task, 'ok', event.duration_s, key=event.key,
                        is_staged=event.is_staged)
        elif isinstance(event, TaskAdopted) and event.task == stage_of(event.task):
            self._write(event.task, 'adopted', 0.0, key=event.key, is_staged=False)
        elif isinstance(event, TaskFailed):
            self.errors.setdefault(stage_of(event.task), f'{event.task}: {event.error}')
            if event.error_class != BUSY:
                self._write(event.task, 'failed', event.duration_s, error=event.error)
        elif isinstance(event, TaskInterrupted):
            self._write(event.task, 'interrupted', event.duration_s, error='interrupted')

    def receive_skips(self, event: TasksSkipped) -> None:
        """A skip leaves records as they are."""

    def _forget(self, task: str) -> None:
        """An item that is done has its line in the journal, and memory is for what is not done."""
        path = self.names.stage(task)
        if os.path.lexists(path):
            remove_tree(path)
        self.reasons.pop(task, None)
        self.attempts.pop(task, None)

    def _write_fan_out(self, ended: StageEnded) -> None:
        """Write the record of a stage with many tasks, unless none of them did anything."""
        if ended.stage not in self.attempted:
            return
        is_ok = not set(ended.counts) - {'ok', 'skipped'}
        write_json(self.names.stage(ended.stage), {
            'lastStatus': 'ok' if is_ok else 'failed' if ended.counts.get('failed')
            else 'interrupted', 'lastDurationSec': round(ended.duration_s, 6),
            'idempotencyKey': None, 'lastError': self.errors.get(ended.stage),
            'runId': self.run_id, 'tasks': ended.counts, 'attempts': []}, durable=False)

    def _write(self, task: str, status: str, duration_s: float, *, key: Optional[str] = None,
               error: Optional[str] = None, is_staged: bool = True) -> None:
        attempts = self.attempts.get(task, ())[-KEPT_ATTEMPTS:]
        write_json(self.names.stage(task), {
            'lastStatus': status, 'lastDurationSec': round(duration_s, 6),
            'idempotencyKey': key, 'lastError': error, 'runId': self.run_id,
            'staged': is_staged, 'reasons': reasons_to_json(self.reasons.get(task, ())),
            'attempts': [_attempt_to_json(attempt) for attempt in attempts],
        }, durable=False)


def reasons_to_json(reasons: Sequence[Reason]) -> List[Dict[str, Any]]:
    """Return reasons as they stand in records and in `--json` output."""
    return [dict(zip(Reason._fields, reason)) for reason in reasons]


def _attempt_to_json(attempt: AttemptEnded) -> Dict[str, Any]:
    return {'attempt': attempt.attempt, 'status': attempt.status,
            'startedAt': attempt.started_at, 'durationSec': round(attempt.duration_s, 6),
            'exitCode': attempt.exit_code, 'class': attempt.error_class, 'error': attempt.error,
            'delaySec': attempt.delay_s, 'lineOffset': attempt.line_offset,
            'verified': attempt.is_verified, 'log': attempt.log,
            'isolation': attempt.isolation, **dict(zip(USAGE, attempt.usage))}
