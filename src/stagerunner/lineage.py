"""Where a published file came from, back to the files that no stage has made.

Told by manifests and by what their keys were made of, so it says how the files
that are there were made, not what the definition would do now.
"""

from __future__ import annotations

import os
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional
from typing import Set
from typing import Tuple

from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.events import stage_of
from stagerunner.files import digest_bytes
from stagerunner.files import digest_file
from stagerunner.files import one_spelling
from stagerunner.holdings import Holding
from stagerunner.records import NamedTuple
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.state.marker import read_marker
from stagerunner.state.names import StateNames

#: What a file is now, compared with what it was when it was published or read.
#: Of a folder its published files are told, of a source that nobody read nothing is known.
SAME, CHANGED, MISSING, FOLDER, UNKNOWN = 'same', 'changed', 'missing', 'folder', 'unknown'


class Made(NamedTuple):
    """How a file was made; what a task read is told once, not again for its other outputs."""

    task: str
    run_id: str
    done_at: str
    key: str
    is_adopted: bool
    is_told_above: bool = False


class Step(NamedTuple):
    """A file (or a folder that was an input) on the way back, and how it was made.

    What its task read follows it, one deeper; of a folder, the published files
    in it.  `role` is what it was to the task that read it: input, processor,
    helper; `made` is None for a source.
    """

    depth: int
    path: str
    role: str
    digest: str
    state: str
    made: Optional[Made] = None


class _Ahead(NamedTuple):
    """A file that is still to be told of."""

    depth: int
    path: str
    role: str
    digest: str


class Lineage:
    """Answers from everything that was published in a workspace."""

    def __init__(self, root: str, names: StateNames, holdings: List[Holding]):
        self.root = root
        self.names = names
        self.owners: Dict[str, Tuple[Holding, Output]] = {}
        for holding in holdings:
            for path, output in zip(holding.paths(), holding.outputs):
                self.owners[path] = holding, output
        self.journals: Dict[str, ItemJournal] = {}

    def close(self) -> None:
        """Let go of the journals."""
        for journal in self.journals.values():
            journal.close()

    def owner(self, path: str) -> Optional[Holding]:
        """Return what published a file (from the root), None if nobody did."""
        found = self.owners.get(one_spelling(path))
        return found[0] if found else None

    def trace(self, path: str) -> Iterator[Step]:
        """Yield a file and all that it came from, each after what it went into."""
        told: Set[str] = set()
        ahead = [self._ahead(0, path)]
        while ahead:
            this = ahead.pop()
            owner = self.owner(this.path)
            marker = self._marker(owner) if owner is not None else None
            made = None
            following: List[_Ahead] = []
            if owner is not None:
                made = Made(owner.task, marker.run_id if marker else '', owner.done_at,
                            marker.key if marker else '', owner.is_adopted, owner.task in told)
                if marker is not None and owner.task not in told:
                    told.add(owner.task)
                    following = [_Ahead(this.depth + 1, *read) for read in _read_by(marker)]
            elif os.path.isdir(os.path.join(self.root, this.path)):
                following = [self._ahead(this.depth + 1, name)
                             for name in self._published_below(this.path)]
            yield Step(*this, self._state(this.path, this.digest), made)
            ahead.extend(reversed(following))

    def _ahead(self, depth: int, path: str) -> _Ahead:
        found = self.owners.get(one_spelling(path))
        return _Ahead(depth, path, 'output' if found else 'source',
                      found[1].digest if found else '')

    def _published_below(self, folder: str) -> List[str]:
        start = one_spelling(folder) + '/'
        return sorted(path for path in self.owners if path.startswith(start))

    def _marker(self, holding: Holding) -> Optional[Marker]:
        if holding.marker:
            return read_marker(holding.marker, holding.task)
        stage = stage_of(holding.task)
        if stage not in self.journals:
            self.journals[stage] = ItemJournal(self.names, stage)
            self.journals[stage].load()
        return self.journals[stage].get(holding.task)

    def _state(self, path: str, digest: str) -> str:
        whole = os.path.join(self.root, path)
        if not os.path.lexists(whole):
            return MISSING
        if self.owner(path) is None and os.path.isdir(whole):
            return FOLDER
        if not digest:
            return UNKNOWN
        try:
            if self.owner(path) is not None and os.path.islink(whole):
                now = digest_bytes(os.fsencode(os.readlink(whole)))
            else:
                now = digest_file(whole)[0]
        except (OSError, Unreadable, InputChanged):
            return CHANGED
        return SAME if now == digest else CHANGED


def _read_by(marker: Marker) -> Iterator[Tuple[str, str, str]]:
    """Yield path, role and digest of all files that a key was made of."""
    parts = marker.parts
    try:
        path, digest = parts['processor']
        found = [(str(path), 'processor', str(digest))]
        found += [(str(path), 'helper', str(digest)) for path, digest in parts['helpers']]
        found += [(str(path), 'input', str(digest)) for path, digest in parts['inputs']]
    except (KeyError, TypeError, ValueError):
        # Of another format, or made by hand.
        return
    yield from found
