"""What would change if a file changed: the tasks that read it, what they publish, and so on.

Told by the definition and by the programs as they are now.  Where a task has
published something, that is what its outputs are taken to be; where it has
not, all of its output folder may be.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Set
from typing import Tuple

from stagerunner.definition import Items
from stagerunner.definition import Stage
from stagerunner.errors import RunnerError
from stagerunner.facts import Observer
from stagerunner.files import one_spelling
from stagerunner.holdings import Holding
from stagerunner.placeholders import PLACEHOLDER
from stagerunner.placeholders import fixed_folder
from stagerunner.records import NamedTuple
from stagerunner.state.names import StateNames
from stagerunner.tasks import Group
from stagerunner.tasks import Task


class Reached(NamedTuple):
    """A task that would do its work again: what it reads of what changed, and what it publishes.

    `stage[*]` are all tasks of a stage whose items cannot be told yet.
    """

    task: str
    stage: str
    #: A cause (`input`, `processor`, `helper module`, `item`) and a path each.
    reasons: Tuple[Tuple[str, str], ...]
    outputs: Tuple[str, ...]


class Reach:
    """Goes through the tasks of a workspace in the order in which they run."""

    def __init__(self, root: str, observer: Observer, groups: Sequence[Group],
                 items: Dict[str, Items], holdings: List[Holding]):
        self.root = root
        self.names = StateNames(root)
        self.observer = observer
        self.groups = groups
        self.items = items
        self.published: Dict[str, List[str]] = {}
        for holding in holdings:
            self.published.setdefault(holding.task, []).extend(
                f'{holding.output_dir}/{output.path}' for output in holding.outputs)
        self.changed = _Paths()

    def of(self, path: str) -> Iterator[Reached]:
        """Yield what a change of a file (from the root, or absolute) reaches, in order."""
        self.changed = _Paths()
        self.changed.add(path)
        for group in self.groups:
            for task, stage, item in self._units(group):
                reasons = tuple(dict.fromkeys(self._reasons(group, stage, item)))
                if not reasons:
                    continue
                outputs = self.published.get(task)
                if outputs:
                    for output in outputs:
                        self.changed.add(output)
                else:
                    self.changed.add_folder(fixed_folder(stage.output_dir))
                yield Reached(task, group.stage.name, reasons,
                              tuple(outputs or [f'{stage.output_dir}/…']))

    def _units(self, group: Group) -> Iterator[Tuple[str, Stage, Optional[str]]]:
        """Yield name, stage and path of the item of each task."""
        try:
            group.expand()
        except RunnerError:
            group.items = None
        if group.collection is not None and (group.is_fed or group.items is None):
            of_items = self._paths_of_items(group.stage.for_each)
            yield f'{group.stage.name}[*]', group.stage._replace(inputs=tuple(
                name.replace('{item.path}', of_items) for name in group.stage.inputs)), None
            return
        for task in group:
            yield task.name, task.stage, self._item_path(task)

    def _paths_of_items(self, collection: str) -> str:
        """Return a glob of the files that the items of a collection are."""
        entry = self.items[collection]
        if entry.kind == 'glob':
            return str(entry.source)
        folder = os.path.relpath(self.names.item_folder(collection), self.root)
        return folder.replace(os.sep, '/') + '/*'

    @staticmethod
    def _item_path(task: Task) -> Optional[str]:
        """Return the file of an item that counts by itself: where no input is declared."""
        if task.item is None or task.stage.inputs:
            return None
        return task.item.path

    def _reasons(self, group: Group, stage: Stage,
                 item: Optional[str]) -> Iterator[Tuple[str, str]]:
        yield from (('input', path) for name in stage.inputs
                    for path in self.changed.read_as(name))
        if item is not None:
            yield from (('item', path) for path in self.changed.read_as(item))
        source = self._collection_of(group)
        if source is not None:
            yield from (('item', path) for path in self.changed.read_as(source))
        for path, cause in self._sources(stage):
            if path in self.changed:
                yield cause, path

    def _collection_of(self, group: Group) -> Optional[str]:
        """Return the file whose rows are the items; a new file that a glob matches is an input."""
        entry = self.items.get(group.stage.for_each)
        is_rows = entry is not None and entry.kind == 'jsonl'
        return str(entry.source) if is_rows and entry is not None else None

    def _sources(self, stage: Stage) -> List[Tuple[str, str]]:
        """Return the files that a processor consists of."""
        found = [(stage.processor, 'processor')]
        try:
            program = self.observer.program(stage)
        except (OSError, RunnerError):
            return found
        for source in program.sources[1:]:
            found.append((os.path.relpath(source.absolute, os.path.realpath(self.root)),
                          'helper module'))
        return found


class _Paths:
    """Files that would change, and folders of which anything may."""

    def __init__(self) -> None:
        self.files: Dict[str, str] = {}
        #: All folders above them, with one of the files that are in each.
        self.above: Dict[str, str] = {}
        self.folders: Set[str] = set()

    def add(self, path: str) -> None:
        """Take note of a file."""
        spelled = one_spelling(path)
        self.files.setdefault(spelled, path)
        for folder in _above(spelled):
            if folder in self.above:
                break
            self.above[folder] = path

    def add_folder(self, path: str) -> None:
        """Take note of a folder in which any file may change."""
        self.folders.add(one_spelling(path))
        self.add(f'{path}/…')

    def __contains__(self, path: str) -> bool:
        return one_spelling(path) in self.files

    def read_as(self, name: str) -> Iterable[str]:
        """Return what a declared input (a file, a folder, a glob) reads of it; of much, one."""
        pattern = PLACEHOLDER.sub('*', name)
        spelled = one_spelling(pattern)
        for found in (self.files.get(spelled), self.above.get(spelled)):
            if found is not None:
                return [found]
        for folder in (spelled, *_above(spelled)):
            if folder in self.folders:
                return [f'{folder}/…']
        if glob.has_magic(pattern):
            parts = spelled.split('/')
            for folder in self.folders:
                if _leads_into(folder.split('/'), parts):
                    return [f'{folder}/…']
            return [path for text, path in self.files.items()
                    if _matches(text.split('/'), parts)][:1]
        return []


def _above(path: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    while folder and folder != os.path.dirname(folder):
        yield folder
        folder = os.path.dirname(folder)


def _leads_into(folder: Sequence[str], pattern: Sequence[str]) -> bool:
    """True for a glob that may match something in a folder, or the folder itself.

    >>> _leads_into(['a', 'b'], ['a', '*', 'c']), _leads_into(['a', 'b'], ['x', '*'])
    (True, False)
    """
    for name, part in zip(folder, pattern):
        if part == '**':
            return True
        if not fnmatch.fnmatchcase(name, part):
            return False
    return True


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """True for a path that a glob matches, or that lies in a folder which it matches.

    >>> _matches(['a', 'b.txt'], ['a', '*.txt']), _matches(['a', 'b', 'c.txt'], ['a', '*.txt'])
    (True, False)
    >>> _matches(['a', 'b', 'c.txt'], ['**', 'c.txt']), _matches(['a', 'b', 'c'], ['a', '*'])
    (True, True)
    """
    if not pattern:
        return True
    if pattern[0] == '**':
        return any(_matches(path[at:], pattern[1:]) for at in range(len(path) + 1))
    if not path or (path[0].startswith('.') and not pattern[0].startswith('.')):
        return False
    return fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
