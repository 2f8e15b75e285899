"""What an attempt starts from: a private folder, and what binds and tells of its progress."""

from __future__ import annotations

import os

from stagerunner.errors import Unreadable
from stagerunner.events import Event
from stagerunner.events import TaskRestarted
from stagerunner.events import TaskResumed
from stagerunner.events import Warned
from stagerunner.facts import Facts
from stagerunner.files import make_folder
from stagerunner.files import quarantine
from stagerunner.files import read_json
from stagerunner.files import write_json
from stagerunner.fingerprint import stats_of
from stagerunner.ledger import Ledger
from stagerunner.plan import Decision
from stagerunner.publish import discard
from stagerunner.publish import prepare
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.resume import Binding
from stagerunner.resume import final_offset
from stagerunner.resume import forget
from stagerunner.resume import forget_progress
from stagerunner.resume import restore
from stagerunner.resume import unreadable
from stagerunner.resume import write_binding
from stagerunner.spelling import private_folder
from stagerunner.state.marker import marker_path
from stagerunner.state.names import StateNames
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Callable
    from typing import Optional

#: A processor that asks for a longer wait than a day is not believed.
LONGEST_DELAY_S = 86_400


class Footing(NamedTuple):
    """A private folder that is ready, and when it was made by the file system's clock (ns)."""

    private: str
    made_ns: int


class Groundwork:
    """Makes ready what attempts start from, and clears away what must not be gone on from."""

    def __init__(self, root: str, run_id: str, ledger: Ledger, emit: Callable[[Event], None]):
        self.root = root
        self.run_id = run_id
        self.names = StateNames(root)
        self.ledger = ledger
        self.emit = emit

    def warn(self, task: Task, facts: Facts) -> None:
        """Tell of what a person should look at before the task runs; set aside what is broken."""
        for pattern in facts.unmatched:
            self.emit(Warned(task.name, f"input '{pattern}' matches no file"))
        fault = self.ledger.fault(task)
        if fault:
            self.emit(Warned(task.stage.name, f'{fault}; all its tasks are done again'))
        if facts.marker_fault:
            self._set_aside(task, marker_path(task.output_dir, task.name), facts.marker_fault)
        if task.stage.checkpoint.enabled:
            for path, fault in unreadable(self.names, task.name):
                self._set_aside(task, path, fault)

    def _set_aside(self, task: Task, path: str, fault: str) -> None:
        """Keep what cannot be read under another name, and say so."""
        aside = quarantine(path)
        self.emit(Warned(task.name, f'{self.shown(path)}: {fault}; it was set aside as '
                                    f'{os.path.basename(aside)} and the work is done again'))

    def lay(self, task: Task, attempt: int, facts: Facts, decision: Decision) -> Footing:
        """Make the private folder and everything that binds what will be written there."""
        private = private_folder(task.output_dir, task.name)
        point = decision.point
        make_folder(self.names.folder)
        names = task.names(self.root)
        forget(names.retry(task.name))
        if point is None and task.stage.has_declared_files:
            discard(task.aside)
        if task.stage.checkpoint.enabled:
            if point is None:
                forget_progress(names, task.name)
                if facts.restart_why:
                    self.emit(TaskRestarted(task.name, facts.restart_why))
            else:
                restore(point, private)
                self.emit(TaskResumed(task.name, point.line_offset, point.note))
        made_ns = prepare(private, keeps_content=point is not None,
                          durable=task.stage.checkpoint.enabled)
        if task.stage.has_declared_files:
            prepare(os.path.join(task.aside, 'tmp'), keeps_content=False)
        if task.stage.checkpoint.enabled:
            write_binding(self.names, task.name, Binding(
                facts.key, attempt, self.run_id, self.shown(private),
                point.line_offset if point else 0, inputs=stats_of(facts.inputs)))
        return Footing(private, made_ns)

    def retry_after_s(self, task: Task) -> Optional[float]:
        """Return the delay that a processor asked for in its retry file, None where it did not."""
        try:
            note = read_json(task.names(self.root).retry(task.name))
        except Unreadable:
            return None
        wanted = note.get('retryAfterSec') if isinstance(note, dict) else None
        if not isinstance(wanted, (int, float)) or isinstance(wanted, bool):
            return None
        return float(wanted) if 0 <= wanted <= LONGEST_DELAY_S else None

    def end_progress(self, task: Task, attempt: int, key: str, private: str) -> int:
        """Record that there is nothing to resume any more; return the total number of lines."""
        total = final_offset(task.names(self.root), task.name)
        write_binding(self.names, task.name, Binding(
            key, attempt, self.run_id,
            self.shown(private), total, is_finished=True))
        return total

    def mirror(self, task: Task) -> None:
        """Show the progress of a task with declared files where people look for it."""
        if not (task.stage.has_declared_files and task.stage.checkpoint.enabled):
            return
        try:
            progress = read_json(task.names(self.root).progress(task.name))
        except Unreadable:
            return
        if progress is not None:
            write_json(self.names.progress(task.name), progress, durable=False)

    def shown(self, path: str) -> str:
        """Return a path below the root as people write it."""
        return os.path.relpath(path, self.root).replace(os.sep, '/')
