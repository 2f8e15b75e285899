"""Write files that are the old version or the new one, never half of each; read JSON strictly.

Everything under `state/` and every marker goes through `write_json`.  A reader
needs no lock: it sees the bytes from before a write or from after it, also
when the machine stops between the two.  `durable` writes are on the disk when
the call returns: file first, then its new name (a rename alone may be lost, or
survive without its data, when the power goes: surveys/reliability.md, row 1).
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys

from stagerunner.errors import InputChanged
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.hashing import sha256
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.sharing import has_ended
from stagerunner.sharing import make_changeable
from stagerunner.sharing import open_file
from stagerunner.sharing import open_to_flush
from stagerunner.sharing import patiently
from stagerunner.sharing import remove_file
from stagerunner.sharing import remove_folder
from stagerunner.strictjson import in_lines
from stagerunner.strictjson import parse

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Iterable
    from typing import Iterator
    from typing import Optional
    from typing import Tuple

#: Largest JSON file that is read, in bytes.
MAX_JSON_BYTES = 16 * 1024 * 1024

#: Files are hashed in blocks of this many bytes.
_BLOCK = 256 * 1024

#: A file read three times that changed each time is not going to hold still.
_READS = 3

#: Temporary files of a process that died are recognised by this ending.
TEMPORARY = '.tmp'

_READ = (os.O_RDONLY | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_NONBLOCK', 0)
         | getattr(os, 'O_CLOEXEC', 0))
_CREATE = (os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_BINARY', 0)
           | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_CLOEXEC', 0))
_NOFOLLOW = getattr(os, 'O_NOFOLLOW', 0)

#: On macOS only this reaches the platter; fsync stops at the drive's cache.
_FULL_FSYNC = 51

_counter = itertools.count()


class Stat(NamedTuple):
    """What tells two versions of a file apart without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def stat_of(found: os.stat_result) -> Stat:
    """Return the four figures that count."""
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


# -- writing -----------------------------------------------------------------

def write_json(path: str, value: Any, *, durable: bool) -> None:
    """Put `value` at `path` as a whole, or raise `StateError` and leave what was there."""
    write_bytes(path, in_lines(value).encode('utf-8') + b'\n', durable=durable)


def write_bytes(path: str, data: bytes, *, durable: bool) -> None:
    """Put `data` at `path` as a whole, or raise `StateError` and leave what was there."""
    write_blocks(path, (data,), durable=durable)


def write_blocks(path: str, blocks: Iterable[bytes], *, durable: bool) -> None:
    """Do the same with data that comes in pieces."""
    temporary = f'{path}.{os.getpid()}-{next(_counter)}{TEMPORARY}'
    try:
        _write_new(temporary, blocks, durable=durable)
        if os.path.isdir(path) and not os.path.islink(path):
            quarantine(path)
        replace(temporary, path)
        if durable:
            sync_folder(os.path.dirname(path))
    except OSError as error:
        _unlink_quietly(temporary)
        raise StateError(path, os_fault(error)) from error
    except BaseException:
        _unlink_quietly(temporary)
        raise


def _write_new(path: str, blocks: Iterable[bytes], *, durable: bool) -> None:
    descriptor = os.open(path, _CREATE, 0o666)
    try:
        for block in blocks:
            append(descriptor, block, durable=False)
        if durable:
            _sync(descriptor)
    finally:
        os.close(descriptor)


def append(descriptor: int, data: bytes, *, durable: bool) -> None:
    """Write all of `data` to an open file; an error may leave a part of it there."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]
    if durable:
        _sync(descriptor)


def replace(source: str, target: str) -> None:
    """Give `source` the name `target`, whose old file is gone from then on."""
    make_changeable(target)
    patiently(lambda: os.replace(source, target))


def sync_file(path: str) -> None:
    """Return when the bytes of `path` are on the disk."""
    descriptor = open_to_flush(path) if os.name == 'nt' else os.open(path, _READ | _NOFOLLOW)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str) -> None:
    """Return when the names in folder `path` are on the disk (Windows does this by itself)."""
    if os.name == 'nt':  # pragma: no cover
        return
    descriptor = os.open(path or '.', os.O_RDONLY | getattr(os, 'O_DIRECTORY', 0))
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Flush once; after an error nobody may try again on the same descriptor (fsyncgate)."""
    if sys.platform == 'darwin':  # pragma: no cover - macOS only
        import fcntl

        try:
            fcntl.fcntl(descriptor, _FULL_FSYNC)
            return
        except OSError:
            # A network volume does not know the command; fsync is all there is.
            pass
    os.fsync(descriptor)


def make_folder(path: str, *, durable: bool = True) -> None:
    """Make `path` and the folders above it where they are missing."""
    if not path or os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_folder(parent, durable=durable)
    try:
        patiently(lambda: os.mkdir(path))
        if durable:
            sync_folder(parent)
    except FileExistsError:
        # Somebody else was quicker; a file in the way is reported by its user.
        pass


