"""Remove what the runner made and nobody changed: first say what, then do it under locks.

Outputs go before the marker that lists them.  Killed in between, the marker
still tells the next cleaning what is left to do; and nobody believes in what is
gone, because a skip looks at every output.
"""

from __future__ import annotations

import os
from typing import Callable
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Set

from stagerunner.clock import unstamp
from stagerunner.errors import LockTimeout
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.events import stage_of
from stagerunner.files import one_spelling
from stagerunner.files import remove_tree
from stagerunner.holdings import Holding
from stagerunner.holdings import Present
from stagerunner.locks import Lock
from stagerunner.locks import holder_of
from stagerunner.locks import refuse_while_alive
from stagerunner.locks import run_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.publish import is_intact
from stagerunner.resume import bound_folder
from stagerunner.spelling import private_folder
from stagerunner.state.items import ItemJournal
from stagerunner.state.names import StateNames

OUTPUT, MARKER, RECORD, LOG, PARTIAL = 'output', 'marker', 'record', 'log', 'partial'


class Piece(NamedTuple):
    """One thing that goes, or (`kept` says why) that does not although it was looked at."""

    kind: str
    #: Absolute, and what it belongs to: a stage, a run, or nobody.
    path: str
    owner: str
    size: int = 0
    kept: str = ''


class Sweep(NamedTuple):
    """What is to be removed, in this order, and which entries of journals are void then."""

    pieces: List[Piece]
    forgotten: Dict[str, List[str]]
    #: Folders that stay, also when nothing is left in them.
    tops: Set[str] = set()

    @property
    def stages(self) -> List[str]:
        """Return the stages that nobody may work on meanwhile."""
        return sorted({piece.owner for piece in self.pieces
                       if piece.kind in (OUTPUT, MARKER, PARTIAL)} | set(self.forgotten))

    @property
    def runs(self) -> List[str]:
        """Return the runs whose records or logs go."""
        return sorted({piece.owner for piece in self.pieces
                       if piece.kind in (RECORD, LOG) and piece.owner})


def sweep_holdings(root: str, holdings: Sequence[Holding], chosen: Sequence[Holding]) -> Sweep:
    """Return what of the chosen holdings goes; what others have published too stays theirs."""
    claimed = {path for holding in holdings if holding not in chosen for path in holding.paths()}
    members = _members(holdings)
    left = {stage: tasks - {holding.task for holding in chosen if not holding.marker}
            for stage, tasks in members.items()}
    sweep = Sweep([], {}, _tops(root, holdings))
    for holding in chosen:
        stage = stage_of(holding.task)
        if holding.marker and left.get(stage):
            # The marker of a fan-out, some of whose tasks stay: without it they would be void.
            continue
        sweep.pieces.extend(_outputs(root, holding, stage, claimed))
        if holding.marker:
            sweep.pieces.append(Piece(MARKER, holding.marker, stage, _size(holding.marker)))
        else:
            sweep.forgotten.setdefault(stage, []).append(holding.task)
    return sweep


def _tops(root: str, holdings: Iterable[Holding]) -> Set[str]:
    """Return the output folders of stages, and what holds those of jobs and items."""
    found = set()
    for holding in holdings:
        folder = os.path.join(root, holding.output_dir)
        found.add(os.path.normpath(folder if holding.marker else os.path.dirname(folder)))
    return found


def _members(holdings: Iterable[Holding]) -> Dict[str, Set[str]]:
    found: Dict[str, Set[str]] = {}
    for holding in holdings:
        if not holding.marker:
            found.setdefault(stage_of(holding.task), set()).add(holding.task)
    return found


def _outputs(root: str, holding: Holding, stage: str, claimed: Set[str]) -> Iterator[Piece]:
    folder = os.path.join(root, holding.output_dir)
    for output, spelled in zip(holding.outputs, holding.paths()):
        path = os.path.join(folder, output.path)
        if spelled in claimed or not os.path.lexists(path):
            continue
        kept = ''
        if holding.is_adopted:
            kept = 'was adopted, not made by a run'
        elif _leads_elsewhere(root, os.path.dirname(path)):
            kept = 'lies behind a link'
        elif not is_intact(folder, output):
            kept = 'was changed since it was published'
        yield Piece(OUTPUT, path, stage, _size(path), kept)


def _leads_elsewhere(root: str, folder: str) -> bool:
    """True when there is a link on the way from the root to a folder."""
    try:
        below = os.path.relpath(folder, root)
    except ValueError:  # pragma: no cover - Windows only: the drives differ
        return True
    if below.startswith(os.pardir):
        return True
    return one_spelling(os.path.realpath(folder)) != one_spelling(
        os.path.join(os.path.realpath(root), below))


