"""Note what a skip rested on, so that the next run need only look whether it still stands.

The other half of `standing`.  Noted is only what was skipped the long way, and
only where every path can be watched by a stat: a stage with a link where the
runner follows none, with a recursive glob, with items, or with files that are
younger than the run has no row and goes the long way again.
"""

from __future__ import annotations

import glob
import os
import stat

from stagerunner.definition import Pipeline
from stagerunner.facts import Facts
from stagerunner.files import is_text
from stagerunner.imports import LIBRARY
from stagerunner.imports import Program
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.spelling import private_folder
from stagerunner.standing import FOLDER
from stagerunner.standing import FOLLOWED
from stagerunner.standing import HOME
from stagerunner.standing import ITSELF
from stagerunner.standing import LATER
from stagerunner.standing import LEFT
from stagerunner.standing import SECTION
from stagerunner.standing import Known
from stagerunner.standing import Standing
from stagerunner.standing import is_settled
from stagerunner.state.marker import marker_path
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple

#: At most such a share of the rows, and two, are kept apart from the section of all: to write
#: that takes as long as to look at a thousand paths.
_MOST_LATER = 0.02

#: The columns of figures, in the order of `_Entry`.
_FIGURES = ('paths', 'sizes', 'mtimes', 'ctimes', 'inodes')

#: More than so many times the paths that are needed are not kept, but for a few.
_SLACK, _FEW = 1.5, 100


class _Unwatchable(Exception):
    """A path of which a stat would not tell that something changed."""


class _Entry(NamedTuple):
    """One path of a row: how it is looked at, and what was seen."""

    path: str
    kind: str
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0


class _Row(NamedTuple):
    """All that the skip of one stage rested on."""

    entries: Tuple[_Entry, ...]
    key: str
    done_at: str


