"""Pass over members of a fan-out that stand as they are, many at once and at a small cost each.

What the long way (`facts`, `plan`) would skip is found out with one look per
file, and the parts of a key that members share are spelled once.  A file whose
stat is not the remembered one is read if it is small.  About whom anything is
unusual goes the long way: an input that is no plain file, a link, a leftover,
an item without a file of its own.  So nothing is skipped here that would not
be skipped there.
"""

from __future__ import annotations

import os
import stat
from json.encoder import encode_basestring_ascii

from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.facts import Observer
from stagerunner.files import digest_bytes
from stagerunner.files import is_text
from stagerunner.fingerprint import SMALL
from stagerunner.fingerprint import canonical
from stagerunner.fingerprint import stage_key
from stagerunner.keys import is_reserved
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.spelling import private_folder
from stagerunner.state.items import ItemJournal
from stagerunner.state.marker import as_text
from stagerunner.state.marker import output_from_json
from stagerunner.tasks import Group

if TYPE_CHECKING:
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple

#: So many are told of at once, or when so many files had to be read: somebody may ask to stop.
BATCH, READS = 1000, 400

#: Stands for the inputs in what members share; no name has such a character.
_INPUTS = '\0'


class Unchanged(NamedTuple):
    """Members that were verified: of each its number, its name, its key and its time."""

    numbers: List[int]
    names: List[str]
    keys: List[str]
    done_at: List[str]


class RollCall:
    """Calls the members of one fan-out, whose lock is held and whose journal is up to date."""

    def __init__(self, observer: Observer, group: Group, journal: ItemJournal, *,
                 most_reads: int = READS):
        self.root = observer.root
        self.digests = observer.digests
        self.group = group
        self.journal = journal
        #: Canonical JSON around the names of the inputs; None: members share too little.
        self.around = self._around(observer)
        self.most_reads = most_reads
        #: How many files were read for the batch at hand.
        self.n_read = 0
        #: What of the runner's own lies in the folder that members share; None: not looked yet.
        self.private: Optional[Set[str]] = None

    def _around(self, observer: Observer) -> Optional[Tuple[str, str]]:
        stage = self.group.stage
        if (os.name != 'posix' or not stage.is_idempotent or stage.checkpoint.enabled
                or not stage.inputs or not len(self.group)):
            return None
        first = self.group.task(0)
        if first.stage.params is not stage.params or first.stage.env is not stage.env:
            return None
        facts = observer.observe(first)
        if facts.trouble or not facts.parts:
            return None
        text = canonical(dict(facts.parts, inputs=[_INPUTS],
                              processor=facts.parts['processor'][1])).decode('ascii')
        before, mark, after = text.partition(canonical([_INPUTS]).decode('ascii'))
        return (before, after) if mark and mark not in after else None

    def batches(self, numbers: Sequence[int]) -> Iterator[Unchanged]:
        """Yield members of these that need nothing, a batch at a time, which may be empty."""
        found = Unchanged([], [], [], [])
        for number in numbers if self.around else ():
            if len(found.numbers) == BATCH or self.n_read >= self.most_reads:
                yield found
                found, self.n_read = Unchanged([], [], [], []), 0
            try:
                answer = self._call(number)
            except (OSError, LookupError, TypeError, ValueError, AttributeError, InputChanged,
                    Unreadable):
                # Something is missing, or not as this runner writes it: the long way tells.
                continue
            if answer is not None:
                found.numbers.append(number)
                for column, entry in zip(found[1:], answer):
                    column.append(entry)
        yield found

    def _call(self, number: int) -> Optional[Tuple[str, str, str]]:
        """Return name, key and time of a member that stands as it was left, else None."""
        group = self.group
        assert group.items is not None and self.around is not None
        item = group.items[number]
        name = f'{group.stage.name}[{item.encoded}]'
        value = self.journal.success(name)
        if value is None or item.content is not None:
            return None
        stage = group.fill(item)
        digests, texts = [], []
        for entry in stage.inputs:
            path = os.path.join(self.root, entry)
            known = self._digest(path, os.stat(path))
            if known is None or not (entry.isascii() or is_text(entry)):
                return None
            digests.append(known)
            texts.append(encode_basestring_ascii(entry))
        before, after = self.around
        key = stage_key(digests, digest_bytes(
            f'{before}[{",".join(texts)}]{after}'.encode('ascii')))
        folder = os.path.join(self.root, stage.output_dir)
        if value['key'] != key or self._has_leftover(folder, name):
            return None
        for entry in value['outputs']:
            output = output_from_json(entry)
            path = os.path.join(folder, output.path)
            if output.link is not None or output.digest != self._digest(path, os.lstat(path)):
                return None
        as_text(value['runId']), float(value['durationSec']), value['inputs']
        return name, key, as_text(value['doneAt'])

    def _digest(self, path: str, found: os.stat_result) -> Optional[str]:
        """Return the digest of a plain file that is known or quickly read, else None."""
        digest = self.digests.recall(path, found)
        if digest is None and stat.S_ISREG(found.st_mode) and found.st_size <= SMALL:
            self.n_read += 1
            digest, _ = self.digests.of(path)
        return digest

    def _has_leftover(self, folder: str, name: str) -> bool:
        """True where a private folder was left; a folder that members share is read once."""
        private = private_folder(folder, name)
        if folder != self.group.home:
            return os.path.lexists(private)
        if self.private is None:
            self.private = {os.path.join(folder, entry) for entry in os.listdir(folder)
                            if is_reserved(entry)}
        return private in self.private
