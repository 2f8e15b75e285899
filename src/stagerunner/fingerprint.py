"""The idempotency key of a task: what goes into it, and how it is computed.

Content decides, never a time stamp.  Digests are kept from run to run with the
stat they belong to, so an unchanged file of a gigabyte costs one look.  A stat
is believed only when the file was older than the clock can blur at the moment
of hashing ("racily clean", as git calls it); on Windows, which has no time of
change, it is never believed.
"""

from __future__ import annotations

import glob
import json
import os
import stat
from collections import deque
from itertools import islice

from stagerunner.ahead import LARGE
from stagerunner.ahead import Ahead
from stagerunner.ahead import Found
from stagerunner.clock import Clock
from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.files import Stat
from stagerunner.files import digest_bytes
from stagerunner.files import digest_file
from stagerunner.files import is_text
from stagerunner.files import stat_of
from stagerunner.files import try_stat
from stagerunner.imports import Scanner
from stagerunner.imports import Wanted
from stagerunner.keys import is_reserved
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.standing import STAT_TELLS
from stagerunner.standing import is_settled
from stagerunner.standing import slack_ns
from stagerunner.state.index import Index

if TYPE_CHECKING:
    from typing import Any
    from typing import Deque
    from typing import Dict
    from typing import Iterable
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple
    from typing import Union

    #: A file's stat, or that of every file in a folder.
    Snapshot = Union[Stat, Tuple[Tuple[str, Stat], ...], None]

#: Part of every key: raised when the meaning of a key changes.
KEY_FORMAT = 1

#: So many inputs are looked at, at the most, whether they are large.
_MOST_AHEAD = 10_000

#: What is no larger is hashed in less time than anything is done about it, in bytes.
SMALL = 64 << 10

#: Sections of the index.
_DIGESTS, _SCANS = 'digests', 'scans'

_STAT_TELLS = STAT_TELLS

#: Made once: `json.dumps` would make one for every key.
_encode = json.JSONEncoder(sort_keys=True, separators=(',', ':')).encode



class Input(NamedTuple):
    """One argument of a processor: its name as passed, its digest, and its stat when hashed."""

    name: str
    digest: str
    snapshot: Snapshot


