"""The one place where the work of finished tasks becomes durable, of several at once.

Order: outputs and markers are flushed in the private folders, the outputs are
renamed into `outputDir`, what the former success left behind is removed, each
marker is renamed after its outputs, and the folders are flushed; the successes
of members are appended to their journals, which are flushed.  Only then may
anybody say that the tasks are done.  A crash at any point leaves every file
whole; a marker that survives beside other outputs than its own is found out by
their digests (`facts`), so no order of lost renames can lead to a wrong skip.
"""

from __future__ import annotations

import os

from stagerunner.errors import InputChanged
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import digest_bytes
from stagerunner.files import digest_file
from stagerunner.files import make_folder
from stagerunner.files import remove_tree
from stagerunner.files import replace
from stagerunner.files import sync_file
from stagerunner.files import sync_folder
from stagerunner.files import write_bytes
from stagerunner.files import write_json
from stagerunner.flushing import Flusher
from stagerunner.publish import stale_files
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.sharing import remove_file
from stagerunner.sharing import wait_until_free
from stagerunner.spelling import private_folder
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import marker_name
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import to_json

if TYPE_CHECKING:
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set


class Finished(NamedTuple):
    """A task whose processor succeeded and whose outputs were checked."""

    task: str
    private: str
    published: str
    marker: Marker
    former: Optional[Marker]
    #: Where the success is noted; None: in a marker beside the outputs.
    journal: Optional[ItemJournal] = None


class Batch:
    """Tasks on their common way to the disk; those that meet an error stay behind.

    What was not renamed then stays private, and the task runs again.
    """

    def __init__(self, batch: Sequence[Finished], flusher: Flusher):
        self.flusher = flusher
        self.left = list(batch)
        self.errors: Dict[str, StateError] = {}
        #: The folders in which a task has changed names.
        self.touched: Dict[str, Set[str]] = {}

    def publish(self) -> None:
        """Give everything its name, once its bytes are on the disk; the names may not be yet."""
        self._each(_write_marker)
        self._flush(self.flusher.files, _written)
        self._each(lambda finished: self.touched.update({finished.task: _move(finished)}))

    def settle(self) -> None:
        """Make durable what was published: only now may anybody say that it is done."""
        flusher = self.flusher
        above = {finished.task: flusher.above(finished.published) for finished in self.left
                 if finished.former is None or finished.journal is not None}
        self._flush(flusher.names, lambda finished: (
            [*sorted(self.touched[finished.task]), *above.get(finished.task, ())]))
        for finished in self.left:
            flusher.safe.update([finished.published, *above.get(finished.task, ())])
        self._note()
        for finished in self.left:
            _forget_private(finished)

    def _each(self, step: Callable[[Finished], object]) -> None:
        """Take one step with each task."""
        for finished in self.left:
            try:
                step(finished)
            except OSError as error:
                self._fail(finished, StateError(error.filename or finished.published,
                                                os_fault(error)))
            except StateError as error:
                self._fail(finished, error)
        self._leave_behind()

    def _flush(self, flush: Callable[[Sequence[str]], Dict[str, OSError]],
              paths_of: Callable[[Finished], Sequence[str]]) -> None:
        """Flush what all tasks need to be flushed."""
        paths = {finished.task: paths_of(finished) for finished in self.left}
        errors = flush(list(dict.fromkeys(path for some in paths.values() for path in some)))
        for finished in self.left if errors else ():
            for path in paths[finished.task]:
                if path in errors:
                    self._fail(finished, StateError(path, os_fault(errors[path])))
        self._leave_behind()

    def _note(self) -> None:
        """Append the successes of members to their journals, each journal flushed once."""
        by_journal: Dict[int, List[Finished]] = {}
        for finished in self.left:
            if finished.journal is not None:
                by_journal.setdefault(id(finished.journal), []).append(finished)
        for members in by_journal.values():
            journal = members[0].journal
            assert journal is not None
            try:
                journal.append([finished.marker for finished in members])
            except StateError as error:
                for finished in members:
                    self._fail(finished, error)
        self._leave_behind()

    def _fail(self, finished: Finished, error: StateError) -> None:
        self.errors.setdefault(finished.task, error)

    def _leave_behind(self) -> None:
        if self.errors:
            self.left = [finished for finished in self.left if finished.task not in self.errors]


