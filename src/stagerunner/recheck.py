"""Do a task again in a scratch folder, with what it was made from, and compare byte by byte.

The seams are those of a run: the same look at inputs and programs, the same
launcher, the same fence, the same kind of private folder.  Nothing is
published, recorded or locked; what is published is looked at before and after.
"""

from __future__ import annotations

import os
from typing import Dict
from typing import Iterator
from typing import List
from typing import Mapping
from typing import Optional
from typing import Tuple

from stagerunner.changes import changes
from stagerunner.clock import Stop
from stagerunner.errors import StageError
from stagerunner.facts import Facts
from stagerunner.facts import Observer
from stagerunner.fence import OFF
from stagerunner.fence import Surroundings
from stagerunner.files import Stat
from stagerunner.files import make_folder
from stagerunner.files import remove_tree
from stagerunner.files import stat_of
from stagerunner.holdings import Holding
from stagerunner.inventory import check
from stagerunner.jobs import Order
from stagerunner.jobs import make_job
from stagerunner.launch.job import INTERRUPTED
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.publish import prepare
from stagerunner.publish import written_files
from stagerunner.records import NamedTuple
from stagerunner.result import error_of
from stagerunner.searchpath import start_environment
from stagerunner.spelling import private_folder
from stagerunner.state.marker import Marker
from stagerunner.state.names import AsideNames
from stagerunner.tasks import Task

#: Files are compared in blocks of this many bytes.
_BLOCK = 1 << 18

#: So much of a line is shown.
_SHOWN = 60


class Difference(NamedTuple):
    """Where an output that was made again differs; a byte and a line count from 1.

    Without them it was made only once, or it is no plain file on both sides.
    """

    path: str
    what: str
    byte: Optional[int] = None
    line: Optional[int] = None
    recorded: Optional[str] = None
    now: Optional[str] = None

    def __str__(self) -> str:
        if self.byte is None:
            return f'{self.path} {self.what}'
        return (f'{self.path} {self.what} at byte {self.byte}, line {self.line}: '
                f'recorded {self.recorded!r}, now {self.now!r}')


class Redone(NamedTuple):
    """What came of doing a task again: why it could not be compared, or how outputs differ."""

    task: str
    error: str = ''
    tail: Tuple[str, ...] = ()
    differences: Tuple[Difference, ...] = ()
    n_outputs: int = 0


class Means(NamedTuple):
    """What tasks are done again with; `scratch` is an empty folder outside the workspace."""

    observer: Observer
    launcher: Launcher
    stop: Stop
    python: str
    inherited: Mapping[str, str]
    isolation: str
    scratch: str


