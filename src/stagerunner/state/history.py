"""The history of completed runs that a config asks for: one JSON array, an entry per run."""

from __future__ import annotations

import os
from typing import Any
from typing import List

from stagerunner.errors import Unreadable
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import Sink
from stagerunner.files import quarantine
from stagerunner.files import read_json
from stagerunner.files import write_json
from stagerunner.locks import history_lock
from stagerunner.locks import take_lock


class VersionHistory(Sink):
    """Appends `{run_id, version, ended_at}` when a run was completed."""

    def __init__(self, root: str, path: str, version: str):
        self.root = root
        self.path = os.path.join(root, path)
        self.version = version

    def receive(self, event: Event) -> None:
        if isinstance(event, RunEnded) and event.state == 'completed':
            with take_lock(history_lock(self.root)):
                write_json(self.path, [*self._entries(), {
                    'run_id': event.run_id, 'version': self.version, 'ended_at': event.at}],
                    durable=True)

    def _entries(self) -> List[Any]:
        """Return what is there; what is no list is set aside, not lost."""
        try:
            found = read_json(self.path)
            if found is None or isinstance(found, list):
                return found or []
        except Unreadable:
            pass
        quarantine(self.path)
        return []
