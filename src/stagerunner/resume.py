"""Find out whether a task can go on where it was stopped, and put its outputs back to that point.

What binds a progress file is `state/checkpoint_<task>.json`, written before
each launch: a key, the stats of the inputs, an attempt and a private folder.
A progress file counts only while that record is unfinished, has the key and
the stats of today, and the folder is there: lines that were made while somebody
edited an input may come from bytes that no key has seen.  On any doubt the task
starts at line 0 in an emptied folder.
"""

from __future__ import annotations

import os
import stat

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import one_spelling
from stagerunner.files import read_json
from stagerunner.files import remove_tree
from stagerunner.files import stays_below
from stagerunner.files import sync_folder
from stagerunner.files import write_json
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.sharing import remove_file
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

FORMAT = 1

#: Why a task that was done starts anew: nothing of interest where a marker says so too.
LEFT_OVER = 'there is nothing to resume, its progress file is left over from a finished run'

#: What `[RESUME]` adds when a processor commits lines without lengths (contract).
NOT_VERIFIED = "outputs not verified: progress has no 'outputs'"


class ResumePoint(NamedTuple):
    """Where to go on: a line, and the committed length of every output (None: not told)."""

    line_offset: int
    lengths: Optional[Dict[str, int]]

    @property
    def note(self) -> str:
        """Return what a person should know about resuming here, or nothing."""
        return NOT_VERIFIED if self.lengths is None else ''


class Binding(NamedTuple):
    """What binds a progress file to one task, key and private folder."""

    key: str
    attempt: int
    run_id: str
    private: str
    line_offset: int = 0
    is_finished: bool = False
    inputs: str = ''


def write_binding(names: StateNames, task: str, binding: Binding) -> None:
    """Write `checkpoint_<task>.json` durably."""
    write_json(names.checkpoint(task), {
        'format': FORMAT, 'lineOffset': binding.line_offset, 'key': binding.key,
        'attempt': binding.attempt, 'runId': binding.run_id, 'privateDir': binding.private,
        'finished': binding.is_finished, 'inputs': binding.inputs}, durable=True)


def find(names: StateNames, task: str, key: str, private: str,
         inputs: str = '') -> Tuple[Optional[ResumePoint], str]:
    """Return where `task` can go on, or None and why it starts at line 0.

    `inputs` are their stats as of `fingerprint.stats_of`; '' compares none.
    The reason is empty where there is nothing that could have been resumed.
    Changes nothing on the disk.
    """
    try:
        progress = read_json(names.progress(task))
    except Unreadable as error:
        return None, f'its progress file is unreadable: {error.fault}'
    if progress is None:
        return None, ''
    doubt = _doubt_of_binding(names, task, key, private, inputs)
    if doubt:
        return None, doubt
    return _point(progress, private)


def _doubt_of_binding(names: StateNames, task: str, key: str, private: str,
                      inputs: str) -> str:
    try:
        record = read_json(names.checkpoint(task))
    except Unreadable:
        return 'the record that binds its progress file is unreadable'
    if not isinstance(record, dict) or 'format' not in record:
        return 'its progress file was not made by a run of this stage'
    if record['format'] != FORMAT:
        return 'its progress file was made by another version of the runner'
    if record.get('finished') is not False:
        return LEFT_OVER
    if record.get('key') != key:
        return 'its inputs, processor or parameters changed since its progress was made'
    if inputs and record.get('inputs') != inputs:
        return 'its inputs were written to since its progress was made'
    if os.path.islink(private) or not os.path.isdir(private):
        return 'its partial outputs are gone'
    return ''


def _point(progress: Any, private: str) -> Tuple[Optional[ResumePoint], str]:
    offset = _count(progress.get('lineOffset')) if isinstance(progress, dict) else None
    if offset is None:
        return None, "its progress file has no valid 'lineOffset'"
    if offset == 0:
        return None, ''
    if 'outputs' not in progress:
        return ResumePoint(offset, None), ''
    lengths = progress['outputs']
    if not isinstance(lengths, dict):
        return None, "'outputs' in its progress file is not an object of lengths"
    for name, length in lengths.items():
        doubt = _doubt_of_output(private, name, length)
        if doubt:
            return None, doubt
    return ResumePoint(offset, lengths), ''


