"""Which plain stages stand as a run last verified them: told by a look at each of their files.

When a run has skipped a stage the long way, `register` notes every path that
this rested on, with its stat: inputs, processor and helpers, the folders in
which a helper or a match of a glob could appear, marker, outputs, the folders
on the way (a link put in their place leads elsewhere), and the private folder
that must not be there.  While all of them are as noted, the long way would
come to the same end, so it need not be gone.  What holds for all stages (the
definition, the runner itself, its interpreter, the user, the search path) is
bound as a whole: where any of it differs nothing here counts.

A stat is believed only if it was older than the clock can blur when the run
that verified it began, and only on POSIX, which has a time of change.
"""

from __future__ import annotations

import os
import stat
import sys

from stagerunner.files import digest_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.spelling import private_folder
from stagerunner.state.index import Index
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Tuple

#: The settings of a machine, where they lie beside the definition.
CONFIG = 'pipeline_config.json'

#: The section of the index, and that of the rows that were noted since it was written.
SECTION, LATER = 'stages', 'stages later'

#: What is looked at: the file itself, what a link leads to, a folder whatever is in it, one in
#: which the private folder of a stage must not be, and a file that a success of the stage left.
ITSELF, FOLLOWED, FOLDER, HOME, LEFT = 'l', 's', 'd', 'h', 'o'

#: Stands where a path counts as seen for the time of one look; tables from kinds of paths to such
#: marks, and from those marks back to what was not seen.
_SKIPPED = 2
_WITHOUT_LEFT = bytes(_SKIPPED if letter == ord(LEFT) else 0 for letter in range(256))
_UNSEEN_AGAIN = bytes(0 if mark == _SKIPPED else mark for mark in range(256))

#: A file this much older than a look at it cannot have changed since without a new stat.
#: File systems with whole seconds (FAT: two) need more.
_FINE_NS = 100_000_000
_COARSE_NS = 2_100_000_000

#: So many other things are bound before the stat of the definition.
_BEFORE = 9

#: Where a stat can be believed.
STAT_TELLS = os.name == 'posix'


def is_settled(mtime_ns: int, ctime_ns: int, looked_ns: int) -> bool:
    """True for times so long before a look that a later write would show in them."""
    return max(mtime_ns, ctime_ns) + slack_ns(mtime_ns) < looked_ns


def slack_ns(mtime_ns: int) -> int:
    """Return how long after a file was changed another change might not show in its times."""
    return _COARSE_NS if mtime_ns % 1_000_000_000 == 0 else _FINE_NS


class Known(NamedTuple):
    """What the index says of a definition; columns of paths, and columns of stages.

    `rows` has, for each stage, the numbers of its paths (None: nothing is
    known of it).  `edges` are its needs and the makers of its inputs.
    """

    bound: List[Any]
    pipeline: List[Any]
    names: List[str]
    edges: List[Any]
    rows: List[Optional[List[int]]]
    keys: List[str]
    done_at: List[str]
    paths: List[str]
    #: A letter each: a text in the index, a list in memory.
    kinds: Any
    sizes: List[int]
    mtimes: List[int]
    ctimes: List[int]
    inodes: List[int]

    @property
    def columns(self) -> Tuple[List[Any], ...]:
        """What is known of each path."""
        return self.paths, self.kinds, self.sizes, self.mtimes, self.ctimes, self.inodes

    def add(self, position: int, row: Optional[List[Any]]) -> None:
        """Put another row in the place of one, as it is in `LATER`."""
        self.rows[position] = None
        if row is not None:
            self.keys[position], self.done_at[position], *columns = row
            before = len(self.paths)
            for column, more in zip(self.columns, columns):
                column.extend(more)
            self.rows[position] = list(range(before, len(self.paths)))


