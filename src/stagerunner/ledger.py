"""Where the last success of every task is kept, and who published what.

A plain stage has a marker beside its outputs.  The tasks of a fan-out share a
journal (`state/items_<stage>.jsonl`); the stage's marker is written when all
of them are done, and removing it makes all entries void.
"""

from __future__ import annotations

import os

from stagerunner.errors import Unreadable
from stagerunner.files import digest_bytes
from stagerunner.files import one_spelling
from stagerunner.files import read_json
from stagerunner.records import TYPE_CHECKING
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import read_marker
from stagerunner.state.names import StateNames
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple


class _Book:
    """The journal of one fan-out as far as it is known, and a digest over what is done now."""

    def __init__(self, journal: ItemJournal, home: str, stage: str):
        self.journal = journal
        self.home = home
        self.stage = stage
        #: What made the journal start anew, to be told once.
        self.fault = ''
        #: True when somebody had removed the marker of a stage that was complete.
        self.is_void = False
        #: What the journal was before it was made void: it remembers what was published.
        self.past: Optional[ItemJournal] = None
        self.done = 0
        self.tasks = 0

    def load(self) -> None:
        """Read what is new in the journal."""
        self.fault = self.journal.load() or self.fault
        self.is_void = self.journal.is_complete and not os.path.lexists(
            marker_path(self.home, self.stage))

    def make_void(self, names: StateNames) -> None:
        """Let nothing count any more, durably; what was published stays known to this run."""
        self.past = self.journal
        self.journal = ItemJournal(names, self.stage)
        self.load()
        self.journal.reset()
        self.is_void = False

    def former(self, task: str) -> Optional[Marker]:
        """Return the last success of a task, whether it counts or not."""
        found = self.journal.get(task)
        return self.past.get(task) if found is None and self.past is not None else found

    def close(self) -> None:
        """Give descriptors back."""
        self.journal.close()
        if self.past is not None:
            self.past.close()


class Ledger:
    """Answers for all tasks of a workspace; changes nothing unless it says so."""

    def __init__(self, root: str):
        self.names = StateNames(root)
        self.books: Dict[str, _Book] = {}

    def _book(self, task: Task) -> _Book:
        return self._book_of(task.stage.name, task.home)

    def _book_of(self, stage: str, home: str) -> _Book:
        book = self.books.get(stage)
        if book is None:
            book = _Book(ItemJournal(self.names, stage), home, stage)
            book.load()
            self.books[stage] = book
        return book

    def reload(self, task: Task) -> None:
        """Look again at what another run may have written meanwhile."""
        if task.is_member and task.stage.name in self.books:
            self.books[task.stage.name].load()

    def look(self, task: Task) -> Tuple[Optional[Marker], str]:
        """Return the marker of the last success, and why it cannot be read if that is so."""
        if task.is_member:
            book = self._book(task)
            return (None if book.is_void else book.journal.get(task.name)), ''
        try:
            return read_marker(marker_path(task.output_dir, task.name), task.name), ''
        except Unreadable as error:
            return None, error.fault

    def former(self, task: Task) -> Optional[Marker]:
        """Return what is known of the last success, also of one that does not count any more."""
        if task.is_member:
            return self._book(task).former(task.name)
        return self.look(task)[0]

    def former_end(self, task: Task) -> str:
        """Return how a task that has no marker ended the last time: ok, failed, interrupted.

        '' when nothing is known of it.  A killed run leaves no word of how it ended.
        """
        if task.is_member:
            book = self._book(task)
            if book.journal.failure(task.name) is not None:
                return 'failed'
            return '' if book.former(task.name) is None else 'ok'
        try:
            record = read_json(self.names.stage(task.name))
        except Unreadable:
            record = {}
        if record is None:
            return ''
        return str(record.get('lastStatus', 'ok')) if isinstance(record, dict) else 'ok'

    def fault(self, task: Task) -> str:
        """Return, once, what made the journal of a fan-out start anew."""
        if not task.is_member:
            return ''
        book = self._book(task)
        fault, book.fault = book.fault, ''
        return fault

    # -- changing ----------------------------------------------------------------

    def journal(self, task: Task) -> Optional[ItemJournal]:
        """Return where the success of a task is to be noted; None: in a marker of its own.

        What is void is made so for good, before anything new is added to it.
        """
        if not task.is_member:
            return None
        book = self._book(task)
        if book.is_void:
            book.make_void(self.names)
        return book.journal

    def settled(self, task: Task, key: str) -> None:
        """Take note that a task of a fan-out is done in this run."""
        if task.is_member:
            book = self._book(task)
            # Does not depend on the order in which tasks end.
            book.done ^= int(digest_bytes(f'{task.name}|{key}'.encode()), 16)
            book.tasks += 1

    def settled_members(self, task: Task, names: Sequence[str], keys: Sequence[str]) -> None:
        """Take note of many members of the fan-out of a task."""
        book = self._book(task)
        for name, key in zip(names, keys):
            book.done ^= int(digest_bytes(f'{name}|{key}'.encode()), 16)
        book.tasks += len(names)

    def valid_journal(self, task: Task) -> Optional[ItemJournal]:
        """Return the journal of a fan-out as it is, None where nothing of it counts."""
        book = self._book(task)
        return None if book.is_void else book.journal

    def done(self, group: Group) -> Tuple[str, int]:
        """Return a key over the tasks of a fan-out that are done in this run, and their number."""
        book = self.books.get(group.stage.name)
        return (f'{book.done:064x}', book.tasks) if book else (f'{0:064x}', 0)

    def is_told(self, group: Group, key: str) -> bool:
        """True when marker and journal of a fan-out say already that all is done."""
        book = self.books.get(group.stage.name)
        if book is None or not book.journal.is_complete:
            return False
        try:
            marker = read_marker(marker_path(group.home, group.stage.name), group.stage.name)
        except Unreadable:
            return False
        return marker is not None and marker.key == key

    def names_done(self, group: Group) -> List[str]:
        """Return the tasks of a fan-out that succeeded at some time, also in other processes."""
        book = self._book_of(group.stage.name, group.home)
        book.load()
        return list(book.journal.tasks())

    def gone(self, group: Group) -> List[str]:
        """Return the tasks that succeeded once and are none any more."""
        book = self.books.get(group.stage.name)
        if book is None:
            return []
        present = {group.name(index) for index in range(len(group))}
        return sorted(name for name in book.journal.tasks() if name not in present)

    def close(self) -> None:
        """Give descriptors back."""
        for book in self.books.values():
            book.close()


