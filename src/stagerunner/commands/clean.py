"""Remove what the runner made and nobody changed."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import List
from typing import Optional

from stagerunner.cleaning import LOG
from stagerunner.cleaning import MARKER
from stagerunner.cleaning import PARTIAL
from stagerunner.cleaning import Locks
from stagerunner.cleaning import Piece
from stagerunner.cleaning import Sweep
from stagerunner.cleaning import changed_before
from stagerunner.cleaning import done_before
from stagerunner.cleaning import remove
from stagerunner.cleaning import sweep_holdings
from stagerunner.cleaning import sweep_logs
from stagerunner.cleaning import sweep_records
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_config
from stagerunner.commands.queue.purge import seconds_of
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.holdings import find_holdings
from stagerunner.holdings import present
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.tasks import make_groups
from stagerunner.workspace import read_definition

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py clean --orphans --dry-run
  python src/pipeline_runner.py clean --outputs
  python src/pipeline_runner.py clean --logs --state --older-than 30d
'''

#: The flags, and what each removes.
KINDS = {
    'outputs': 'what the stages have published, with the markers and journals that list it',
    'state': 'records of runs and stages, progress and partial outputs, the index; never the '
             'audit, the queue, quotas or journals',
    'logs': 'what processors printed',
    'orphans': 'what stages, jobs and items have published that are not declared any more',
}


def add_arguments(parser: Any) -> None:
    """Add what to remove."""
    for kind, meaning in KINDS.items():
        parser.add_argument(f'--{kind}', action='store_true', help=meaning)
    parser.add_argument('--older-than', metavar='AGE',
                        help='only what is older, such as 12h or 7d')
    parser.add_argument('--dry-run', action='store_true',
                        help='say what would be removed, and remove nothing')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Remove what was asked for and tell each piece; exit with 4 while a run is alive."""
    clock = Clock()
    scene = _Scene(arguments, clock)
    asked = [kind for kind in KINDS if getattr(arguments, kind)]
    for warning in scene.warnings:
        system.err.line(f'warning: {printable(warning)}')
    if not asked:
        for kind, meaning in KINDS.items():
            system.out.line(f'--{kind:8} {_summary(scene.sweep(kind).pieces)}: {meaning}')
        raise UsageError(f'say what to remove: --{", --".join(KINDS)}; --dry-run lists it')
    report = _Report(scene.root, system, is_json=arguments.json, is_dry=arguments.dry_run)
    if arguments.dry_run:
        for kind in asked:
            for piece in scene.sweep(kind).pieces:
                report.tell(piece)
    else:
        holder = {'pid': system.pid, 'host': system.host, 'runId': 'clean',
                  'since': stamp(clock.now())}
        for kind in asked:
            _remove(scene, kind, holder, report)
    report.end()
    return OK


def _remove(scene: _Scene, kind: str, holder: Dict[str, object], report: _Report) -> None:
    """Look, take the locks, look again: what changed meanwhile counts."""
    locks = Locks(scene.root, holder)
    try:
        locks.take(scene.sweep(kind))
        remove(scene.root, scene.names, scene.sweep(kind), report.tell)
    finally:
        locks.release()


class _Scene:
    """A workspace, and what of it each flag would remove."""

    def __init__(self, arguments: Any, clock: Clock):
        self.limit: Optional[float] = None
        if arguments.older_than is not None:
            self.limit = clock.now() - seconds_of(arguments.older_than)
        settings, _ = load_config(arguments)
        workspace = read_definition(arguments.pipeline, settings)
        self.root = workspace.root
        self.names = StateNames(self.root)
        self.present = present(self.root, make_groups(workspace))
        self.warnings: List[str] = []
        find_holdings(self.root, self.names, self.warnings)

    def sweep(self, kind: str) -> Sweep:
        """Return what a flag removes as things are now."""
        if kind == 'logs':
            return sweep_logs(self.names, self._is_old)
        if kind == 'state':
            return sweep_records(self.names, self.present, self._is_old)
        holdings = find_holdings(self.root, self.names, [])
        return sweep_holdings(self.root, holdings, [
            holding for holding in holdings
            if self.present.has(holding) == (kind == 'outputs')
            and done_before(holding, self.limit)])

    def _is_old(self, path: str) -> bool:
        return changed_before(path, self.limit)


class _Report:
    """Prints what went or stays; of a marker only `--json` speaks, people have a summary."""

    def __init__(self, root: str, system: Any, *, is_json: bool, is_dry: bool):
        self.root = root
        self.system = system
        self.is_json = is_json
        self.is_dry = is_dry
        self.pieces: List[Piece] = []

    def tell(self, piece: Piece) -> None:
        """Print one piece."""
        self.pieces.append(piece)
        path = os.path.relpath(piece.path, self.root).replace(os.sep, '/')
        if self.is_json:
            self.system.out.line(json.dumps({
                'action': 'keep' if piece.kept else 'remove', 'kind': piece.kind, 'path': path,
                'sizeBytes': piece.size, 'why': piece.kept or None, 'dryRun': self.is_dry}))
        elif piece.kept:
            self.system.out.line(f'kept {printable(path)}: it {piece.kept}')
        elif piece.kind != MARKER:
            verb = 'would remove' if self.is_dry else 'removed'
            self.system.out.line(f'{verb} {printable(path)}')

    def end(self) -> None:
        """Print the summary."""
        if not self.is_json:
            text = 'would be removed' if self.is_dry else 'removed'
            self.system.out.line(f'{_summary(self.pieces)} {text}')


def _summary(pieces: List[Piece]) -> str:
    """Spell how much goes, and how much stays.

    >>> _summary([Piece('output', 'a', 's', 2048), Piece('marker', 'm', 's', 10)])
    '1 file (2.0 KiB) and 1 marker'
    """
    going = [piece for piece in pieces if not piece.kept and piece.kind != MARKER]
    markers = sum(piece.kind == MARKER for piece in pieces)
    nouns = (('entry', 'entries') if any(piece.kind in (LOG, PARTIAL) for piece in going)
             else ('file', 'files'))
    text = (f'{len(going)} {nouns[len(going) != 1]} '
            f'({size_text(sum(piece.size for piece in going))})')
    if markers:
        text += f' and {markers} marker{"" if markers == 1 else "s"}'
    kept = sum(bool(piece.kept) for piece in pieces)
    return f'{text}, {kept} kept,' if kept else text


def size_text(size: float) -> str:
    """Spell a number of bytes.

    >>> size_text(1), size_text(10), size_text(2048), size_text(5 << 30)
    ('1 byte', '10 bytes', '2.0 KiB', '5.0 GiB')
    """
    if size < 1024:
        return '1 byte' if size == 1 else f'{size:.0f} bytes'
    for unit in ('KiB', 'MiB', 'GiB'):
        size /= 1024
        if size < 1024 or unit == 'GiB':
            break
    return f'{size:.1f} {unit}'
