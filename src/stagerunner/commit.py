"""The one place where the work of a finished task becomes durable.

Order: outputs and marker are flushed in the private folder, the outputs are
renamed into `outputDir`, what the former success left behind is removed, the
marker is renamed last, and the folders are flushed.  Only then may anybody
say that the task is done.  A crash at any point leaves every file whole; a
marker that survives beside other outputs than its own is found out by their
digests (`facts`), so no order of lost renames can lead to a wrong skip.
"""

from __future__ import annotations

import os
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence
from typing import Set

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
from stagerunner.publish import private_folder
from stagerunner.publish import stale_files
from stagerunner.records import NamedTuple
from stagerunner.sharing import remove_file
from stagerunner.sharing import wait_until_free
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import marker_name
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import to_json


class Finished(NamedTuple):
    """A task whose processor succeeded and whose outputs were checked."""

    task: str
    private: str
    published: str
    marker: Marker
    former: Optional[Marker]
    #: Where the success is noted; None: in a marker beside the outputs.
    journal: Optional[ItemJournal] = None


def commit(batch: Sequence[Finished]) -> None:
    """Make finished tasks durable; each is done when this returns.

    Raises `StateError`; what was not renamed then stays private, and the task
    runs again.
    """
    for finished in batch:
        try:
            if finished.journal is None:
                _commit(finished)
            else:
                _publish(finished)
        except OSError as error:
            raise StateError(error.filename or finished.published, os_fault(error)) from error
    _note([finished for finished in batch if finished.journal is not None])


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


def _publish(finished: Finished) -> None:
    """Move the outputs of a member of a fan-out to their places, durably."""
    _flush(finished)
    if finished.marker.is_staged:
        touched = {finished.published} | _move_in(finished)
        _remove_stale(finished)
        for folder in sorted(touched):
            sync_folder(folder)


def _note(batch: Sequence[Finished]) -> None:
    """Append the successes of members to their journals, each journal flushed once."""
    by_journal: Dict[int, List[Finished]] = {}
    for finished in batch:
        by_journal.setdefault(id(finished.journal), []).append(finished)
    for members in by_journal.values():
        journal = members[0].journal
        assert journal is not None
        journal.append([finished.marker for finished in members])
    for finished in batch:
        remove_tree(finished.private)


def _commit(finished: Finished) -> None:
    name = marker_name(finished.task)
    private_marker = os.path.join(finished.private, name)
    write_json(private_marker, to_json(finished.marker), durable=False)
    sync_file(private_marker)
    touched = {finished.published}
    _flush(finished)
    if finished.marker.is_staged:
        touched |= _move_in(finished)
        _remove_stale(finished)
    replace(private_marker, os.path.join(finished.published, name))
    for folder in sorted(touched):
        sync_folder(folder)
    remove_tree(finished.private)


def _flush(finished: Finished) -> None:
    folder = finished.private if finished.marker.is_staged else finished.published
    for output in finished.marker.outputs:
        if output.link is None:
            sync_file(os.path.join(folder, output.path))


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