def sweep_records(names: StateNames, present: Present, is_old: Callable[[str], bool],
                  ) -> Sweep:
    """Return the records that decide nothing, and partial outputs, which end with them."""
    pieces = [Piece(RECORD, path, run_id, _size(path)) for path, run_id in names.records()
              if is_old(path)]
    root = os.path.dirname(names.folder)
    for folder in names.item_folders():
        pieces += [Piece(RECORD, entry.path, '', _size(entry.path))
                   for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
                   if entry.is_file(follow_symlinks=False) and is_old(entry.path)]
    for path, task in _partials(names, present).items():
        if os.path.isdir(path) and not os.path.islink(path) and is_old(path) \
                and not _leads_elsewhere(root, path):
            pieces.append(Piece(PARTIAL, path, stage_of(task)))
    return Sweep(pieces, {})


def _partials(names: StateNames, present: Present) -> Dict[str, str]:
    """Return where tasks may have left partial outputs, and whose each is."""
    found: Dict[str, str] = {}
    for task in present.tasks:
        found[private_folder(task.output_dir, task.name)] = task.name
        found[task.aside] = task.name
    for record, name in names.bindings():
        path = bound_folder(record)
        if path == private_folder(os.path.dirname(path), name):
            found[path] = name
    return found


def sweep_logs(names: StateNames, is_old: Callable[[str], bool]) -> Sweep:
    """Return the logs of processors, by run, and those of bugs."""
    return Sweep([Piece(LOG, path, run_id, _size(path)) for path, run_id in names.log_folders()
                  if is_old(path)], {})


def _size(path: str) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            return os.lstat(path).st_size
        return sum(os.lstat(os.path.join(base, name)).st_size
                   for base, _, files in os.walk(path) for name in files)
    except OSError:
        return 0


def done_before(holding: Holding, limit: Optional[float]) -> bool:
    """True for what was published before a time (unix seconds; None: whenever)."""
    try:
        return limit is None or unstamp(holding.done_at) < limit
    except ValueError:
        return False


def changed_before(path: str, limit: Optional[float]) -> bool:
    """True for what was written to before a time."""
    try:
        return limit is None or os.lstat(path).st_mtime < limit
    except OSError:
        return False


# -- doing it ------------------------------------------------------------------------

class Locks:
    """Keeps runs away from some stages and runs; raises `LockTimeout` when one is there."""

    def __init__(self, root: str, holder: Dict[str, object]):
        self.root = root
        self.holder = holder
        self.held: List[Lock] = []
        self.runs: List[Lock] = []

    def take(self, sweep: Sweep) -> None:
        """Take all locks, or none: no run of the workspace may be alive."""
        refuse_while_alive(self.root)
        for stage in sweep.stages:
            self._take(f"stage '{stage}'", stage_lock(self.root, stage), self.held)
        for run_id in sweep.runs:
            self._take(f"run '{run_id}'", run_lock(self.root, run_id), self.runs)

    def _take(self, what: str, path: str, held: List[Lock]) -> None:
        lock = try_lock(path)
        if lock is None:
            raise LockTimeout(what, os.path.relpath(path, self.root).replace(os.sep, '/'), 0.0,
                              holder_of(path))
        held.append(lock)
        lock.note(self.holder)

    def release(self) -> None:
        """Let go; those of runs that are gone go with them."""
        for lock in self.held:
            lock.release()
        for lock in self.runs:
            lock.discard()


def remove(root: str, names: StateNames, sweep: Sweep, tell: Callable[[Piece], None]) -> None:
    """Remove the pieces that do not stay, telling each when it is gone; the locks are held."""
    folders: Set[str] = set()
    for piece in sweep.pieces:
        if not piece.kept:
            try:
                remove_tree(piece.path)
            except OSError as error:
                raise StateError(piece.path, os_fault(error)) from error
            if piece.kind in (OUTPUT, MARKER):
                folders.add(os.path.dirname(piece.path))
        tell(piece)
    for stage, tasks in sweep.forgotten.items():
        _forget(ItemJournal(names, stage), tasks)
    for folder in sorted(folders, key=len, reverse=True):
        _remove_empty(os.path.normpath(folder), sweep.tops | {os.path.normpath(root)})


def _forget(journal: ItemJournal, tasks: Sequence[str]) -> None:
    """Make entries of a journal void; one without any other is removed."""
    try:
        journal.load()
        journal.forget(tasks)
        is_empty = not list(journal.tasks())
    finally:
        journal.close()
    if is_empty:
        remove_tree(journal.path)


def _remove_empty(folder: str, tops: Set[str]) -> None:
    """Remove a folder, and those above it, as long as they are empty and below one of `tops`."""
    while folder not in tops and os.path.dirname(folder) != folder:
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)