class Digests(Scanner):
    """SHA-256 of files by path, and imports by SHA-256, remembered in the derived index."""

    def __init__(self, path: str, clock: Clock, index: Optional[Index] = None):
        self.path = path
        self.clock = clock
        #: What was found out in this run counts before what the index says.
        self.fresh: Dict[str, str] = {}
        self.index = index or Index(path)
        self._known: Optional[Dict[str, str]] = None
        self._scans: Optional[Dict[str, List[Any]]] = None
        self._ahead: Optional[Ahead] = None
        #: What was published a moment ago, and from when on its stat tells of a write: by our own
        #: clock, because that of a file system on another host may be behind.
        self._young: Deque[Tuple[float, str]] = deque()
        self.is_dirty = False

    @property
    def known(self) -> Dict[str, str]:
        """Stat and digest by path, as one text each (`_noted`); decoded when somebody asks."""
        if self._known is None:
            self._known = self.index.take(_DIGESTS) or {}
        return self._known

    @property
    def scans(self) -> Dict[str, List[Any]]:
        """Imports by digest of the source."""
        if self._scans is None:
            self._scans = self.index.take(_SCANS) or {}
        return self._scans

    def load(self) -> None:
        """Read what former runs remembered; anything odd counts as nothing remembered."""
        self.index.load()

    def save(self) -> None:
        """Keep what was learned; failing to do so costs time later, nothing else."""
        if self.is_dirty or self.index.is_dirty:
            for section, taken in ((_DIGESTS, self._known), (_SCANS, self._scans)):
                if taken is not None:
                    self.index.put(section, taken)
        self.index.save()

    def of(self, path: str) -> Tuple[str, Stat]:
        """Return digest and stat of a file; errors as `files.digest_file`."""
        if path in self.fresh or path in self.known:
            found = try_stat(path)
            recalled = found and self.recall(path, found)
            if found and recalled:
                return recalled, stat_of(found)
        hint = self._ahead.take(path) if self._ahead else None
        if hint and self._is_sound(path, hint):
            digest, seen, looked_ns = hint
        else:
            looked_ns = int(self.clock.now() * 1e9)
            digest, seen = digest_file(path)
        self._remember(path, digest, seen, looked_ns)
        return digest, seen

    def recall(self, path: str, found: os.stat_result) -> Optional[str]:
        """Return the digest of a plain file that has the stat with which it was hashed."""
        if not (_STAT_TELLS and stat.S_ISREG(found.st_mode)):
            return None
        known = self.fresh.get(path) or self.known.get(path, '')
        start = _noted(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, '')
        return known[len(start):] if known.startswith(start) else None

    def _is_sound(self, path: str, hint: Found) -> bool:
        """True when a file has not been written to since somebody began to hash it."""
        found = try_stat(path)
        return (found is not None and stat_of(found) == hint.stat and _STAT_TELLS
                and is_settled(hint.stat.mtime_ns, hint.stat.ctime_ns, hint.looked_ns))

    def look_ahead(self, paths: Iterable[str], n_threads: int) -> None:
        """Begin to hash what is large and not known, if there are several such files."""
        large = [path for path in dict.fromkeys(islice(paths, _MOST_AHEAD))
                 if self._is_large_news(path)]
        if min(len(large), n_threads) > 1 and self._ahead is None:
            self._ahead = Ahead(large, n_threads, self.clock)

    def _is_large_news(self, path: str) -> bool:
        found = try_stat(path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size < LARGE:
            return False
        return _STAT_TELLS and self.recall(path, found) is None

    def are_at_hand(self, paths: Iterable[str]) -> bool:
        """True for files of which no more than a little has to be read to tell their digests."""
        unread = 0
        for path in paths:
            found = try_stat(path)
            if found is None or not stat.S_ISREG(found.st_mode):
                return False
            if self.recall(path, found) is None:
                unread += found.st_size
        return unread < LARGE

    def close(self) -> None:
        """End what was begun and nobody asked for."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def scan(self, path: str) -> Tuple[str, Sequence[Wanted]]:
        """Return digest and imports of a source file, without reading it where both are known."""
        digest, _ = self.of(path)
        if digest in self.scans:
            return digest, [Wanted(module, tuple(names), level, line)
                            for module, names, level, line in self.scans[digest]]
        digest, imports = super().scan(path)
        self.scans[digest] = [list(wanted) for wanted in imports]
        self.is_dirty = True
        return digest, imports

    def published(self, path: str, digest: str) -> None:
        """Believe for the rest of this run that `path` is the output that was just hashed."""
        try:
            seen = stat_of(os.stat(path))
        except OSError:
            self.fresh.pop(path, None)
            return
        self.fresh[path] = _noted(*seen, digest)
        if _STAT_TELLS and seen.size <= SMALL:
            self._young.append((self.clock.monotonic() + slack_ns(seen.mtime_ns) / 1e9, path))

    def read_again(self, at_most: int) -> None:
        """Hash some published files anew that have become old enough to be remembered.

        The first time they had just been written, and they were renamed since: a stat of then
        would not tell the next run of a write in the same tick of the clock.
        """
        now = self.clock.monotonic()
        for _ in range(at_most):
            if not self._young or self._young[0][0] >= now:
                return
            _, path = self._young.popleft()
            self.fresh.pop(path, None)
            try:
                self.of(path)
            except (OSError, InputChanged, Unreadable):
                # It is no output any more; whoever needs it finds that out.
                pass

    def _remember(self, path: str, digest: str, seen: Stat, looked_ns: int) -> None:
        if is_settled(seen.mtime_ns, seen.ctime_ns, looked_ns) and is_text(path):
            self.known[path] = _noted(*seen, digest)
            self.is_dirty = True
        elif self.known.pop(path, None):
            self.is_dirty = True


def _noted(size: int, mtime_ns: int, ctime_ns: int, inode: int, digest: str) -> str:
    """Return what is remembered of a file; of very many a text takes a third less than a list."""
    return f'{size} {mtime_ns} {ctime_ns} {inode} {digest}'


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values."""
    return _encode(value).encode('ascii')


# -- inputs --------------------------------------------------------------------

class Expanded(NamedTuple):
    """Inputs of a stage on this disk: names to pass on, missing ones, globs without matches."""

    names: Tuple[str, ...]
    missing: Tuple[str, ...]
    unmatched: Tuple[str, ...]


def expand_inputs(root: str, inputs: Sequence[str]) -> Expanded:
    """Turn declared inputs into the arguments of a processor.

    A name that exists as written is that file, not a pattern (contract, inputs).
    """
    names: List[str] = []
    missing: List[str] = []
    unmatched: List[str] = []
    for name in inputs:
        if os.path.exists(os.path.join(root, name)):
            names.append(name)
        elif glob.has_magic(name):
            matches = _matches(root, name)
            names.extend(matches)
            if not matches:
                unmatched.append(name)
        else:
            missing.append(name)
    return Expanded(tuple(names), tuple(missing), tuple(unmatched))


def _matches(root: str, pattern: str) -> List[str]:
    """Return what a glob matches, relative to the root where the glob is; never our own files."""
    base = '' if os.path.isabs(pattern) else glob.escape(root) + os.sep
    skip = 0 if os.path.isabs(pattern) else len(root) + 1
    found = (match[skip:].replace(os.sep, '/')
             for match in glob.iglob(base + pattern, recursive=True))
    return sorted({match for match in found if match and not is_reserved(match)})


def digest_input(digests: Digests, root: str, name: str) -> Input:
    """Return digest and snapshot of one input, a file or a folder."""
    path = os.path.join(root, name)
    if os.path.isdir(path):
        entries = [(inside, *digests.of(os.path.join(path, inside)))
                   for inside in _files_below(path)]
        listing = [[inside, digest] for inside, digest, _ in entries]
        return Input(name, digest_bytes(canonical(listing)),
                     tuple((inside, seen) for inside, _, seen in entries))
    digest, seen = digests.of(path)
    return Input(name, digest, seen)


def snapshot_of(root: str, name: str) -> Snapshot:
    """Return the stat of an input as it is now, None when it is gone."""
    path = os.path.join(root, name)
    try:
        if os.path.isdir(path):
            return tuple((inside, stat_of(os.stat(os.path.join(path, inside))))
                         for inside in _files_below(path))
        return stat_of(os.stat(path))
    except OSError:
        return None


def stats_of(inputs: Sequence[Input]) -> str:
    """Return a digest of the stats that inputs had when they were hashed.

    Another value means that somebody wrote to one since, even if its bytes are the same again.
    """
    return digest_bytes(canonical([[entry.name, entry.snapshot] for entry in inputs]))


def is_unchanged(digests: Digests, root: str, entry: Input) -> bool:
    """True while an input has the stat that it was hashed with.

    Where a stat tells too little (Windows) its content must be the same too.
    """
    return snapshot_of(root, entry.name) == entry.snapshot and (
        _STAT_TELLS or digest_input(digests, root, entry.name).digest == entry.digest)


def _files_below(folder: str) -> Iterator[str]:
    """Yield the files below a folder by relative name, sorted, without the runner's own.

    Links to folders are followed, each folder once: they may lead in a circle.
    """
    found = []
    linked: Set[str] = set()
    for base, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders
                      if not is_reserved(name) and _is_new(os.path.join(base, name), linked)]
        found += [os.path.relpath(os.path.join(base, name), folder).replace(os.sep, '/')
                  for name in files if not is_reserved(name)]
    return iter(sorted(found))


