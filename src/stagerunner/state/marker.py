"""The marker of a finished task: its key, what went into it, and a manifest of its outputs.

`outputDir/.<task>.done` is the one file that decides whether a task may be
skipped.  It is written last, when every output it lists is in place.
"""

from __future__ import annotations

import os

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.files import read_json
from stagerunner.files import stays_below
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Optional
    from typing import Tuple

#: Version of the file's shape; a newer one is refused, an older one counts as absent.
FORMAT = 1


class Output(NamedTuple):
    """One published file: its path below `outputDir`, and its bytes (or the target of a link)."""

    path: str
    size: int
    digest: str
    link: Optional[str] = None


class Marker(NamedTuple):
    """What a success left behind; `parts` is what the key was made of, as plain JSON."""

    task: str
    key: str
    run_id: str
    done_at: str
    duration_s: float
    is_staged: bool
    parts: Dict[str, Any]
    outputs: Tuple[Output, ...]
    #: Where the outputs lie, as the stage says it; '' in a marker of a former version.
    output_dir: str = ''
    #: True when the outputs were there already and somebody vouched for them (`adopt`).
    is_adopted: bool = False


def marker_name(task: str) -> str:
    """Return the file name of a task's marker."""
    return f'.{task}.done'


def task_of_marker(name: str) -> Optional[str]:
    """Return the task whose marker has this file name, None for any other file.

    >>> task_of_marker('.work.done'), task_of_marker('work.done')
    ('work', None)
    """
    is_one = len(name) > 6 and name.startswith('.') and name.endswith('.done')
    return name[1:-5] if is_one else None


def marker_path(output_dir: str, task: str) -> str:
    """Return where the marker of a task lies, given the path of its output folder."""
    return os.path.join(output_dir, marker_name(task))


def to_json(marker: Marker) -> Dict[str, Any]:
    """Return a marker as it is written."""
    return {'format': FORMAT, 'task': marker.task, 'key': marker.key, 'runId': marker.run_id,
            'doneAt': marker.done_at, 'durationSec': marker.duration_s,
            'staged': marker.is_staged, **_more(marker), 'parts': marker.parts,
            'outputs': [output_to_json(output) for output in marker.outputs]}


def _more(marker: Marker) -> Dict[str, Any]:
    """Return what only some markers have."""
    found: Dict[str, Any] = {'outputDir': marker.output_dir} if marker.output_dir else {}
    return dict(found, adopted=True) if marker.is_adopted else found


def success_to_json(marker: Marker) -> Dict[str, Any]:
    """Return a marker as a line of a journal; what it shares with others is not in it.

    The task comes first: whoever looks for it need not decode the line.
    """
    return {'task': marker.task, 'key': marker.key, 'runId': marker.run_id,
            'doneAt': marker.done_at, 'durationSec': marker.duration_s,
            'staged': marker.is_staged, **_more(marker),
            'inputs': marker.parts.get('inputs', []),
            'outputs': [output_to_json(output) for output in marker.outputs]}


def success_from_json(value: Dict[str, Any], shared: Dict[str, Any]) -> Marker:
    """Return the marker that a line of a journal is, given the parts that it shares with others.

    Raises `KeyError`, `TypeError`, `ValueError`, `AttributeError` or
    `OverflowError` for anything else.
    """
    return _marker(value, as_text(value['task']), dict(shared, inputs=value['inputs']))


def _marker(value: Dict[str, Any], task: str, parts: Dict[str, Any]) -> Marker:
    outputs = tuple(output_from_json(entry) for entry in value['outputs'])
    return Marker(task, as_text(value['key']), as_text(value['runId']), as_text(value['doneAt']),
                  float(value['durationSec']), value['staged'] is True, parts, outputs,
                  as_text(value.get('outputDir', '')), value.get('adopted') is True)


def output_to_json(output: Output) -> Dict[str, Any]:
    """Return a line of a manifest as it is written."""
    entry = {'path': output.path, 'size': output.size, 'sha256': output.digest}
    if output.link is not None:
        entry['link'] = output.link
    return entry


def read_marker(path: str, task: str) -> Optional[Marker]:
    """Return the marker at `path`, or None where there is none or only one of an old format.

    Raises `Unreadable` for a file that is not a marker of this task, and
    `StateError` for one of a newer format: what that means is not ours to guess.
    """
    value = read_json(path)
    if value is None:
        return None
    try:
        version = value['format']
        if isinstance(version, bool) or not isinstance(version, int):
            raise Unreadable(path, f'has format {version!r}, this version reads {FORMAT}')
        if version > FORMAT:
            raise StateError(path, f'has format {version}, this version reads {FORMAT}; '
                                   f'use the newer runner that wrote it')
        if version < FORMAT:
            return None
        if value['task'] != task:
            raise Unreadable(path, f'belongs to {value["task"]!r}')
        return _marker(value, task, dict(value['parts']))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unreadable(path, 'is not a marker of this runner') from error


def output_from_json(entry: Dict[str, Any]) -> Output:
    """Return a line of a manifest, or raise `KeyError`, `TypeError` or `ValueError`."""
    path = as_text(entry['path'])
    if not stays_below(path) or '\0' in path:
        raise ValueError(path)
    size = entry['size']
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(size)
    link = entry.get('link')
    return Output(path, size, as_text(entry['sha256']), None if link is None else as_text(link))


def as_text(value: Any) -> str:
    """Return a string, or raise `TypeError` for anything else."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value
