"""What a processor that exited with 0 left behind: checked, described, ready for commit."""

from __future__ import annotations

import os

from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.events import Event
from stagerunner.events import Warned
from stagerunner.files import one_spelling
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import Input
from stagerunner.fingerprint import is_unchanged
from stagerunner.imports import Source
from stagerunner.ledger import Claims
from stagerunner.ledger import Ledger
from stagerunner.publish import check_declared
from stagerunner.publish import check_room
from stagerunner.publish import describe_outputs
from stagerunner.publish import written_directly
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Callable
    from typing import Dict
    from typing import Optional
    from typing import Sequence
    from typing import Tuple


class Crop(NamedTuple):
    """The manifest of a success; `former` is the marker of the success before it."""

    outputs: Tuple[Output, ...]
    is_staged: bool
    former: Optional[Marker]


class Harvester:
    """Looks at what attempts wrote; knows what all tasks claim, because folders may be shared."""

    def __init__(self, root: str, digests: Digests, ledger: Ledger, claims: Claims,
                 emit: Callable[[Event], None]):
        self.root = root
        self.digests = digests
        self.ledger = ledger
        self.claims = claims
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

    def gather(self, task: Task, private: str, names: Sequence[str], made_ns: int) -> Crop:
        """Return the manifest of what was written (`names`), or raise `StageError`.

        `made_ns` is the time, by the file system's clock, at which the private
        folder was made.  A processor that left it empty and wrote into
        `outputDir` itself is put up with, and told so; not where the items of
        a fan-out share the folder: nobody could tell whose a file is.
        """
        former = self.ledger.former(task)
        if not names and not (task.item is not None and task.output_dir == task.home):
            direct = self._direct_outputs(task, made_ns, former)
            if direct:
                return Crop(direct, False, former)
        check_declared(private, task.stage.outputs)
        nobody: Dict[str, str] = {}
        check_room(task.output_dir, names, self.claims.below(task.output_dir, task).get
                   if self._is_anything_in_the_way(task, names, former) else nobody.get)
        return Crop(describe_outputs(private, names), True, former)

    def _direct_outputs(self, task: Task, made_ns: int,
                        former: Optional[Marker]) -> Tuple[Output, ...]:
        names = written_directly(task.output_dir, made_ns,
                                 self.claims.below(task.output_dir, task))
        if not names:
            return ()
        self.emit(Warned(task.name, f'wrote to {task.stage.output_dir} directly; '
                                    f'use PIPELINE_OUTPUT_DIR'))
        check_declared(task.output_dir, task.stage.outputs)
        kept = [output.path for output in former.outputs
                if os.path.lexists(os.path.join(task.output_dir, output.path))
                ] if former and not former.is_staged else []
        return describe_outputs(task.output_dir, sorted({*names, *kept}))

    @staticmethod
    def _is_anything_in_the_way(task: Task, names: Sequence[str],
                                former: Optional[Marker]) -> bool:
        """True when a file that the former success did not publish has one of these names."""
        own = {one_spelling(output.path) for output in former.outputs} if former else set()
        return any(one_spelling(name) not in own
                   and os.path.lexists(os.path.join(task.output_dir, name)) for name in names)
