"""The history of completed runs that a config asks for: one JSON array, an entry per run."""

from __future__ import annotations

import os

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import TasksSkipped
from stagerunner.files import MAX_JSON_BYTES
from stagerunner.files import make_folder
from stagerunner.files import quarantine
from stagerunner.files import read_bytes
from stagerunner.files import read_json
from stagerunner.files import write_json
from stagerunner.locks import history_lock
from stagerunner.locks import take_lock
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Optional


class VersionHistory(Sink):
    """Appends `{run_id, version, ended_at}` when a run was completed."""

    def __init__(self, root: str, path: str, version: str):
        self.root = root
        self.path = os.path.join(root, path)
        self.version = version

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._claim()
        elif isinstance(event, RunEnded) and event.state == 'completed':
            with take_lock(history_lock(self.root)):
                entries = self._entries()
                if entries is None:
                    quarantine(self.path)
                write_json(self.path, [*(entries or ()), {
                    'run_id': event.run_id, 'version': self.version, 'ended_at': event.at}],
                    durable=True)

    def receive_skips(self, event: TasksSkipped) -> None:
        """Only the end of a run is of interest."""

    def _claim(self) -> None:
        """Make the folder; refuse what is about something else before a run does its work."""
        folder = os.path.dirname(self.path)
        try:
            make_folder(folder)
            # Fails where a file is in the way.
            os.stat(os.path.join(folder, ''))
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error
        self._entries()

    def _entries(self) -> Optional[List[Any]]:
        """Return what is there, None for a history that was damaged.

        Raises `StateError` for everything else: the path may be a slip of the
        hand, and what lies there precious.
        """
        try:
            found = read_json(self.path)
        except Unreadable:
            if self._begins_like_ours():
                return None
            found = {}
        if found is not None and not isinstance(found, list):
            raise StateError(self.path, 'is no history of versions and is left as it is; '
                                        'change version_history_path')
        return found or []

    def _begins_like_ours(self) -> bool:
        try:
            begin = read_bytes(self.path, MAX_JSON_BYTES, follow=False)[:100].strip(b' \n\0')
        except (OSError, Unreadable):
            return False
        return not begin or begin.startswith(b'[')
