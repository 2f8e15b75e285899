"""What a host and a file system can promise, found out without changing a byte.

Whether locks exclude is tried on the definition itself, with two descriptors:
nobody else ever locks that file, and to lock it changes nothing.  A flush is
tried where a file can be made that never has a name; whether it reached the
disk nobody can tell from here, and the kind of file system says more about that.
"""

from __future__ import annotations

import os
import re
from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.errors import os_fault
from stagerunner.files import append
from stagerunner.oslocks import try_descriptor
from stagerunner.oslocks import unlock
from stagerunner.records import NamedTuple

#: How a try of a lock went; anything else is a problem.
WORK, NOT_TRIED = 'work', 'not tried: there is no pipeline file'

#: Locks and flushes of these do not promise enough.
NETWORK_KINDS = frozenset((
    '9p', 'afs', 'beegfs', 'ceph', 'cifs', 'davfs', 'fuse.ceph', 'fuse.davfs2', 'fuse.glusterfs',
    'fuse.s3fs', 'fuse.sshfs', 'gfs2', 'gpfs', 'lustre', 'ncpfs', 'nfs', 'nfs4', 'ocfs2', 'smb3',
    'smbfs'))

#: What is on these does not survive a restart.
MEMORY_KINDS = frozenset(('ramfs', 'tmpfs'))

#: Less room is called none, and less is warned of, in bytes; the same for files.
NO_BYTES, FEW_BYTES = 1 << 20, 1 << 30
NO_INODES, FEW_INODES = 10, 1000

#: A flush that takes longer than this is warned of, in seconds; the best of so many counts.
SLOW_FLUSH_S, _FLUSHES = 0.05, 3

#: The SQLite versions in which two writers at once may damage a database in WAL mode.
WAL_RESET = ((3, 7, 0), (3, 51, 2))

#: A clock before this has not been set (2020-01-01).
_EARLIEST_S = 1577836800.0

#: So much may a file be from the future before the clock is called wrong, in seconds.
_LEEWAY_S = 2.0


class Health(NamedTuple):
    """What was found out: facts by name, what cannot be promised, and what to look at."""

    facts: Dict[str, Any]
    problems: Tuple[str, ...]
    warnings: Tuple[str, ...]


class Room(NamedTuple):
    """What is free, as far as the system tells, and whether this user may write there."""

    free_bytes: Optional[int]
    free_inodes: Optional[int]
    is_writable: bool = True


class Flush(NamedTuple):
    """How long a flush takes and why it fails, both unknown where it was not tried."""

    took_s: Optional[float] = None
    fault: str = ''


def examine(folder: str, definition: str, state: str, clock: Clock) -> Health:
    """Look at the file system of a workspace (`definition` may be missing) and at the clock."""
    return judge(file_system_of(folder), try_locks(definition), clock_complaint(state, clock),
                 room_in(folder), try_flush(folder, clock))


def judge(kind: Optional[str], locks: str, complaint: str, room: Room,
          flush: Flush) -> Health:
    """Say what follows from what was seen: type of the file system, locks, clock, room, flush."""
    problems: List[str] = []
    warnings: List[str] = []
    if kind in NETWORK_KINDS:
        warnings.append(f'the workspace is on a network file system ({kind}); its locks and '
                        f'flushes do not promise enough')
    elif kind in MEMORY_KINDS:
        warnings.append(f'the workspace is in memory ({kind}); nothing there survives a restart')
    if locks not in (WORK, NOT_TRIED):
        problems.append(f'locks {locks}; two runs could work on one stage')
    if flush.fault:
        problems.append(f'a flush fails: {flush.fault}; what a run says is done may be lost')
    elif flush.took_s is not None and flush.took_s > SLOW_FLUSH_S:
        warnings.append(f'a flush takes {flush.took_s * 1000:.0f} ms where the workspace is, and '
                        f'a task several')
    if not room.is_writable:
        problems.append('this user may not write into the workspace, as every run does')
    if complaint:
        warnings.append(complaint)
    for name, left, none, few in (('bytes', room.free_bytes, NO_BYTES, FEW_BYTES),
                                  ('inodes', room.free_inodes, NO_INODES, FEW_INODES)):
        if left is not None and left < few:
            (problems if left < none else warnings).append(
                f'only {left} {name} are free where the workspace is')
    return Health({'fileSystem': kind, 'networkFileSystem': kind in NETWORK_KINDS,
                   'locks': locks, 'clock': complaint or 'sane', 'writable': room.is_writable,
                   'freeBytes': room.free_bytes,
                   'freeInodes': room.free_inodes, 'flushMs': None if flush.took_s is None
                   else round(flush.took_s * 1000, 1)}, tuple(problems), tuple(warnings))