class Standing:
    """The stages of one definition, as far as the index knows them (`known` is None: not at all).

    What was looked at once is not looked at again until `disturb`.
    """

    def __init__(self, root: str, index: Index, bound: List[Any], looked_ns: int):
        self.root = root
        self.prefix = os.path.join(root, '')
        self.index = index
        self.bound = bound
        #: When all this was looked at, at the latest.
        self.looked_ns = looked_ns
        self.known: Optional[Known] = None
        self.columns: Tuple[List[Any], ...] = ()
        #: Rows by position that are not in the section of all yet.
        self.later: Dict[str, Any] = {}
        #: Which paths, and which stages, were found to be as noted.
        self.seen = bytearray()
        self.passed = bytearray()

    def load(self) -> None:
        """Take what the index has of this very definition under these very circumstances."""
        found = self.index.get(SECTION)
        try:
            known = Known(**dict(found, kinds=list(found['kinds'])))
        except (TypeError, KeyError):
            # Of another shape: not written by this version.
            return
        if known.bound == self.bound:
            self.later = self.index.get(LATER) or {}
            for position, row in self.later.items():
                known.add(int(position), row)
            self.known, self.columns = known, known.columns
            self.disturb()

    def is_of(self, found: os.stat_result) -> bool:
        """True while the definition is the one that was bound, by its stat."""
        return self.bound[_BEFORE:_BEFORE + 4] == _figures(found)

    def disturb(self) -> None:
        """Look at everything again: something was at work meanwhile."""
        if self.known is not None:
            self.seen = bytearray(len(self.known.paths))
            self.passed = bytearray(len(self.known.rows))

    def is_unchanged(self, position: int) -> bool:
        """True while everything on which the last skip of a stage rested is as it was.

        The loop of a run without work: a thousand stages come here with five paths each.
        """
        known, seen = self.known, self.seen
        if known is None or self.passed[position]:
            return known is not None
        row = known.rows[position]
        if row is None:
            return False
        paths, kinds, sizes, mtimes, ctimes, inodes = self.columns
        for number in row:
            if seen[number]:
                continue
            path, kind = paths[number], kinds[number]
            if path[0] != '/':
                path = self.prefix + path
            try:
                found = os.stat(path) if kind == FOLLOWED else os.lstat(path)
            except OSError:
                return False
            if found.st_ino != inodes[number]:
                return False
            is_as_noted = (found.st_ctime_ns == ctimes[number]
                           and found.st_mtime_ns == mtimes[number])
            if kind in (FOLDER, HOME):
                if not stat.S_ISDIR(found.st_mode):
                    return False
                if kind == HOME and not is_as_noted:
                    # Something else came or went in it, or several stages publish there.
                    if os.path.lexists(private_folder(path, known.names[position])):
                        return False
                    continue
            elif not is_as_noted or found.st_size != sizes[number]:
                return False
            seen[number] = 1
        self.passed[position] = 1
        return True

    def may_be_refused(self) -> List[int]:
        """Return the positions of all stages of which more has changed than what they left.

        Those are looked at before anything is done, and all of them once more in their turn,
        because something was at work meanwhile: a look at half of the paths is saved.
        """
        known, passed = self.known, bytes(self.passed)
        if known is None:
            return []
        left = ''.join(known.kinds).encode('ascii', 'replace').translate(_WITHOUT_LEFT)
        self.seen = bytearray(map(max, self.seen, left))
        found = self.changed()
        self.seen = self.seen.translate(_UNSEEN_AGAIN)
        self.passed = bytearray(passed)
        return found

    def has_moved(self, position: int) -> bool:
        """True for a stage that was verified before and does not stand any more."""
        known = self.known
        return (known is not None and known.rows[position] is not None
                and not self.is_unchanged(position))

    def changed(self) -> List[int]:
        """Return the positions of all stages that are not unchanged."""
        known = self.known
        return [] if known is None else [position for position in range(len(known.rows))
                                         if not self.is_unchanged(position)]


def config_of(definition: str, given: Optional[str]) -> str:
    """Return the path of the settings that count: those named, else beside the definition, or ''.
    """
    if given is not None:
        return given
    beside = os.path.join(os.path.dirname(os.path.abspath(definition)), CONFIG)
    return beside if os.path.lexists(beside) else ''


def stand(definition: str, config: str, environment: Mapping[str, str],
          now_s: float) -> Optional[Standing]:
    """Return what the index knows of a definition and of all that holds for its stages.

    None where stats cannot be believed, or not yet.  `now_s` is a time before
    anything was read of definition and `config` ('': there is none).
    """
    looked_ns = int(now_s * 1e9)
    try:
        definition = os.path.abspath(definition)
        root = os.path.dirname(definition)
        bound = [sys.version, sys.prefix, os.geteuid(), _runner(), root, os.stat(root).st_ino,
                 _search_path(root, environment.get('PYTHONPATH', '')), definition,
                 os.path.abspath(config) if config else '']
        for path in (definition, config):
            found = os.stat(path) if path else None
            if found is not None:
                if not is_settled(found.st_mtime_ns, found.st_ctime_ns, looked_ns):
                    return None
                bound += _figures(found)
    except (OSError, ValueError, AttributeError):
        return None
    if not STAT_TELLS:
        return None
    index = Index(StateNames(root).index())
    index.load()
    standing = Standing(root, index, bound, looked_ns)
    standing.load()
    return standing


def _search_path(root: str, path: str) -> List[str]:
    """Return where the entries of an inherited PYTHONPATH lead to now."""
    return [os.path.realpath(os.path.join(root, entry))
            for entry in path.split(os.pathsep)] if path else []


def _figures(found: os.stat_result) -> List[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _runner() -> str:
    """Return what tells one state of the runner's own sources from another."""
    top = os.path.dirname(os.path.abspath(__file__))
    lines: List[str] = []
    folders = [top]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.name.endswith('.py'):
                found = entry.stat()
                lines.append(f'{entry.path} {found.st_size} {found.st_mtime_ns} '
                             f'{found.st_ctime_ns} {found.st_ino}')
            elif '.' not in entry.name and entry.name != '__pycache__' and entry.is_dir():
                folders.append(entry.path)
    return digest_bytes('\n'.join(sorted(lines)).encode('utf-8', 'surrogatepass'))
