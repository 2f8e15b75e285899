"""What a dry run prints, in the words of documents 000 and 001."""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.files import write_json
from stagerunner.plan import MAYBE
from stagerunner.plan import SKIP
from stagerunner.report.console import Stream
from stagerunner.report.console import reasons_text
from stagerunner.schema import printable
from stagerunner.state.entries import COMPLETED
from stagerunner.state.entries import VERSION


class DryRun(Sink):
    """A line per task, one per stage that was gone through, and a summary at the end."""

    def __init__(self, out: Stream, err: Stream):
        self.out = out
        self.err = err
        self.stage: Optional[str] = None
        self.counts = {'execute': 0, 'skip': 0}
        self.estimate_s = 0.0
        out.line('DRY-RUN MODE ENABLED')

    def receive(self, event: Event) -> None:
        if isinstance(event, Warned):
            whose = f'{printable(event.task)}: ' if event.task else ''
            self.err.line(f'warning: {whose}{printable(event.message)}')
        elif isinstance(event, TaskPlanned):
            self._end_stage(event.stage)
            verb = 'skip' if event.decision == SKIP else 'execute'
            maybe = 'maybe: ' if event.decision == MAYBE else ''
            self.counts[verb] += 1
            if verb == 'execute':
                self.estimate_s += event.estimate_s or 0.0
            self.out.line(f'[DRY-RUN] Would {verb}: {event.task} '
                          f'({maybe}{reasons_text(event.reasons)})')

    def _end_stage(self, following: Optional[str]) -> None:
        if self.stage is not None and self.stage != following:
            self.out.line(f'Stage validated: {self.stage}')
        self.stage = following

    def close(self) -> None:
        self._end_stage(None)
        estimate = f', {self.estimate_s:.1f}s of work by what it last took'
        self.out.line(f"[DRY-RUN] {self.counts['execute']} to execute, "
                      f"{self.counts['skip']} to skip{estimate if self.estimate_s else ''}; "
                      f'nothing was changed')
        self.out.line('Pipeline Complete!')


class SimulatedCheckpoint(Sink):
    """Writes the checkpoint file that a run would leave, marked as one that none left."""

    def __init__(self, path: str, run_id: str, clock: Clock):
        self.path = path
        now = stamp(clock.now())
        self.now = now
        self.data: Dict[str, Any] = {
            'run_id': run_id, 'version': VERSION, 'created_at': now, 'last_updated': now,
            'status': COMPLETED, 'dry_run': True, 'stages': {},
            'stats': {'total_stages': 0, 'completed_stages': 0, 'retries': 0},
            'config': {'max_workers': 1}}

    def receive(self, event: Event) -> None:
        if not isinstance(event, TaskPlanned):
            return
        if event.collection:
            entries = self.data.setdefault(event.collection, {})
            entry = entries.setdefault(event.item, {'stage': COMPLETED, 'stages': {},
                                                    'retries': 0, 'started_at': self.now,
                                                    'completed_at': self.now})
            entry['stages'][event.stage] = self.now
            for kind in ('total', 'completed'):
                self.data['stats'][f'{kind}_{event.collection}'] = len(entries)
        self.data['stages'][event.stage] = self.now
        for kind in ('total', 'completed'):
            self.data['stats'][f'{kind}_stages'] = len(self.data['stages'])

    def close(self) -> None:
        write_json(self.path, self.data, durable=False)
