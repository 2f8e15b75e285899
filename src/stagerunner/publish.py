"""The private output folder of a task, and what may leave it.

A processor writes into `outputDir/.<task>.partial/`, on the same file system
as the published files, so that moving them in is a rename.  Until it succeeded
nobody sees anything; when it failed `outputDir` is as it was.
"""

from __future__ import annotations

import glob
import os
import stat

from stagerunner.errors import InputChanged
from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import digest_bytes
from stagerunner.files import digest_file
from stagerunner.files import is_text
from stagerunner.files import make_folder
from stagerunner.files import one_spelling
from stagerunner.files import remove_tree
from stagerunner.keys import is_reserved
from stagerunner.records import TYPE_CHECKING
from stagerunner.sharing import patiently
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output

if TYPE_CHECKING:
    from typing import Callable
    from typing import Container
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple


def prepare(private: str, *, keeps_content: bool, durable: bool = False) -> int:
    """Make the private folder, empty unless told otherwise; return its time of change in ns.

    Only what is worth something by itself has to be `durable`: a success is flushed by `commit`.
    """
    try:
        if not keeps_content:
            remove_tree(private)
        if durable:
            make_folder(private)
        else:
            patiently(lambda: os.makedirs(private, exist_ok=True))
        found = os.stat(private)
        # Windows' ctime is the time of creation, which a new folder takes over from one of the
        # same name that was removed just before.
        return found.st_mtime_ns if os.name == 'nt' else found.st_ctime_ns
    except OSError as error:
        raise StateError(private, os_fault(error)) from error


def discard(private: str) -> None:
    """Remove the private folder with all that is in it."""
    try:
        remove_tree(private)
    except OSError as error:
        raise StateError(private, os_fault(error)) from error


def written_files(private: str) -> List[str]:
    """Return what a processor left in its folder, as sorted names relative to it.

    Raises `StageError` for what cannot be published: sockets, pipes, devices,
    and names that belong to the runner.
    """
    found = []
    for base, folders, files in os.walk(private):
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        for name in files + links:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, private).replace(os.sep, '/')
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                raise StageError(f"output '{relative}' is not a file")
            if not is_text(relative):
                raise StageError(f'output {ascii(relative)} has a name that is not UTF-8')
            if is_reserved(relative):
                raise StageError(f"output '{relative}' has a name that belongs to the runner")
            found.append(relative)
    return sorted(found)


def written_directly(published: str, since_ns: int, claimed: Container[str]) -> List[str]:
    """Return files in `outputDir` that appeared or changed since then and are nobody else's.

    Compared by the file system's own clock: `since_ns` is the time at which
    the private folder was made.
    """
    found = []
    for base, folders, files in os.walk(published):
        folders[:] = [name for name in folders if not is_reserved(name)]
        for name in files:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, published).replace(os.sep, '/')
            seen = os.lstat(path)
            if (stat.S_ISREG(seen.st_mode) and not is_reserved(relative)
                    and one_spelling(relative) not in claimed
                    and max(seen.st_ctime_ns, seen.st_mtime_ns) >= since_ns):
                found.append(relative)
    return sorted(found)


def describe_outputs(folder: str, names: Sequence[str]) -> Tuple[Output, ...]:
    """Return path, size and digest of each file; of a link, its target."""
    found = []
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path):
            target = os.readlink(path)
            found.append(Output(name, 0, digest_bytes(os.fsencode(target)), target))
        else:
            digest, seen = digest_file(path)
            found.append(Output(name, seen.size, digest))
    return tuple(found)


def check_declared(folder: str, declared: Sequence[str]) -> None:
    """Raise `StageError` unless every declared output is there."""
    for name in declared:
        path = os.path.join(folder, name)
        if os.path.lexists(path):
            continue
        if not glob.glob(os.path.join(glob.escape(folder), name), recursive=True):
            raise StageError(f"exited with 0 but did not write its output '{name}'")


def check_room(published: str, names: Sequence[str],
               owner_of: Callable[[str], Optional[str]]) -> None:
    """Raise `StageError` where a file could not take its place in `outputDir`.

    `owner_of` tells which other task published a path there (in `one_spelling`).  Looked at before
    the first file is moved, so that a refusal changes nothing.
    """
    for name in names:
        other = owner_of(one_spelling(name))
        if other is not None:
            raise StageError(f"output '{name}' was already published by {other!r}; "
                             f'two tasks cannot publish the same file')
        target = os.path.join(published, name)
        if os.path.isdir(target) and not os.path.islink(target):
            raise StageError(f"output '{name}' cannot replace a folder of that name")
        above = os.path.dirname(name)
        while above:
            path = os.path.join(published, above)
            if os.path.lexists(path) and not os.path.isdir(path):
                raise StageError(f"output '{name}' needs a folder where '{above}' is a file")
            above = os.path.dirname(above)


def stale_files(published: str, former: Marker, current: Sequence[Output]) -> List[str]:
    """Return files of the former success that are no outputs any more and that nobody edited."""
    names = {one_spelling(output.path) for output in current}
    return [output.path for output in former.outputs
            if one_spelling(output.path) not in names and is_intact(published, output)]


def is_intact(published: str, output: Output) -> bool:
    """True when the published file is still what the manifest says."""
    path = os.path.join(published, output.path)
    try:
        if output.link is not None:
            return os.path.islink(path) and os.readlink(path) == output.link
        return (not os.path.islink(path) and os.path.getsize(path) == output.size
                and digest_file(path)[0] == output.digest)
    except (OSError, Unreadable, InputChanged):
        return False
