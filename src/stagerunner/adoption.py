"""Take outputs that are there already for what a stage would make: nothing is run.

Somebody vouches for them, and the records say so: a marker that is `adopted`
is skipped like any other while nothing changes, and its files are never removed
as leftovers of the runner.
"""

from __future__ import annotations

import glob
import os
import stat
from typing import Callable
from typing import List
from typing import Sequence
from typing import Set

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commit import complete
from stagerunner.errors import InputChanged
from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import UsageError
from stagerunner.errors import os_fault
from stagerunner.events import Event
from stagerunner.events import TaskAdopted
from stagerunner.evidence import evidence
from stagerunner.facts import Observer
from stagerunner.files import is_text
from stagerunner.files import one_spelling
from stagerunner.files import sync_file
from stagerunner.files import write_json
from stagerunner.keys import is_reserved
from stagerunner.ledger import Claims
from stagerunner.publish import describe_outputs
from stagerunner.records import NamedTuple
from stagerunner.state.marker import Marker
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import to_json
from stagerunner.tasks import Group
from stagerunner.tasks import Task

#: So many faults are told; of a fan-out they are usually all the same.
_MOST_FAULTS = 20


class Adopted(NamedTuple):
    """A task, and the marker that a success with the outputs there are would have left behind."""

    task: Task
    marker: Marker


class Adoption:
    """Adopts the outputs of one stage, whose lock is held."""

    def __init__(self, observer: Observer, groups: Sequence[Group], clock: Clock,
                 emit: Callable[[Event], None], run_id: str):
        self.observer = observer
        self.root = observer.root
        self.claims = Claims(observer.root, observer.ledger, groups)
        self.clock = clock
        self.emit = emit
        self.run_id = run_id

    def look(self, group: Group) -> List[Adopted]:
        """Return what is to be recorded of each task; writes nothing.

        Raises `UsageError` with every fault: an input or an output that is
        missing, a processor that would be refused.
        """
        faults: List[str] = []
        found: List[Adopted] = []
        for task in group:
            try:
                found.append(Adopted(task, self._marker(task)))
            except (StageError, Unreadable) as error:
                faults.append(f'{task.name} cannot be adopted: {error}')
        if not found and not faults:
            faults = [f'{group.stage.name} cannot be adopted: it has no tasks']
        if faults:
            more = len(faults) - _MOST_FAULTS
            raise UsageError('\n'.join(faults[:_MOST_FAULTS] + (
                [f'and {more} more'] if more > 0 else [])))
        return found

    def _marker(self, task: Task) -> Marker:
        facts = self.observer.observe(task)
        if facts.trouble:
            raise facts.trouble
        inputs = {one_spelling(os.path.join(self.root, entry.name)) for entry in facts.inputs}
        try:
            outputs = describe_outputs(task.output_dir, self._names(task, inputs))
        except InputChanged as error:
            raise StageError(f'{error.path} is being written to') from error
        return Marker(task.name, facts.key, self.run_id, stamp(self.clock.now()), 0.0, False,
                      facts.parts, outputs, task.stage.output_dir, True)

    def _names(self, task: Task, inputs: Set[str]) -> List[str]:
        """Return the files that are to be the outputs of a task, by name below its folder."""
        others = self.claims.below(task.output_dir, task)
        if not task.stage.outputs and task.is_member and task.output_dir == task.home:
            raise StageError(f"nobody can tell which files in '{task.stage.output_dir}' are "
                             f"its own; name them under 'outputs'")
        declared = [name for pattern in task.stage.outputs
                    for name in _matching(task.output_dir, pattern)]
        for name in declared:
            owner = others.get(one_spelling(name))
            if owner is not None:
                raise StageError(f"output '{name}' was already published by {owner!r}")
        found = declared or [
            name for name in _files_below(task.output_dir)
            if one_spelling(name) not in others
            and one_spelling(os.path.join(task.output_dir, name)) not in inputs]
        if not found:
            raise StageError(f"there is no output in '{task.stage.output_dir}'")
        return sorted(set(found))

    def record(self, group: Group, found: Sequence[Adopted]) -> None:
        """Record the outputs of all tasks, durably, and then tell of them."""
        try:
            for task, marker in found:
                for output in marker.outputs:
                    if output.link is None:
                        sync_file(os.path.join(task.output_dir, output.path))
        except OSError as error:
            raise StateError(error.filename or group.home, os_fault(error)) from error
        ledger = self.observer.ledger
        if group.is_fan_out:
            journal = ledger.journal(found[0][0])
            assert journal is not None
            journal.append([marker for _, marker in found])
            for task, marker in found:
                ledger.settled(task, marker.key)
            key, tasks = ledger.done(group)
            home = os.path.relpath(group.home, self.root).replace(os.sep, '/')
            complete(group.home, Marker(group.stage.name, key, self.run_id,
                                        stamp(self.clock.now()), 0.0, False, {'tasks': tasks},
                                        (), home, True), journal, tasks)
        else:
            task, marker = found[0]
            write_json(marker_path(task.output_dir, task.name), to_json(marker), durable=True)
        for task, marker in found:
            self.emit(TaskAdopted(task.name, marker.done_at, marker.key, len(marker.outputs),
                                  evidence(marker.parts, marker.output_dir, marker.outputs)))


def _matching(folder: str, pattern: str) -> List[str]:
    """Return the files that a name or glob of `outputs` stands for, or raise `StageError`."""
    paths = [os.path.join(folder, pattern)]
    if not os.path.lexists(paths[0]):
        paths = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True)
    names = []
    for path in paths:
        below = os.path.relpath(path, folder).replace(os.sep, '/')
        if os.path.isdir(path) and not os.path.islink(path):
            names += [f'{below}/{name}' for name in _files_below(path)]
        else:
            names.append(_checked(path, below))
    if not names:
        raise StageError(f"its output '{pattern}' is missing")
    return names


def _files_below(folder: str) -> List[str]:
    """Return all files and links in a folder that are not the runner's own."""
    names = []
    for base, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        folders[:] = [name for name in folders if not is_reserved(name)]
        for name in files + links:
            path = os.path.join(base, name)
            if not is_reserved(name):
                names.append(_checked(path, os.path.relpath(path, folder).replace(os.sep, '/')))
    return names


def _checked(path: str, name: str) -> str:
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise StageError(f"output '{name}' is not a file")
    if not is_text(name):
        raise StageError(f'output {ascii(name)} has a name that is not UTF-8')
    return name
