"""What a processor that exited with 0 left behind: checked, described, ready for commit."""

from __future__ import annotations

import os
from typing import Callable
from typing import Dict
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.events import Event
from stagerunner.events import Warned
from stagerunner.files import one_spelling
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import Input
from stagerunner.fingerprint import is_unchanged
from stagerunner.imports import Source
from stagerunner.publish import check_declared
from stagerunner.publish import check_room
from stagerunner.publish import describe_outputs
from stagerunner.publish import written_directly
from stagerunner.publish import written_files
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import read_marker
from stagerunner.tasks import Task


class Crop(NamedTuple):
    """The manifest of a success; `former` is the marker of the success before it."""

    outputs: Tuple[Output, ...]
    is_staged: bool
    former: Optional[Marker]


class Harvester:
    """Looks at what attempts wrote; knows all tasks, because folders may be shared."""

    def __init__(self, root: str, digests: Digests, tasks: Sequence[Task],
                 emit: Callable[[Event], None]):
        self.root = root
        self.digests = digests
        self.tasks = tasks
        self.emit = emit

    def check_inputs(self, task: Task, inputs: Sequence[Input], processor: Source) -> None:
        """Raise `InputChanged` when the processor may have read other bytes than were hashed.

        Any new stat counts, even with the old content: the bytes in between
        may have been others.  (Python files cannot change: see `launch.boot`.)
        """
        for entry in inputs:
            if not is_unchanged(self.digests, self.root, entry):
                raise InputChanged(entry.name, 'its stage ran')
        if not task.stage.is_python:
            try:
                is_same = self.digests.of(processor.absolute)[0] == processor.digest
            except (FileNotFoundError, Unreadable):
                is_same = False
            if not is_same:
                raise InputChanged(processor.path, 'it ran')

    def gather(self, task: Task, private: str, made_ns: int) -> Crop:
        """Return the manifest of what was written, or raise `StageError`.

        `made_ns` is the time, by the file system's clock, at which the private
        folder was made.  A processor that left it empty and wrote into
        `outputDir` itself is put up with, and told so.
        """
        former = former_marker(task)
        names = written_files(private)
        if not names:
            direct = self._direct_outputs(task, made_ns, former)
            if direct:
                return Crop(direct, False, former)
        check_declared(private, task.stage.outputs)
        check_room(task.output_dir, names, self._claims(task, names, former))
        return Crop(describe_outputs(private, names), True, former)

    def _direct_outputs(self, task: Task, made_ns: int,
                        former: Optional[Marker]) -> Tuple[Output, ...]:
        names = written_directly(task.output_dir, made_ns, self._published_by_others(task))
        if not names:
            return ()
        self.emit(Warned(task.name, f'wrote to {task.stage.output_dir} directly; '
                                    f'use PIPELINE_OUTPUT_DIR'))
        check_declared(task.output_dir, task.stage.outputs)
        kept = [output.path for output in former.outputs
                if os.path.lexists(os.path.join(task.output_dir, output.path))
                ] if former and not former.is_staged else []
        return describe_outputs(task.output_dir, sorted({*names, *kept}))

    def _claims(self, task: Task, names: Sequence[str],
                former: Optional[Marker]) -> Dict[str, str]:
        """Return which of `names` other tasks published; looks only where a file is in the way."""
        own = {one_spelling(output.path) for output in former.outputs} if former else set()
        if all(one_spelling(name) in own
               or not os.path.lexists(os.path.join(task.output_dir, name)) for name in names):
            return {}
        return self._published_by_others(task)

    def _published_by_others(self, task: Task) -> Dict[str, str]:
        """Return what other tasks published into this task's output folder.

        Names in `one_spelling`, each with its task.
        """
        found = {}
        for other in self.tasks:
            if other.name == task.name:
                continue
            marker = former_marker(other)
            for output in marker.outputs if marker else ():
                path = os.path.relpath(os.path.join(other.output_dir, output.path),
                                       task.output_dir).replace(os.sep, '/')
                if not path.startswith('../'):
                    found[one_spelling(path)] = other.name
        return found


def former_marker(task: Task) -> Optional[Marker]:
    """Return the marker of the last success, None where there is none that can be read."""
    try:
        return read_marker(marker_path(task.output_dir, task.name), task.name)
    except Unreadable:
        return None
