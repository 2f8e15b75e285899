"""What tasks of now and of former times have published in a workspace, wherever it lies.

Markers are found by looking into every folder, because a stage that is not
declared any more has no definition to ask.  A marker counts only where it says
itself that it lies: in a copy of an output folder it is somebody's own.
"""

from __future__ import annotations

import os
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Set
from typing import Tuple

from stagerunner.errors import RunnerError
from stagerunner.errors import Unreadable
from stagerunner.events import stage_of
from stagerunner.files import one_spelling
from stagerunner.keys import is_reserved
from stagerunner.locks import lock_folders
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import read_marker
from stagerunner.state.marker import task_of_marker
from stagerunner.state.names import StateNames
from stagerunner.tasks import Group
from stagerunner.tasks import Task


class Holding(NamedTuple):
    """What one task has published: files below an output folder (from the root)."""

    task: str
    output_dir: str
    outputs: Tuple[Output, ...]
    done_at: str
    is_adopted: bool
    #: The path of its marker; '' for a task that stands in the journal of its stage.
    marker: str = ''

    def paths(self) -> Iterator[str]:
        """Yield its files from the root, spelled as those of others are."""
        for output in self.outputs:
            yield one_spelling(f'{self.output_dir}/{output.path}')


class Present(NamedTuple):
    """What the definition declares now: the output folder of each task, as far as is known.

    Of `vague` stages nobody can tell which items they have until others have run.
    """

    folders: Dict[str, str]
    tasks: Tuple[Task, ...]
    vague: Set[str]

    def has(self, holding: Holding) -> bool:
        """True when a task is declared, with this output folder, or may be."""
        if holding.task in self.folders:
            return one_spelling(self.folders[holding.task]) == one_spelling(holding.output_dir)
        return '[' in holding.task and stage_of(holding.task) in self.vague


def present(root: str, groups: List[Group]) -> Present:
    """Return what is declared; reads what tells which items there are."""
    folders: Dict[str, str] = {}
    tasks: List[Task] = []
    vague: Set[str] = set()
    done = {group.stage.position: os.path.lexists(marker_path(group.home, group.stage.name))
            for group in groups}
    for group in groups:
        home = os.path.relpath(group.home, root).replace(os.sep, '/')
        if group.is_fan_out:
            folders[group.stage.name] = home
        try:
            group.expand()
        except RunnerError:
            vague.add(group.stage.name)
            continue
        if group.is_fed or not all(done[maker] for maker in group.item_makers):
            vague.add(group.stage.name)
        for task in group:
            folders[task.name] = task.stage.output_dir
            tasks.append(task)
    return Present(folders, tuple(tasks), vague)


def find_holdings(root: str, names: StateNames, warnings: List[str]) -> List[Holding]:
    """Return all that was published, by task; what cannot be read is a warning."""
    found = [*_of_markers(root, warnings), *_of_journals(names, warnings)]
    return sorted(found, key=lambda holding: (holding.task, holding.output_dir))


def _of_markers(root: str, warnings: List[str]) -> Iterator[Holding]:
    skipped = {os.path.abspath(names) for names in (
        StateNames(root).folder, lock_folders(root)[0], os.path.join(root, '.git'))}
    for base, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_reserved(name)
                            and os.path.join(base, name) not in skipped)
        for name in files:
            task = task_of_marker(name)
            if task is None:
                continue
            folder = os.path.relpath(base, root).replace(os.sep, '/')
            marker = _read(os.path.join(base, name), task, warnings)
            if marker is not None and one_spelling(marker.output_dir) == one_spelling(folder):
                yield Holding(task, folder, marker.outputs, marker.done_at, marker.is_adopted,
                              os.path.join(base, name))


def _read(path: str, task: str, warnings: List[str]) -> Optional[Marker]:
    try:
        return read_marker(path, task)
    except Unreadable as error:
        warnings.append(f'{path}: {error.fault}; what it lists is left alone')
        return None


def _of_journals(names: StateNames, warnings: List[str]) -> Iterator[Holding]:
    for stage in names.journals():
        journal = ItemJournal(names, stage)
        try:
            fault = journal.load()
            if fault:
                warnings.append(f'{journal.path}: {fault}; what it lists is left alone')
            for task in list(journal.tasks()):
                marker = journal.get(task)
                if marker is not None and marker.output_dir:
                    yield Holding(task, marker.output_dir, marker.outputs, marker.done_at,
                                  marker.is_adopted)
        finally:
            journal.close()