class Register:
    """Gathers rows during a run."""

    def __init__(self, standing: Standing, pipeline: Pipeline, groups: Sequence[Group]):
        self.standing = standing
        self.pipeline = pipeline
        self.groups = groups
        self.root = standing.root
        self.real_root = os.path.realpath(standing.root)
        #: New rows by position; None: what was known of this stage holds no more.
        self.rows: Dict[int, Optional[_Row]] = {}
        self.entries: Dict[Tuple[str, str], _Entry] = {}
        self.listed: Dict[str, bool] = {}

    def note(self, task: Task, facts: Facts) -> None:
        """Keep what the skip of a task rested on, where that can be watched."""
        assert facts.marker
        try:
            row = _Row(tuple(self._watched(task, facts)), facts.key, facts.marker.done_at)
        except (_Unwatchable, OSError, ValueError):
            self.forget(task)
            return
        self.rows[task.stage.position] = row

    def forget(self, task: Task) -> None:
        """A task was not skipped: what was known of it is void."""
        self.rows[task.stage.position] = None

    def write(self) -> None:
        """Put what is known now into the index, if there is anything new."""
        known, index = self.standing.known, self.standing.index
        if not any(row or (known is not None and known.rows[position] is not None)
                   for position, row in self.rows.items()):
            return
        later = dict(self.standing.later)
        for position, row in self.rows.items():
            later[str(position)] = row and [row.key, row.done_at, *zip(*row.entries)]
        if known is not None and len(later) <= len(known.rows) * _MOST_LATER + 2:
            index.put(LATER, later)
        else:
            index.put(SECTION, self._section(known)._asdict())
            index.drop(LATER)

    def _section(self, known: Optional[Known]) -> Known:
        table, n_stages = _Table(known), len(self.groups)
        rows: List[Optional[List[int]]] = list(known.rows) if known else [None] * n_stages
        keys = list(known.keys) if known else [''] * n_stages
        done_at = list(known.done_at) if known else [''] * n_stages
        for position, row in self.rows.items():
            rows[position] = None if row is None else table.numbers_of(row.entries)
            keys[position], done_at[position] = (row.key, row.done_at) if row else ('', '')
        pipeline = self.pipeline
        return Known(
            bound=self.standing.bound,
            pipeline=[pipeline.name, pipeline.version, pipeline.keep_runs, pipeline.has_hooks],
            names=known.names if known else [group.stage_name for group in self.groups],
            edges=known.edges if known else [_edges(group) for group in self.groups],
            rows=table.compacted(rows), keys=keys, done_at=done_at, kinds=''.join(table.kinds),
            **dict(zip(_FIGURES, table.columns)))

    # -- what a skip rests on ----------------------------------------------------

    def _watched(self, task: Task, facts: Facts) -> List[_Entry]:
        stage = task.stage
        if (task.is_member or not stage.is_idempotent or facts.program is None
                or any(name.upper() == 'PYTHONPATH' for name in stage.env)):
            raise _Unwatchable
        found = [entry for name in stage.inputs for entry in self._declared(name)]
        for given in facts.inputs:
            found += self._input(given.name)
        found += self._program(stage.processor, facts.program, is_python=stage.is_python)
        found += self._folders(stage.output_dir)
        assert facts.marker
        names = [marker_path('', task.name), *(output.path for output in facts.marker.outputs)]
        found += [self._look(f'{stage.output_dir}/{name}', LEFT) for name in names]
        return [*found, self._home(stage.output_dir, task.name)]

    def _look(self, path: str, kind: str) -> _Entry:
        """Look at a path (once in a run); raises `_Unwatchable` for what was written just now."""
        known = self.entries.get((path, kind))
        if known is None:
            known = self.entries[path, kind] = self._seen(path, kind)
        return known

    def _seen(self, path: str, kind: str) -> _Entry:
        whole = os.path.join(self.root, path)
        if not is_text(path) or '\n' in path:
            raise _Unwatchable
        found = os.stat(whole) if kind == FOLLOWED else os.lstat(whole)
        if kind in (FOLDER, HOME):
            if not stat.S_ISDIR(found.st_mode):
                raise _Unwatchable
            if kind == FOLDER or not self._are_believed(found):
                return _Entry(path, kind, inode=found.st_ino)
            return _Entry(path, kind, 0, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if not self._are_believed(found):
            raise _Unwatchable
        return _Entry(path, kind, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
                      found.st_ino)

    def _are_believed(self, found: os.stat_result) -> bool:
        """True for times that will tell when a file is written to, or a name comes or goes."""
        # Where a folder's times are whole seconds they may not tell of every new name in it.
        return (is_settled(found.st_mtime_ns, found.st_ctime_ns, self.standing.looked_ns)
                and not (stat.S_ISDIR(found.st_mode) and found.st_ctime_ns % 1_000_000_000 == 0))

    def _home(self, output_dir: str, task: str) -> _Entry:
        """Return the output folder of a task, whose private folder is not there."""
        entry = self._look(output_dir, HOME)
        if os.path.lexists(os.path.join(self.root, private_folder(output_dir, task))):
            raise _Unwatchable
        return entry

    def _declared(self, name: str) -> List[_Entry]:
        """Return where another file could come to be what a declared input means."""
        path = os.path.join(self.root, name)
        if os.path.exists(path):
            # What it leads to is looked at, and must go on to be there: else it were a glob.
            return []
        folder, last = os.path.split(name)
        if glob.has_magic(folder) or '**' in last or os.path.lexists(path):
            raise _Unwatchable
        return [self._look(folder or os.curdir, FOLLOWED)]

    def _input(self, name: str) -> List[_Entry]:
        """Return a file, or a folder with everything below it."""
        found = [self._look(name, FOLLOWED)]
        folders = [name] if os.path.isdir(os.path.join(self.root, name)) else []
        while folders:
            folder = folders.pop()
            for entry in list(os.scandir(os.path.join(self.root, folder))):
                inside = f'{folder}/{entry.name}'
                if entry.is_symlink():
                    raise _Unwatchable
                if entry.is_dir():
                    folders.append(inside)
                found.append(self._look(inside, ITSELF))
        return found

    def _program(self, processor: str, program: Program, *, is_python: bool) -> List[_Entry]:
        """Return the files of a program, and the folders in which others would be found first."""
        found = self._folders(processor)
        if not is_python:
            return [*found, self._regular(processor)]
        if program.sources[0].absolute != os.path.join(self.real_root, *processor.split('/')):
            raise _Unwatchable
        for source in program.sources:
            inside = self._inside(source.absolute)
            found += [*self._folders(inside), self._regular(inside)]
        for folder in program.looked:
            found += self._listing(folder)
        return found

    def _regular(self, path: str) -> _Entry:
        if not stat.S_ISREG(os.lstat(os.path.join(self.root, path)).st_mode):
            raise _Unwatchable
        return self._look(path, ITSELF)

    def _inside(self, path: str) -> str:
        """Return a path without any link in it relative to the root."""
        below = os.path.join(self.real_root, '')
        if not path.startswith(below):
            raise _Unwatchable
        return path[len(below):]

    def _folders(self, path: str) -> List[_Entry]:
        """Return every folder above a path: none may be replaced by a link."""
        parts = path.split('/')[:-1]
        return [self._look('/'.join(parts[:length]), FOLDER)
                for length in range(1, len(parts) + 1)]

    def _listing(self, folder: str) -> List[_Entry]:
        """Return a folder whose names matter; where there is none, the one that it would be in."""
        if folder == LIBRARY:
            return [self._look(folder, ITSELF)]
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if folder not in self.listed:
            self.listed[folder] = stat.S_ISDIR(os.lstat(folder).st_mode) and not any(
                entry.is_symlink() for entry in list(os.scandir(folder)))
        if not self.listed[folder]:
            raise _Unwatchable
        if folder == self.real_root:
            return [self._look(os.curdir, ITSELF)]
        inside = self._inside(folder)
        return [*self._folders(inside), self._look(inside, ITSELF)]


class _Table:
    """The columns of paths: those that are known, and new ones after them."""

    def __init__(self, known: Optional[Known]):
        self.kinds = list(known.kinds) if known else []
        self.columns: List[List[Any]] = [list(getattr(known, name)) if known else []
                                         for name in _FIGURES]
        self.numbers = {(path, kind): number for number, (path, kind)
                        in enumerate(zip(self.columns[0], self.kinds))}

    def numbers_of(self, entries: Sequence[_Entry]) -> List[int]:
        """Return the numbers of entries, each once; what is new or has changed gets a new one."""
        return list(dict.fromkeys(map(self._number, entries)))

    def _number(self, entry: _Entry) -> int:
        path, kind, *figures = entry
        number = self.numbers.get((path, kind))
        if number is not None and [column[number] for column in self.columns[1:]] == figures:
            return number
        self.numbers[path, kind] = len(self.kinds)
        self.kinds.append(kind)
        for column, value in zip(self.columns, (path, *figures)):
            column.append(value)
        return len(self.kinds) - 1

    def compacted(self, rows: List[Optional[List[int]]]) -> List[Optional[List[int]]]:
        """Return the rows; where many paths are in none of them any more, these are dropped."""
        used: Set[int] = set().union(*(row for row in rows if row))
        if len(self.kinds) < _SLACK * len(used) + _FEW:
            return rows
        kept = sorted(used)
        self.kinds = [self.kinds[number] for number in kept]
        self.columns = [[column[number] for number in kept] for column in self.columns]
        new = {old: number for number, old in enumerate(kept)}
        return [row and [new[number] for number in row] for row in rows]


def _edges(group: Group) -> Optional[List[Any]]:
    """Return what a plain stage waits for, and who makes its inputs; None for a fan-out."""
    if group.is_fan_out:
        return None
    return [list(group.needs), list(group.data_needs), list(group.makers)]