def complete(home: str, marker: Marker, journal: Optional[ItemJournal], tasks: int) -> None:
    """Write the marker of a fan-out whose tasks are all done, then say so in its journal.

    It comes from a private folder, as that of a plain stage does: what a kill
    leaves there is cleared away by whoever says so the next time.
    """
    private = private_folder(home, marker.task)
    path = os.path.join(private, marker_name(marker.task))
    try:
        remove_tree(private)
        make_folder(private)
        write_json(path, to_json(marker), durable=False)
        sync_file(path)
        replace(path, marker_path(home, marker.task))
        sync_folder(home)
        remove_tree(private)
    except OSError as error:
        raise StateError(home, os_fault(error)) from error
    assert journal is not None
    journal.complete(marker.run_id, marker.done_at, marker.key, tasks)


def write_item(root: str, path: str, content: bytes) -> None:
    """Write the file of an item that has none of its own, unless it is there already."""
    target = os.path.join(root, path)
    try:
        if digest_file(target)[0] == digest_bytes(content):
            return
    except (OSError, Unreadable, InputChanged):
        pass
    try:
        make_folder(os.path.dirname(target))
        write_bytes(target, content, durable=False)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error


def _private_marker(finished: Finished) -> str:
    return os.path.join(finished.private, marker_name(finished.task))


def _write_marker(finished: Finished) -> None:
    if finished.journal is None:
        write_json(_private_marker(finished), to_json(finished.marker), durable=False)


def _written(finished: Finished) -> List[str]:
    """Return the files that have to be on the disk before they get their names."""
    folder = finished.private if finished.marker.is_staged else finished.published
    found = [os.path.join(folder, output.path) for output in finished.marker.outputs
             if output.link is None]
    return found if finished.journal is not None else [*found, _private_marker(finished)]


def _move(finished: Finished) -> Set[str]:
    """Give everything its name, the marker last; return the folders that changed."""
    touched = {finished.published}
    if finished.marker.is_staged:
        touched |= _move_in(finished)
        _remove_stale(finished)
    if finished.journal is None:
        replace(_private_marker(finished), marker_path(finished.published, finished.task))
    return touched


def _forget_private(finished: Finished) -> None:
    """Remove the private folder, in which only folders are left; who finds it later does too."""
    try:
        try:
            os.rmdir(finished.private)
        except OSError:
            remove_tree(finished.private)
    except OSError:
        # The task is done all the same.
        pass


def _move_in(finished: Finished) -> Set[str]:
    """Rename every output to its place; return the folders that changed.

    Somebody who has one of the old files open (Windows) is found before the
    first is replaced: `outputDir` stays as it was then.
    """
    touched = set()
    for output in finished.marker.outputs:
        wait_until_free(os.path.join(finished.published, output.path))
    for output in finished.marker.outputs:
        target = os.path.join(finished.published, output.path)
        make_folder(os.path.dirname(target))
        replace(os.path.join(finished.private, output.path), target)
        touched.add(os.path.dirname(target))
    return touched


def _remove_stale(finished: Finished) -> None:
    """Remove unchanged outputs of the former success that this one does not have."""
    if finished.former is None or not finished.former.is_staged:
        return
    folders: List[str] = []
    for path in stale_files(finished.published, finished.former, finished.marker.outputs):
        remove_file(os.path.join(finished.published, path))
        folders.append(os.path.dirname(path))
    for folder in sorted(set(folders), reverse=True):
        _remove_empty(finished.published, folder)


def _remove_empty(published: str, folder: str) -> None:
    """Remove a folder below `outputDir`, and those above it, as long as they are empty."""
    while folder:
        try:
            os.rmdir(os.path.join(published, folder))
        except OSError:
            return
        folder = os.path.dirname(folder)
