"""Bring many files to the disk with few waits.

A flush of one file waits for the disk, and so does the next one.  From a
handful of files on, one `syncfs` brings all of a file system to the disk in
the time of one or two.  It also waits for what others wrote there meanwhile,
which is why a few files are flushed one by one.
"""

from __future__ import annotations

import os
import re
import sys

from stagerunner.files import sync_file
from stagerunner.files import sync_folder
from stagerunner.isolation import Kernel
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: From so many files or folders on, the file system is flushed as a whole.
MANY = 5

#: Since this version of Linux a flush of all also tells of writes that failed before it.
_HONEST: Tuple[int, ...] = (5, 8)

_OPEN = os.O_RDONLY | getattr(os, 'O_DIRECTORY', 0) | getattr(os, 'O_CLOEXEC', 0)


class Flusher:
    """Flushes paths in batches; `close` it when done.

    A file system is held open from its first batch on: so that no failed
    write is told to somebody else only, who flushes it as well.
    """

    def __init__(self, root: str, many: int = MANY):
        self.many = many
        #: Folders whose own names are on the disk.
        self.safe = {root}
        self.folders: Dict[int, int] = {}
        self.kernel = _kernel()

    def files(self, paths: Sequence[str]) -> Dict[str, OSError]:
        """Return when the bytes of files are on the disk; returns the errors by path."""
        return self._flush(paths, sync_file)

    def names(self, folders: Sequence[str]) -> Dict[str, OSError]:
        """Return when the names in folders are on the disk; returns the errors by folder."""
        return self._flush(folders, sync_folder)

    def above(self, folder: str) -> List[str]:
        """Return the folders that have to be flushed so that nobody loses a folder below the root.

        Who made it may have done so a moment ago, or in a run that was killed.
        """
        found = []
        while folder not in self.safe and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
            found.append(folder)
        return found

    def _flush(self, paths: Sequence[str], flush_one: Callable[[str], None]
               ) -> Dict[str, OSError]:
        errors: Dict[str, OSError] = {}
        is_whole = self.kernel is not None and len(paths) >= self.many
        devices: Dict[int, List[str]] = {}
        for path in paths:
            try:
                if is_whole:
                    devices.setdefault(os.lstat(path).st_dev, []).append(path)
                else:
                    flush_one(path)
            except OSError as error:
                errors[path] = error
        for device, there in devices.items():
            try:
                self._flush_all(device, there[0])
            except OSError as error:
                errors.update(dict.fromkeys(there, error))
        return errors

    def _flush_all(self, device: int, path: str) -> None:
        descriptor = self.folders.get(device)
        if descriptor is None:
            folder = path if os.path.isdir(path) else os.path.dirname(path)
            descriptor = self.folders[device] = os.open(folder, _OPEN)
        self.kernel.sync_file_system(descriptor)

    def close(self) -> None:
        """Let go of the file systems."""
        for descriptor in self.folders.values():
            os.close(descriptor)
        self.folders = {}


def _kernel() -> Any:
    """Return what can flush a file system and tells the truth about it, None: nothing here."""
    if not sys.platform.startswith('linux') or _version(os.uname().release) < _HONEST:
        return None
    try:
        return Kernel()
    except (ImportError, OSError, AttributeError):
        # Without ctypes there is no such call.
        return None


def _version(release: str) -> Tuple[int, ...]:
    """Return the first two numbers of a kernel's version.

    >>> _version('6.18.4-arch1'), _version('unknown')
    ((6, 18), ())
    """
    found: Optional[Any] = re.match(r'(\d+)\.(\d+)', release)
    return tuple(map(int, found.groups())) if found else ()
