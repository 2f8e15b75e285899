"""What a dry run prints, in the words of documents 000 and 001."""

from __future__ import annotations

from typing import Optional

from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.plan import MAYBE
from stagerunner.plan import SKIP
from stagerunner.report.console import Stream
from stagerunner.report.console import reasons_text
from stagerunner.schema import printable


class DryRun(Sink):
    """A line per task, one per stage that was gone through, and a summary at the end."""

    def __init__(self, out: Stream, err: Stream):
        self.out = out
        self.err = err
        self.stage: Optional[str] = None
        self.counts = {'execute': 0, 'skip': 0}
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
            self.out.line(f'[DRY-RUN] Would {verb}: {event.task} '
                          f'({maybe}{reasons_text(event.reasons)})')

    def _end_stage(self, following: Optional[str]) -> None:
        if self.stage is not None and self.stage != following:
            self.out.line(f'Stage validated: {self.stage}')
        self.stage = following

    def close(self) -> None:
        self._end_stage(None)
        self.out.line(f"[DRY-RUN] {self.counts['execute']} to execute, "
                      f"{self.counts['skip']} to skip; nothing was changed")
        self.out.line('Pipeline Complete!')
