"""One operating-system lock per name, which the kernel frees when its last holder is gone.

A lock is `flock` (POSIX) or a locked byte (Windows) on a file that is never
removed while somebody may wait for it.  The descriptor is handed down to the
processor: when a runner is killed, its orphan keeps the stage locked for as
long as it lives, and a dead one never blocks anybody.  So nothing is ever
judged by age, process id or the presence of a file, and no unlock command
exists.  The note beside it (`<name>.lock.json`) is for people only.

On Windows a lock is not inherited; there the processors of a runner die with
it (`launch.windows`), and a file that is open cannot be removed or renamed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys

from stagerunner.errors import LockTimeout
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import digest_bytes
from stagerunner.files import make_folder
from stagerunner.files import quarantine
from stagerunner.files import read_json
from stagerunner.files import sync_folder
from stagerunner.files import write_json
from stagerunner.oslocks import try_descriptor
from stagerunner.oslocks import unlock
from stagerunner.oslocks import unlock_at_once
from stagerunner.oslocks import wait_for_descriptor
from stagerunner.records import TYPE_CHECKING
from stagerunner.spelling import encode

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

FOLDER = 'locks'

#: How long a run waits for a lock, and how often it looks, in seconds.
TIMEOUT_S = 10.0
POLL_S = 0.05

#: What opening a link, a folder or a socket says.
_NO_PLAIN_FILE = (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO)

_OPEN = (os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
         | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_NOINHERIT', 0)
         | getattr(os, 'O_BINARY', 0))

#: The same for one who only looks.
_LOOK = (os.O_RDWR if os.name == 'nt' else os.O_RDONLY) | _OPEN & ~(os.O_RDWR | os.O_CREAT)


def stage_lock(root: str, stage: str) -> str:
    """Return the path of the lock that whoever runs this stage holds."""
    return os.path.join(root, FOLDER, f'{stage}.lock')


def entry_lock(root: str, stage: str, encoded: str) -> str:
    """Return the path of one of a stage's 256 locks for queue entries: that of this entry."""
    number = digest_bytes(encoded.lower().encode())[:2]
    return os.path.join(root, FOLDER, stage, f'{number}.lock')


def run_lock(root: str, run_id: str) -> str:
    """Return the path of the lock that the live run with this id holds.

    It lies in a folder of its own, whose name no stage can have.
    """
    return os.path.join(root, FOLDER, '.run', f'{run_id}.lock')


def audit_lock(root: str) -> str:
    """Return the path of the lock under which the heads of the audit are appended."""
    return os.path.join(root, FOLDER, '.audit.lock')


def history_lock(root: str) -> str:
    """Return the path of the lock under which the history of completed runs is rewritten."""
    return os.path.join(root, FOLDER, '.items', '.history.lock')


def limit_lock(root: str, key: str, number: int) -> str:
    """Return the path of one of the locks of which each is a permit to run under this key."""
    return os.path.join(_limit_folder(root), f'{encode(key)}.{number}.lock')


def limit_locks(root: str, key: str) -> List[int]:
    """Return the numbers of the permits of this key that have a file, in order."""
    pattern = re.compile(re.escape(encode(key)) + r'\.([0-9]{1,9})\.lock')
    try:
        names = os.listdir(_limit_folder(root))
    except FileNotFoundError:
        return []
    return sorted(int(found.group(1)) for found in map(pattern.fullmatch, names) if found)


def quota_lock(root: str, name: str) -> str:
    """Return the path of the lock under which the bucket of a quota is rewritten."""
    return os.path.join(_limit_folder(root), f'{encode(name)}.quota.lock')


def _limit_folder(root: str) -> str:
    """A folder of its own, as for runs: a key is free text, and may be that of a stage."""
    return os.path.join(root, FOLDER, '.limit')


def journal_lock(root: str, stage: str) -> str:
    """Return the path of the lock under which a stage's journal of items is written."""
    return os.path.join(root, FOLDER, '.items', f'{stage}.lock')


def lock_folders(root: str) -> Tuple[str, str]:
    """Return the folders that hold the locks and the notes beside them."""
    return os.path.join(root, FOLDER), os.path.dirname(run_lock(root, ''))


def beside(path: str) -> str:
    """Return the path of the journal of a checkpoint file, which is the file's lock as well."""
    return f'{path}.journal'


def database_lock(path: str) -> str:
    """Return the path of the lock under which the database at `path` is written."""
    return f'{path}.lock'


class Lock:
    """A lock that is held, until `release`; its descriptor may be inherited."""

    def __init__(self, path: str, descriptor: int):
        self.path = path
        self.descriptor = descriptor

    def note(self, holder: Dict[str, Any]) -> None:
        """Leave word who holds the lock, for people who read `locks/`; it counts for nothing."""
        try:
            write_json(f'{self.path}.json', holder, durable=False)
        except StateError:
            # A full disk is told of by those who need it.
            pass

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()

    def release(self) -> None:
        """Let go; the lock stays held while a process that inherited it lives."""
        _unlink_quietly(f'{self.path}.json')
        unlock(self.descriptor)
        os.close(self.descriptor)

    def discard(self) -> None:
        """Let go and remove the file: whoever won it meanwhile looks again (`try_lock`)."""
        if os.name == 'nt':  # pragma: no cover - run under wine by tests/windows
            # Refused there while anybody has the file open, so nobody is robbed of it.
            self.release()
            _unlink_quietly(self.path)
            return
        _unlink_quietly(self.path)
        self.release()


def _unlink_quietly(path: str) -> None:
    """Remove what may be there and may be in use."""
    try:
        os.unlink(path)
    except OSError:
        pass