def _is_new(path: str, linked: Set[str]) -> bool:
    """True for a plain folder, and for a linked one that is not in `linked` yet."""
    if not os.path.islink(path):
        return True
    target = os.path.realpath(path)
    is_new = target not in linked
    linked.add(target)
    return is_new


# -- the key -------------------------------------------------------------------

def stage_key(input_digests: Sequence[str], processor_version: str) -> str:
    """Fold everything that may change a task's output into one hex digest.

    SHA256( SHA256(in1) | SHA256(in2) | … | processor_version ), document 003.

    >>> stage_key(['aa', 'bb'], 'pp') == stage_key(['bb', 'aa'], 'pp')
    False
    """
    return digest_bytes('|'.join([*input_digests, processor_version]).encode('ascii'))


def make_parts(inputs: Sequence[Input], processor: Tuple[str, str],
               helpers: Sequence[Tuple[str, str]], params: Dict[str, Any], env: Dict[str, str],
               python: Optional[str], options: Optional[Dict[str, Any]] = None
               ) -> Dict[str, Any]:
    """Gather what a key is made of, as plain JSON that a marker keeps for comparing."""
    return {'format': KEY_FORMAT,
            'inputs': [[entry.name, entry.digest] for entry in inputs],
            'processor': list(processor), 'helpers': [list(helper) for helper in helpers],
            'params': params, 'env': env, 'options': options or {}, 'python': python}


def processor_version(parts: Dict[str, Any]) -> str:
    """Return the digest of everything in a key but the content of the inputs."""
    rest = dict(parts, inputs=[name for name, _ in parts['inputs']],
                processor=parts['processor'][1])
    return digest_bytes(canonical(rest))


def key_of(parts: Dict[str, Any]) -> str:
    """Return the idempotency key."""
    return stage_key([digest for _, digest in parts['inputs']], processor_version(parts))