def remove_tree(path: str) -> None:
    """Remove whatever is at `path`, links themselves and not what they lead to."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            remove_folder(path)
        else:
            remove_file(path)
    except FileNotFoundError:
        pass


def quarantine(path: str) -> str:
    """Set an unreadable file aside as `<path>.corrupt-<n>` and return that name.

    Nothing is lost and nothing is read twice: the next run finds no file.
    """
    numbered = (f'{path}.corrupt-{number}' for number in itertools.count(1))
    aside = next(name for name in numbered if not os.path.lexists(name))
    try:
        replace(path, aside)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StateError(path, os_fault(error)) from error
    return aside


def _unlink_quietly(path: str) -> None:
    """Remove what may be there; the error that brought us here matters more."""
    try:
        remove_file(path)
    except OSError:
        pass


# -- reading -----------------------------------------------------------------

def read_bytes(path: str, limit: int, *, follow: bool = True) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises `FileNotFoundError`, or `Unreadable` for everything that is not such
    a file: a folder, a device, a pipe (which is not waited for), a file that
    may not be read.  With `follow=False` a link is refused too.
    """
    try:
        descriptor = open_file(path, _READ | (0 if follow else _NOFOLLOW))
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        # A file where a folder above it should be: there is nothing at this path.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    except ValueError as error:
        raise Unreadable(path, 'cannot be the name of a file') from error
    except OSError as error:
        if os.path.isdir(path):
            raise Unreadable(path, 'is a folder, not a file') from error
        raise Unreadable(path, os_fault(error)) from error
    try:
        found = os.fstat(descriptor)
        _check_kind(path, found.st_mode)
        if found.st_size > limit:
            raise Unreadable(path, f'is larger than {limit // (1024 * 1024)} MiB')
        return b''.join(_blocks(descriptor))
    except OSError as error:
        raise Unreadable(path, os_fault(error)) from error
    finally:
        os.close(descriptor)


def _check_kind(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise Unreadable(path, 'is a folder, not a file')
    if not stat.S_ISREG(mode):
        raise Unreadable(path, 'is not a regular file')


def _blocks(descriptor: int) -> Iterator[bytes]:
    while True:
        block = os.read(descriptor, _BLOCK)
        if not block:
            return
        yield block


def read_json(path: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Return the decoded content of a file of ours, or None where there is no file.

    Raises `Unreadable` for all that `parse_json` refuses and for anything but
    a regular file, links included.
    """
    try:
        data = read_bytes(path, max_bytes, follow=False)
    except FileNotFoundError:
        return None
    return parse_json(data, path)


def parse_json(data: bytes, path: str) -> Any:
    """Decode strict JSON as `strictjson.parse` does, or raise `Unreadable`."""
    try:
        return parse(data)
    except ValueError as error:
        raise Unreadable(path, str(error)) from error


# -- digests -----------------------------------------------------------------

def digest_bytes(*data: bytes) -> str:
    """Return the SHA-256 of `data`, which may come in pieces, in hex."""
    hasher = sha256(sum(map(len, data)))
    for piece in data:
        hasher.update(piece)
    return str(hasher.hexdigest())


def digest_file(path: str,
                is_wanted: Callable[[], bool] = lambda: True) -> Tuple[str, Stat]:
    """Return the SHA-256 of a file that held still meanwhile, and the stat it had.

    Raises `FileNotFoundError`, `InputChanged` when it was rewritten during each of three
    reads, and `Unreadable` for what is not a regular file, or is not wanted any more.
    """
    for _ in range(_READS):
        digest, before, after = _read_through(path, is_wanted)
        if before == after:
            return digest, after
    raise InputChanged(path, 'it was read')


def _read_through(path: str, is_wanted: Callable[[], bool]) -> Tuple[str, Stat, Stat]:
    try:
        descriptor = open_file(path, _READ)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(path, os_fault(error)) from error
    try:
        found = os.fstat(descriptor)
        _check_kind(path, found.st_mode)
        hasher = sha256(found.st_size)
        if found.st_size <= _BLOCK:
            for block in _blocks(descriptor):
                hasher.update(block)
        else:
            _hash_large(descriptor, hasher, is_wanted)
        return hasher.hexdigest(), stat_of(found), stat_of(os.stat(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(path, os_fault(error)) from error
    finally:
        os.close(descriptor)


def _hash_large(descriptor: int, hasher: Any, is_wanted: Callable[[], bool]) -> None:
    """Reuse one buffer: no allocation per block, and the hash runs without the GIL."""
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with open(descriptor, 'rb', buffering=0, closefd=False) as source:
        while True:
            count = source.readinto(buffer)
            if not count:
                return
            if not is_wanted():
                raise InterruptedError
            hasher.update(view[:count])


def is_text(name: str) -> bool:
    """True for a file name that JSON can hold; on POSIX a name may be any bytes."""
    try:
        name.encode('utf-8')
    except UnicodeEncodeError:
        return False
    return True


def stays_below(name: str) -> bool:
    """True for a name that cannot lead out of the folder that it is joined to."""
    parts = name.replace(os.sep, '/').split('/')
    starts_above = name.startswith(('/', os.sep)) or os.path.splitdrive(name)[0]
    return not starts_above and '..' not in parts


def one_spelling(name: str) -> str:
    """Return a relative name in the form that all names of the same file have in common.

    On Windows letters differ in case only for show, on POSIX nothing does.
    """
    return os.path.normcase(os.path.normpath(name)).replace(os.sep, '/')


def try_stat(path: str) -> Optional[os.stat_result]:
    """Return the stat of what `path` leads to, or None where that is nothing."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def leftovers(folder: str) -> Iterator[str]:
    """Yield temporary files in `folder` that a killed process left behind."""
    own = f'.{os.getpid()}-'
    for entry in os.scandir(folder):
        name, _, ending = entry.name.rpartition('.')
        if '.' + ending == TEMPORARY and own not in entry.name and _is_abandoned(name):
            yield entry.path


def _is_abandoned(name: str) -> bool:
    """True when the process whose id stands in the name of a temporary file is gone."""
    pid, dash, _ = name.rpartition('.')[2].partition('-')
    return bool(dash) and pid.isdigit() and has_ended(int(pid))
