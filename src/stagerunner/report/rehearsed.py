"""What a dry run prints, in the words of documents 000 and 001."""

from __future__ import annotations

from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.plan import MAYBE
from stagerunner.plan import SKIP
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.console import Stream
from stagerunner.report.console import reasons_text
from stagerunner.schema import printable

if TYPE_CHECKING:
    from typing import Optional
    from typing import Set


class DryRun(Sink):
    """A line per task, one per stage that was gone through, and a summary at the end."""

    def __init__(self, out: Stream, err: Stream):
        self.out = out
        self.err = err
        self.stage: Optional[str] = None
        self.counts = {'execute': 0, 'skip': 0}
        self.estimate_s = 0.0
        #: Stages with a task that could only fail.
        self.broken: Set[str] = set()
        out.line('DRY-RUN MODE ENABLED')

    def receive(self, event: Event) -> None:
        if isinstance(event, Warned):
            whose = f'{printable(event.task)}: ' if event.task else ''
            self.err.line(f'warning: {whose}{printable(event.message)}')
        elif isinstance(event, TaskPlanned):
            self._end_stage(event.stage)
            if event.trouble:
                self.broken.add(event.stage)
            verb = 'skip' if event.decision == SKIP else 'execute'
            maybe = 'maybe: ' if event.decision == MAYBE else ''
            self.counts[verb] += 1
            if verb == 'execute':
                self.estimate_s += event.estimate_s or 0.0
            self.out.line(f'[DRY-RUN] Would {verb}: {event.task} '
                          f'({maybe}{reasons_text(event.reasons)})')

    def _end_stage(self, following: Optional[str]) -> None:
        if self.stage is not None and self.stage != following:
            word = 'would fail' if self.stage in self.broken else 'validated'
            self.out.line(f'Stage {word}: {self.stage}')
        self.stage = following

    def close(self) -> None:
        self._end_stage(None)
        estimate = f', {self.estimate_s:.1f}s of work by what it last took'
        self.out.line(f"[DRY-RUN] {self.counts['execute']} to execute, "
                      f"{self.counts['skip']} to skip{estimate if self.estimate_s else ''}; "
                      f'nothing was changed')
        self.out.line('Pipeline would fail' if self.broken else 'Pipeline Complete!')