def try_lock(path: str, *, is_shared: bool = False) -> Optional[Lock]:
    """Take the lock at `path`, or return None at once when somebody else has it.

    A shared one keeps out who wants it alone (nobody on Windows, which has no
    such kind).  What lies at `path` without being a plain file (a link, a pipe)
    is set aside, never followed and never waited for.  Raises `StateError`
    when the file cannot be opened or locked at all.
    """
    try:
        while True:
            descriptor = _open(path)
            if descriptor is None:
                continue
            if not try_descriptor(descriptor, is_shared=is_shared):
                os.close(descriptor)
                return None
            if _is_still(path, descriptor):
                return Lock(path, descriptor)
            os.close(descriptor)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error


def is_held(path: str) -> bool:
    """True while somebody holds the lock at `path`; changes nothing, and makes no file.

    Whoever takes a lock at the very moment may be refused: `try_lock` again
    when this says that nobody has it.
    """
    try:
        descriptor = os.open(path, _LOOK)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        if not try_descriptor(descriptor, is_shared=os.name != 'nt'):
            return True
        unlock(descriptor)
        return False
    finally:
        os.close(descriptor)


def refuse_while_alive(root: str) -> None:
    """Raise `LockTimeout` while some run of a workspace is alive; changes nothing."""
    folder = lock_folders(root)[1]
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith('.lock') and is_held(path):
            raise LockTimeout(f"run '{name[:-len('.lock')]}'", f'{FOLDER}/.run/{name}', 0.0,
                              holder_of(path))


def take_lock(path: str) -> Lock:
    """Take the lock at `path`, waiting for as long as it takes.

    For locks that are held for moments only, and by runners only.  The wait
    is the kernel's: nobody looks again and again.
    """
    while True:
        lock = try_lock(path)
        if lock is not None:
            return lock
        try:
            descriptor = _open(path)
            if descriptor is not None:
                try:
                    wait_for_descriptor(descriptor)
                finally:
                    unlock(descriptor)
                    os.close(descriptor)
        except OSError as error:
            raise StateError(path, os_fault(error)) from error


class Turns:
    """A lock that is taken again and again, for moments; its file stays open in between.

    Use it as a context, whose value is a descriptor of the locked file.  For
    one thread at a time; a fork of the process opens the file anew.
    """

    def __init__(self, path: str):
        self.path = path
        self._descriptor: Optional[int] = None
        self._pid = 0

    def __enter__(self) -> int:
        try:
            while True:
                descriptor = self._opened()
                if descriptor is not None:
                    while not try_descriptor(descriptor):
                        wait_for_descriptor(descriptor)
                        if sys.platform != 'win32':
                            break
                        # Whether it was got in time only another try can tell.
                        unlock(descriptor)
                    if _is_still(self.path, descriptor):
                        return descriptor
                    self.close()
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error

    def __exit__(self, *error: Any) -> None:
        if self._descriptor is not None:
            unlock_at_once(self._descriptor)

    def discard(self) -> None:
        """Remove the file, whose lock is held, and let go of it."""
        if os.name != 'nt':
            _unlink_quietly(self.path)
        self.close()
        if os.name == 'nt':  # pragma: no cover - what is open cannot be removed there
            _unlink_quietly(self.path)

    def close(self) -> None:
        """Let go of the file; the next turn opens it anew."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> Optional[int]:
        pid = os.getpid()
        if self._descriptor is not None and self._pid != pid:
            # A fork shares the lock of its parent, which so keeps nobody out.
            self.close()
        if self._descriptor is None:
            self._descriptor, self._pid = _open(self.path), pid
        return self._descriptor


def holder_of(path: str) -> str:
    """Say who noted to hold the lock at `path`, as far as is known."""
    try:
        note = read_json(f'{path}.json')
    except Unreadable:
        note = None
    if not isinstance(note, dict) or 'pid' not in note:
        return 'held by another process'
    return (f'held by pid {note.get("pid")} on {note.get("host")} since {note.get("since")}, '
            f'run {note.get("runId")}')


def _open(path: str) -> Optional[int]:
    """Return a descriptor of a plain file at `path`; None: something was in the way, try again."""
    if os.name == 'nt' and os.path.islink(path):  # pragma: no cover - O_NOFOLLOW is unknown there
        _set_aside(path)
        return None
    try:
        descriptor = os.open(path, _OPEN, 0o666)
    except FileNotFoundError:
        # No lock outlives the machine's next stop.
        make_folder(os.path.dirname(path), durable=False)
        return os.open(path, _OPEN, 0o666)
    except OSError as error:
        if _set_aside(path) or error.errno in _NO_PLAIN_FILE:
            return None
        # Somebody else may have set aside what was in the way; else it is refused again.
        descriptor = os.open(path, _OPEN, 0o666)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    _set_aside(path)
    return None


def _set_aside(path: str) -> bool:
    """Move what is not a plain file out of the way; True when something was moved.

    Only under a lock on the folder: two runners that clean up at once would
    otherwise move away each other's fresh lock file (which Windows refuses).
    """
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        return _set_aside_unlocked(path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        import fcntl

        fcntl.flock(folder, fcntl.LOCK_EX)
        return _set_aside_unlocked(path)
    finally:
        os.close(folder)


def _set_aside_unlocked(path: str) -> bool:
    if not os.path.lexists(path) or stat.S_ISREG(os.lstat(path).st_mode):
        return False
    quarantine(path)
    sync_folder(os.path.dirname(path))
    return True


def _is_still(path: str, descriptor: int) -> bool:
    """True unless the file was removed or replaced between opening and locking it."""
    if os.name == 'nt':  # pragma: no cover - what is open stays where it is
        return True
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