class Recheck:
    """Does tasks of a workspace again, one after the other."""

    def __init__(self, root: str, means: Means):
        self.root = root
        self.means = means
        self.surroundings = Surroundings(means.isolation)

    def redo(self, task: Task) -> Redone:
        """Do a task again; what it leaves in the scratch folder is gone afterwards."""
        try:
            facts = self.means.observer.observe(task)
            marker = facts.marker
            if marker is None:
                return Redone(task.name, 'has published nothing that is recorded')
            if not marker.is_staged:
                return Redone(task.name, f'writes to {task.stage.output_dir} directly, so it '
                                         'cannot be done again beside it')
            obstacle = self._obstacle(task, facts, marker)
            if obstacle:
                return Redone(task.name, obstacle)
            return self._compared(task, facts, marker)
        finally:
            for name in os.listdir(self.means.scratch):
                remove_tree(os.path.join(self.means.scratch, name))

    def _obstacle(self, task: Task, facts: Facts, marker: Marker) -> str:
        """Return why a task cannot be done as it was, empty when it can."""
        if facts.trouble:
            return str(facts.trouble)
        if marker.key != facts.key:
            reason = changes(marker.parts, facts.parts)[0]
            return f'is not what it was made from any more ({reason}); run it first'
        for found in check(self.root, _holding(task, marker)):
            if found is not None:
                return f'{found.path} is {found.kind} since it was published; run it first'
        return ''

    def _compared(self, task: Task, facts: Facts, marker: Marker) -> Redone:
        before = self._stats(task, marker)
        private, ended = self._do(task, facts, marker)
        error, _ = error_of(task, ended)
        if ended.stopped == INTERRUPTED:
            error = 'was interrupted'
        if error:
            return Redone(task.name, f'failed this time: {error.partition(chr(10))[0]}',
                          ended.tail)
        try:
            names = written_files(private)
        except StageError as fault:
            return Redone(task.name, str(fault))
        if self._stats(task, marker) != before:
            return Redone(task.name, f'wrote to {task.stage.output_dir} itself, or a run did, '
                                     'while it was done again')
        return Redone(task.name, n_outputs=len(marker.outputs), differences=tuple(
            self._differences(task, marker, private, names)))

    def _stats(self, task: Task, marker: Marker) -> List[Optional[Stat]]:
        found: List[Optional[Stat]] = []
        for output in marker.outputs:
            try:
                found.append(stat_of(os.lstat(os.path.join(task.output_dir, output.path))))
            except OSError:
                found.append(None)
        return found

    # -- doing it ----------------------------------------------------------------

    def _do(self, task: Task, facts: Facts, marker: Marker) -> Tuple[str, Exit]:
        """Run the processor of a task in the scratch folder and return where it wrote."""
        scratch = self.means.scratch
        elsewhere = task._replace(output_dir=os.path.join(scratch, 'published'))
        private = private_folder(elsewhere.output_dir, task.name)
        prepare(private, keeps_content=False)
        make_folder(os.path.join(elsewhere.aside, 'tmp'))
        assert facts.program
        order = Order(
            task=elsewhere, run_id=marker.run_id, root=self.root, key=facts.key, attempt=1,
            line_offset=0, inputs=tuple(entry.name for entry in facts.inputs),
            sources=facts.program.sources, private=private, lock=None,
            log_path=os.path.join(scratch, 'log'), names=AsideNames(self.root, elsewhere.aside))
        self._look_at_fence(task)
        return private, self._wait(make_job(order, self.means.python, self.means.inherited,
                                            self.surroundings))

    def _look_at_fence(self, task: Task) -> None:
        if self.surroundings.fence is None and self.surroundings.mode != OFF:
            self.surroundings = self.surroundings._replace(fence=self.means.launcher.fence(
                self.means.python if task.stage.is_python else None,
                start_environment(self.means.inherited)))

    def _wait(self, job: Job) -> Exit:
        launcher, stop = self.means.launcher, self.means.stop
        ended, asked = launcher.start(job), 0
        while ended is None:
            if stop.count > asked:
                asked = stop.count
                launcher.stop_all(INTERRUPTED, at_once=asked > 1)
            found = launcher.wait(None)
            ended = found[0] if found else None
        return ended

    # -- comparing ---------------------------------------------------------------

    def _differences(self, task: Task, marker: Marker, private: str,
                     names: List[str]) -> Iterator[Difference]:
        recorded: Dict[str, str] = {output.path: f'{task.stage.output_dir}/{output.path}'
                                    for output in marker.outputs}
        for name, shown in recorded.items():
            if name not in names:
                yield Difference(shown, 'was not made this time')
            else:
                found = compare(os.path.join(task.output_dir, name),
                                os.path.join(private, name), shown)
                if found is not None:
                    yield found
        for name in names:
            if name not in recorded:
                yield Difference(f'{task.stage.output_dir}/{name}', 'was made this time only')


def _holding(task: Task, marker: Marker) -> Holding:
    return Holding(task.name, task.stage.output_dir, marker.outputs, marker.done_at,
                   marker.is_adopted)


def compare(recorded: str, now: str, shown: str) -> Optional[Difference]:
    """Return where two files differ first, None when they are equal."""
    if os.path.islink(recorded) or os.path.islink(now):
        targets = [os.readlink(path) if os.path.islink(path) else None
                   for path in (recorded, now)]
        if targets[0] == targets[1]:
            return None
        return Difference(shown, 'leads elsewhere' if None not in targets
                          else 'is a link on one side only')
    with open(recorded, 'rb') as old, open(now, 'rb') as new:
        offset = lines = line_start = 0
        while True:
            before, after = old.read(_BLOCK), new.read(_BLOCK)
            if before == after:
                if not before:
                    return None
                lines += before.count(b'\n')
                line_start = (offset + before.rfind(b'\n') + 1 if b'\n' in before
                              else line_start)
                offset += len(before)
                continue
            place = next((index for index, (one, other) in enumerate(zip(before, after))
                          if one != other), min(len(before), len(after)))
            common = before[:place]
            lines += common.count(b'\n')
            if b'\n' in common:
                line_start = offset + common.rfind(b'\n') + 1
            at = offset + place
            texts = [_line_at(source, line_start, at) for source in (old, new)]
            return Difference(shown, 'differs', at + 1, lines + 1, *texts)


def _line_at(source: object, start: int, at: int) -> str:
    """Return the line that begins at `start`, or of a long one what is around `at`."""
    begin = start if at - start < _SHOWN // 2 else at - _SHOWN // 2
    source.seek(begin)  # type: ignore[attr-defined]
    data: bytes = source.read(_SHOWN)  # type: ignore[attr-defined]
    return data.partition(b'\n')[0].decode('utf-8', 'backslashreplace')