class Claims:
    """Tells which task published a path, over all stages.

    Markers are read afresh, a fan-out's journal once: only this run adds to it.
    """

    def __init__(self, root: str, ledger: Ledger, groups: Sequence[Group]):
        self.root = root
        self.ledger = ledger
        self.groups = groups
        self.members: Dict[str, Dict[str, str]] = {}
        #: Of stages that the queue feeds, the tasks that were looked at.
        self.seen: Dict[str, Set[str]] = {}

    def below(self, folder: str, task: Task) -> Others:
        """Return what other tasks than this one published below a folder."""
        found: List[Dict[str, str]] = []
        plain: Dict[str, str] = {}
        for group in self.groups:
            if not group.is_fan_out:
                self._add(plain, group.task(0))
                continue
            if group.is_fed:
                found.append(self._fed(group))
                continue
            if group.stage.name not in self.members:
                known: Dict[str, str] = {}
                self.members[group.stage.name] = known
                for member in group:
                    self._add(known, member)
            found.append(self.members[group.stage.name])
        return Others([plain, *found], os.path.relpath(folder, self.root), task.name)

    def _fed(self, group: Group) -> Dict[str, str]:
        """Return what entries of the queue published: those of all times, by all processes."""
        known = self.members.setdefault(group.stage.name, {})
        seen = self.seen.setdefault(group.stage.name, set())
        for name in self.ledger.names_done(group):
            if name not in seen:
                task = group.task_of(name)
                if task is not None:
                    self._add(known, task)
                seen.add(name)
        return known

    def note(self, task: Task) -> None:
        """Take note that a member of a fan-out has published something."""
        if task.stage.name in self.members:
            self._add(self.members[task.stage.name], task)

    def _add(self, known: Dict[str, str], task: Task) -> None:
        marker = self.ledger.former(task)
        base = os.path.relpath(task.output_dir, self.root)
        for output in marker.outputs if marker else ():
            known[_spelled(base, output.path)] = task.name


class Others:
    """What other tasks published below one folder, by names relative to it."""

    def __init__(self, known: Sequence[Dict[str, str]], base: str, but: str):
        self.known = known
        self.base = base
        self.but = but

    def get(self, name: str) -> Optional[str]:
        """Return the task that published a name (in `one_spelling`), None if none did."""
        path = _spelled(self.base, name)
        for known in self.known:
            owner = known.get(path)
            if owner is not None and owner != self.but:
                return owner
        return None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None


def _spelled(base: str, name: str) -> str:
    return one_spelling(f'{base}/{name}'.replace(os.sep, '/'))