def _count(value: Any) -> Optional[int]:
    """Return a value of JSON that is a whole number of at least 0, else None."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return int(value) if is_count else None


def _doubt_of_output(private: str, name: str, length: Any) -> str:
    if _count(length) is None:
        return f"its progress file has no valid length of '{name}'"
    if not stays_below(name.replace('\\', '/')):
        return f"its progress file names '{name}' outside its output folder"
    try:
        found = os.lstat(os.path.join(private, name))
    except (OSError, ValueError):
        return f"its partial output '{name}' is gone"
    if not stat.S_ISREG(found.st_mode) or found.st_size < length:
        return f"its partial output '{name}' is shorter than what was committed"
    return ''


def unreadable(names: StateNames, task: str) -> List[Tuple[str, str]]:
    """Return (path, fault) of the files that should bind or tell progress and cannot be read."""
    found = []
    for path in (names.checkpoint(task), names.progress(task)):
        try:
            read_json(path)
        except Unreadable as error:
            found.append((path, error.fault))
    return found


class Committed(NamedTuple):
    """The line that a processor committed last, and when it did (unix seconds)."""

    line_offset: int
    at: float


def committed(names: StateNames, task: str) -> Optional[Committed]:
    """Return what a task committed last, for people who watch it; None: nothing that is known."""
    path = names.progress(task)
    try:
        at = os.stat(path).st_mtime
        progress = read_json(path)
    except (OSError, ValueError, Unreadable):
        return None
    offset = _count(progress.get('lineOffset')) if isinstance(progress, dict) else None
    return None if offset is None else Committed(offset, at)


def bound_folder(path: str) -> str:
    """Return the private folder that the record at `path` (`checkpoint_…`) names, or nothing."""
    try:
        record = read_json(path)
    except Unreadable:
        return ''
    folder = record.get('privateDir') if isinstance(record, dict) else None
    return folder if isinstance(folder, str) else ''


def restore(point: ResumePoint, private: str) -> None:
    """Cut every committed output to its length and remove what was never committed.

    Without lengths everything stays as the processor left it.
    """
    if point.lengths is None:
        return
    try:
        committed = {one_spelling(name) for name in point.lengths}
        for base, folders, files in os.walk(private):
            for path in (os.path.join(base, name) for name in folders + files):
                name = one_spelling(os.path.relpath(path, private))
                if name not in committed and (os.path.islink(path) or not os.path.isdir(path)):
                    remove_file(path)
        for name, length in point.lengths.items():
            os.truncate(os.path.join(private, name), length)
    except OSError as error:
        raise StateError(private, os_fault(error)) from error


def forget_progress(names: StateNames, task: str) -> None:
    """Remove the progress file before a start at line 0.

    Durably: brought back by a power cut, the next record would bind it.
    """
    if forget(names.progress(task)):
        try:
            sync_folder(names.folder)
        except OSError as error:
            raise StateError(names.progress(task), os_fault(error)) from error


def forget(path: str) -> bool:
    """Remove what a processor left in `state/`, if it is there; True when it was."""
    try:
        is_there = os.path.lexists(path)
        remove_tree(path)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error
    return is_there


def tells_lengths(names: StateNames, task: str) -> bool:
    """True unless the last progress that was committed lacks the lengths of its outputs."""
    try:
        progress = read_json(names.progress(task))
    except Unreadable:
        return False
    return progress is None or (isinstance(progress, dict) and 'outputs' in progress)


def final_offset(names: StateNames, task: str) -> int:
    """Return the total number of lines that a finished processor committed."""
    try:
        progress = read_json(names.progress(task))
    except Unreadable:
        return 0
    offset = _count(progress.get('lineOffset')) if isinstance(progress, dict) else None
    return offset or 0
