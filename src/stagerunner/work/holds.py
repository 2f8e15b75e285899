"""What a queue runner holds while it works on entries: each alone, their stages with others.

The lock of the stage is shared: it keeps out who wants the stage as a whole.
That of the entry is handed down to the processor, as the stage's is in a plain
run: an orphan of a killed runner so keeps its entry for as long as it lives,
whoever has been given the lease meanwhile.  Both go back with each task.
"""

from __future__ import annotations

import os
from typing import Callable
from typing import Dict
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence
from typing import Set

from stagerunner.clock import Clock
from stagerunner.files import leftovers
from stagerunner.files import remove_tree
from stagerunner.holds import Holds
from stagerunner.locks import Lock
from stagerunner.locks import entry_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Permits
from stagerunner.records import NamedTuple
from stagerunner.tasks import Task


class _Used(NamedTuple):
    """A lock and the tasks of this process that need it: two entries may have the same."""

    lock: Lock
    tasks: Set[str]


class EntryHolds(Holds):
    """Takes locks task by task; `is_ours` tells whether an entry is still leased to this run."""

    is_one_by_one = True

    def __init__(self, root: str, permits: Permits, clock: Clock, holder: Mapping[str, object],
                 is_ours: Callable[[str], bool], stages: Sequence[str] = ()):
        super().__init__(root, permits, clock, holder)
        self.is_ours = is_ours
        self.used: Dict[str, _Used] = {}
        #: The paths of what each task holds, the lock of the entry last.
        self.paths: Dict[str, List[str]] = {}
        #: Where the locks of entries lie.
        self.folders = [os.path.dirname(entry_lock(root, stage, '')) for stage in stages]

    def path(self, task: Task) -> str:
        assert task.item is not None
        return entry_lock(self.root, task.stage.name, task.item.encoded)

    def has(self, task: Task) -> bool:
        return task.name in self.paths

    def take(self, task: Task) -> Optional[Lock]:
        if task.name not in self.paths:
            stage = stage_lock(self.root, task.stage.name)
            if not self._use(stage, task.name, is_shared=True):
                return None
            if not self._use(self.path(task), task.name, is_shared=False):
                self._leave(stage, task.name)
                return None
            self.paths[task.name] = [stage, self.path(task)]
        return self.used[self.paths[task.name][-1]].lock

    def note(self, task: Task, since: str) -> None:
        lock = self.used[self.path(task)].lock
        lock.note(dict(self.holder, task=task.name, since=since))

    def may_publish(self, task: Task) -> bool:
        assert task.item is not None
        return self.is_ours(task.item.id)

    def let_go(self, task: str) -> None:
        for path in reversed(self.paths.pop(task, [])):
            self._leave(path, task)

    def release(self, stage: str) -> None:
        """Nothing is held for a stage as a whole."""

    def release_all(self) -> None:
        """Let everything go, and clear away the notes that killed runners left half-written."""
        for task in list(self.paths):
            self.let_go(task)
        for folder in self.folders:
            try:
                for path in list(leftovers(folder)):
                    remove_tree(path)
            except OSError:
                # There are none yet; or they are in nobody's way, and the next run tries again.
                continue

    def _use(self, path: str, task: str, *, is_shared: bool) -> bool:
        used = self.used.get(path)
        if used is None:
            lock = try_lock(path, is_shared=is_shared)
            if lock is None:
                return False
            used = self.used[path] = _Used(lock, set())
        used.tasks.add(task)
        return True

    def _leave(self, path: str, task: str) -> None:
        used = self.used[path]
        used.tasks.discard(task)
        if not used.tasks:
            del self.used[path]
            used.lock.release()