# -- the file system -----------------------------------------------------------------

def file_system_of(path: str, table: str = '/proc/self/mountinfo') -> Optional[str]:
    """Return the type of the file system that a path is on, None where nobody tells."""
    try:
        with open(table, encoding='utf-8', errors='surrogateescape') as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    best, kind = '', None
    for line in lines:
        before, _, after = line.partition(' - ')
        fields = before.split(' ')
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r'\\([0-7]{3})', lambda found: chr(int(found.group(1), 8)), fields[4])
        # Of several on one point the last one hides the others.
        if (real + '/').startswith(point.rstrip('/') + '/') and len(point) >= len(best):
            best, kind = point, after.split(' ')[0]
    return kind


def room_in(folder: str) -> Room:
    """Return how much room there is for this user."""
    try:
        if not hasattr(os, 'statvfs'):  # pragma: no cover - Windows only
            import shutil

            return Room(shutil.disk_usage(folder).free, None, os.access(folder, os.W_OK))
        found = os.statvfs(folder)
    except OSError:
        return Room(None, None)
    # Some file systems have no fixed number of inodes, and say 0.
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None,
                os.access(folder, os.W_OK))


def try_flush(folder: str, clock: Clock) -> Flush:
    """Write to a file without a name and flush it; where there is no such file, do nothing."""
    try:
        descriptor = os.open(folder, os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE, 0o600)
    except (AttributeError, OSError):
        return Flush()
    try:
        took_s = []
        for _ in range(_FLUSHES):
            began = clock.monotonic()
            append(descriptor, bytes(4096), durable=True)
            took_s.append(clock.monotonic() - began)
        return Flush(min(took_s))
    except OSError as error:
        return Flush(fault=os_fault(error))
    finally:
        os.close(descriptor)


# -- locks ---------------------------------------------------------------------------

def try_locks(path: str) -> str:
    """Say whether a lock on a file keeps another descriptor out, and is free afterwards."""
    opened: List[int] = []
    try:
        for _ in range(2):
            # Some network file systems lock only what may be written to.
            opened.append(os.open(path, (os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
                                  | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_NONBLOCK', 0)))
        first, second = opened
        if not try_descriptor(first):
            return 'are held by somebody else'
        if try_descriptor(second):
            return 'do not exclude'
        unlock(first)
        os.close(opened.pop(0))
        return WORK if try_descriptor(second) else 'are not released'
    except FileNotFoundError:
        return NOT_TRIED
    except OSError as error:
        return f'do not work: {error.strerror}'
    finally:
        for descriptor in opened:
            os.close(descriptor)


# -- the clock -----------------------------------------------------------------------

def clock_complaint(state: str, clock: Clock) -> str:
    """Return what is wrong with the clocks, or nothing."""
    before, now = clock.monotonic(), clock.now()
    if clock.monotonic() < before:
        return 'the monotonic clock goes back'
    if now < _EARLIEST_S:
        return 'the clock has not been set'
    name, newest = _newest(state)
    if newest > now + _LEEWAY_S:
        return (f'{name} is {newest - now:.0f} seconds from the future; the clock was set back, '
                f'and files that change now may be taken for unchanged')
    return ''


def _newest(folder: str) -> Tuple[str, float]:
    """Return name and time of the file in a folder that was changed last."""
    name, newest = '', 0.0
    try:
        for entry in os.scandir(folder):
            changed = entry.stat(follow_symlinks=False).st_mtime
            if changed > newest:
                name, newest = entry.name, changed
    except OSError:
        pass
    return name, newest


def is_in_wal_reset_range(version: str) -> bool:
    """True for a SQLite with the race, which no writer of ours can run into.

    >>> is_in_wal_reset_range('3.40.1'), is_in_wal_reset_range('3.51.3')
    (True, False)
    """
    found = tuple(int(part) for part in re.findall('[0-9]+', version)[:3])
    return WAL_RESET[0] <= found <= WAL_RESET[1]
