"""The checkpoint file of documents 000 and 001: all stages of a run at a glance.

For people and their scripts; the runner itself never reads it.  It is written
after each stage, but never so often that writing it takes more than a
twentieth of the run's time, and at the end.
"""

from __future__ import annotations

from typing import Any
from typing import Dict

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import TaskDone
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import stage_of
from stagerunner.files import write_json
from stagerunner.state.names import StateNames

#: Version of the documented format.
VERSION = '2.0.0'

#: A write that took t seconds is followed by at least this many times t without one.
_REST = 19


class PipelineCheckpoint(Sink):
    """Keeps `state/pipeline_checkpoint.json` up to date."""

    def __init__(self, names: StateNames, clock: Clock):
        self.path = names.pipeline_checkpoint()
        self.clock = clock
        self.data: Dict[str, Any] = {}
        self.next_write = 0.0

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.data = {'run_id': event.run_id, 'version': VERSION, 'created_at': event.at,
                         'last_updated': event.at, 'status': 'in_progress', 'stages': {},
                         'stats': {'total_stages': len(event.stages), 'completed_stages': 0,
                                   'retries': 0},
                         'config': {'max_workers': event.workers}}
        elif isinstance(event, TaskDone) and event.task == stage_of(event.task):
            self._complete(event.task, event.at)
            self._write_if_rested()
        elif isinstance(event, TaskSkipped) and event.task == stage_of(event.task):
            self._complete(event.task, event.done_at)
        elif isinstance(event, StageEnded) and not set(event.counts) - {'ok', 'skipped'}:
            self._complete(event.stage, event.at)
            self._write_if_rested()
        elif isinstance(event, TaskRetrying):
            self.data['stats']['retries'] += 1
        elif isinstance(event, RunEnded):
            self.data['status'] = event.state
            self._write()

    def _complete(self, task: str, at: str) -> None:
        self.data['stages'][task] = at
        self.data['stats']['completed_stages'] += 1

    def _write_if_rested(self) -> None:
        began = self.clock.monotonic()
        if began >= self.next_write:
            self._write()
            ended = self.clock.monotonic()
            self.next_write = ended + _REST * (ended - began)

    def _write(self) -> None:
        self.data['last_updated'] = stamp(self.clock.now())
        write_json(self.path, self.data, durable=False)
