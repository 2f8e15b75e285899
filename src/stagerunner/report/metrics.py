"""The figures of a run: `state/metrics_<id>.json`, written for failed and interrupted runs too."""

from __future__ import annotations

import json

from stagerunner.events import AttemptEnded
from stagerunner.events import EntryEnded
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskThrottled
from stagerunner.events import stage_of
from stagerunner.files import write_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.textfile import metrics_text

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Optional
    from typing import Tuple

_STATUS = {TaskDone: 'ok', TaskSkipped: 'skipped', TaskFailed: 'failed',
           TaskInterrupted: 'interrupted', TaskCancelled: 'cancelled', TaskBlocked: 'blocked'}

_spell = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_WORST_FIRST = ('interrupted', 'failed', 'blocked', 'cancelled', 'ok', 'skipped')


#: So many figures has a stage of which there is nothing special to say.
_N_PLAIN = 5


class Metrics(Sink):
    """Counts statuses, attempts and seconds, and writes them when the run ends."""

    def __init__(self, path: str, textfile: Optional[str] = None):
        self.path = path
        self.textfile = textfile
        self.rows: Dict[str, Dict[str, Any]] = {}
        #: None: the run came to nothing that could be counted.
        self.started: Optional[RunStarted] = None
        self.retries = 0
        #: Entries of the queue by what became of them.
        self.entries: Dict[str, int] = {}

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.started = event
            self.rows = {stage: {'stage': stage, 'status': 'cancelled', 'durationSec': 0.0,
                                 'attempts': 0, 'retries': 0} for stage in event.stages}
            for stage, n_tasks in event.fan_outs.items():
                self.rows[stage]['tasks'] = {'total': n_tasks}
        elif isinstance(event, StageExpanded):
            self.rows[event.stage]['tasks'] = {'total': event.tasks}
        elif isinstance(event, StageEnded):
            self._end_fan_out(self.rows[event.stage], event.counts)
        elif isinstance(event, AttemptEnded):
            row = self.rows[stage_of(event.task)]
            row['attempts'] += 1
            row['durationSec'] = round(row['durationSec'] + event.duration_s, 6)
            self._add_usage(row, event.usage)
        elif isinstance(event, TaskRetrying):
            self.rows[stage_of(event.task)]['retries'] += 1
            self.retries += 1
        elif isinstance(event, EntryEnded):
            self.entries[event.outcome] = self.entries.get(event.outcome, 0) + 1
        elif isinstance(event, TaskThrottled):
            row = self.rows[stage_of(event.task)]
            row['throttled'] = row.get('throttled', 0) + 1
            row['throttledSec'] = round(row.get('throttledSec', 0.0) + event.waited_s, 6)
        elif type(event) in _STATUS:
            self._settle(event)
        elif isinstance(event, RunEnded) and self.started is not None:
            summary = self.summary(event)
            write_bytes(self.path, _spelled(summary).encode('utf-8'), durable=False)
            if self.textfile is not None:
                write_bytes(self.textfile, metrics_text(summary).encode('utf-8'), durable=False)

    def receive_skips(self, event: TasksSkipped) -> None:
        for task in event.tasks:
            if task in self.rows:
                self.rows[task]['status'] = 'skipped'

    def _settle(self, event: Any) -> None:
        """Take note of how a task ended; of a fan-out's the first error is kept."""
        row = self.rows[stage_of(event.task)]
        if event.task in self.rows:
            status = row['status'] = _STATUS[type(event)]
            if 'tasks' in row:
                # It did not come to its tasks, of which there may be none.
                row['tasks'][status] = row['tasks']['total']
        if isinstance(event, TaskFailed) and 'error' not in row:
            row.update({'error': event.error, 'class': event.error_class})

    @staticmethod
    def _end_fan_out(row: Dict[str, Any], counts: Dict[str, int]) -> None:
        """Give a fan-out the worst status of its tasks; skipped is one that had nothing to do."""
        row['tasks'].update(counts)
        # Of what the queue feeds nobody knew before how many there would be.
        row['tasks']['total'] = max(row['tasks']['total'], sum(counts.values()))
        row['status'] = next((status for status in _WORST_FIRST if counts.get(status)),
                             'skipped')

    @staticmethod
    def _add_usage(row: Dict[str, Any], usage: Tuple[Any, ...]) -> None:
        """Add up what attempts used; of memory the largest peak counts."""
        cpu_s, peak, written, _ = usage
        if cpu_s is not None:
            row['cpuSec'] = round(row.get('cpuSec', 0.0) + cpu_s, 6)
        if peak is not None:
            row['peakMemoryBytes'] = max(row.get('peakMemoryBytes', 0), peak)
        if written is not None:
            row['writtenBytes'] = row.get('writtenBytes', 0) + written

    def summary(self, ended: RunEnded) -> Dict[str, Any]:
        """Return all figures of a run that ends like this."""
        assert self.started is not None
        rows = list(self.rows.values())
        queue = {'entries': self.entries} if self.entries else {}
        ends = [row['status'] for row in rows]
        counts = {f'{status}Stages': ends.count(status) for status in (
            'ok', 'skipped', 'failed', 'cancelled', 'blocked', 'interrupted')}
        return dict({
            'runId': ended.run_id, 'timestamp': ended.at, 'pipeline': self.started.pipeline,
            'state': ended.state, 'stages': rows, 'totalStages': len(rows)}, **counts, **queue,
            durationSec=round(ended.duration_s, 6), retries=self.retries,
            workers=self.started.workers, attempts=sum(row['attempts'] for row in rows),
            throttled=sum(row.get('throttled', 0) for row in rows),
            throttledSec=round(sum(row.get('throttledSec', 0.0) for row in rows), 6),
            auditHead=ended.audit_head or None)


def _spelled(summary: Dict[str, Any]) -> str:
    """Return the figures as JSON, with a line for each of them and for each stage."""
    lines = [f'{_spell(key)}: {_spell(value)}' for key, value in summary.items()
             if key != 'stages']
    rows = ',\n  '.join([_row(row) for row in summary['stages']])
    return ''.join(['{\n ', ',\n '.join(lines), ',\n "stages": [\n  ', rows, '\n ]\n}\n'])


def _row(row: Dict[str, Any]) -> str:
    """Return a row as JSON; that of a stage which did nothing is always the same but for the name.

    There may be ten thousand of them, and no name of a stage needs to be escaped.
    """
    if len(row) == _N_PLAIN and not row['attempts']:
        return (f'{{"stage": "{row["stage"]}", "status": "{row["status"]}", "durationSec": 0.0, '
                f'"attempts": 0, "retries": 0}}')
    return _spell(row)
