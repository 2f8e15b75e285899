"""What processors printed: which logs a run has, and how one is read while it grows."""

from __future__ import annotations

import os
import re
from typing import BinaryIO
from typing import Dict
from typing import List
from typing import Optional
from typing import Set
from typing import Tuple

from stagerunner.events import AttemptEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.launch.capture import HEAD_BYTES
from stagerunner.launch.capture import SEAM
from stagerunner.launch.capture import TAIL_BYTES
from stagerunner.launch.capture import in_order
from stagerunner.launch.capture import seam_of
from stagerunner.records import NamedTuple
from stagerunner.report.trail import Trail
from stagerunner.report.trail import open_journal
from stagerunner.state.names import StateNames
from stagerunner.wording import event_of

#: What is left of a task after one of these.
_LAST = (TaskDone, TaskSkipped, TaskFailed, TaskInterrupted, TaskCancelled)

#: By so many bytes it is recognised where in a log that was put in order one was.
_RECOGNISED = 4096

_RING = TAIL_BYTES + len(SEAM)

_NAME = re.compile(r'(?P<task>.+)\.(?P<attempt>[0-9]{1,9})\.log')


class LogFile(NamedTuple):
    """One log: of which attempt of which task, where, and how large it is."""

    task: str
    attempt: int
    path: str
    size: int


def logs_of(names: StateNames, run_id: str) -> List[LogFile]:
    """Return the logs of a run by task and attempt; there is none where nothing was printed."""
    found = []
    try:
        entries = list(os.scandir(names.logs(run_id)))
    except OSError:
        return []
    for entry in entries:
        name = _NAME.fullmatch(entry.name)
        try:
            if name and entry.is_file(follow_symlinks=False):
                found.append(LogFile(name.group('task'), int(name.group('attempt')), entry.path,
                                     entry.stat(follow_symlinks=False).st_size))
        except FileNotFoundError:
            # A run with this id has just begun anew.
            continue
    return sorted(found)


class Attempts:
    """What the audit of a run says of its attempts; `look` again for what is new."""

    def __init__(self, names: StateNames, run_id: str):
        self.trail = Trail(names, run_id)
        self.tasks: Set[str] = set()
        #: How each attempt ended ('' while it has not), and the tasks of which none follows.
        self.ends: Dict[Tuple[str, int], str] = {}
        self.settled: Set[str] = set()

    def look(self) -> None:
        """Take in what was told since the last time."""
        for record in self.trail.read():
            try:
                self._take(event_of(record))
            except (TypeError, ValueError):
                # Somebody wrote it by hand.
                continue

    def _take(self, event: object) -> None:
        if isinstance(event, RunStarted):
            self.tasks.update(event.stages)
        elif isinstance(event, TaskStarted):
            self.tasks.add(event.task)
            self.settled.discard(event.task)
            self.ends[event.task, event.attempt] = ''
        elif isinstance(event, AttemptEnded):
            self.ends[event.task, event.attempt] = str(event.status)
        elif isinstance(event, _LAST):
            self.tasks.add(event.task)
            self.settled.add(event.task)


class Follower:
    """Reads a log in the order in which it was printed, and later what has come since."""

    def __init__(self, path: str):
        self.path = path
        self._inode: Optional[int] = None
        #: How much of the file was read, and in a ring where that ended.
        self._offset = 0
        self._last = b''

    def news(self) -> bytes:
        """Return what was printed since the last time; at first all that was kept."""
        source = open_journal(self.path)
        if source is None:
            return b''
        with source:
            found = os.fstat(source.fileno())
            is_other = self._inode is not None and found.st_ino != self._inode
            self._inode = found.st_ino
            if is_other:
                new = self._after_last(source.read())
                self._offset = found.st_size
            elif found.st_size == HEAD_BYTES + _RING:
                new = self._of_ring(source)
            else:
                source.seek(self._offset)
                new = source.read()
                self._offset += len(new)
        self._last = (self._last + new)[-_RECOGNISED:]
        return new

    def _after_last(self, data: bytes) -> bytes:
        """The log was put in order: go on behind what was read last."""
        place = data.rfind(self._last) if self._last else -1
        return data[place + len(self._last):] if place >= 0 else data

    def _of_ring(self, source: BinaryIO) -> bytes:
        data = source.read(HEAD_BYTES + _RING)
        seam = seam_of(data)
        former = self._offset
        if seam is None:
            self._offset = len(data)
            return data[former:]
        self._offset = HEAD_BYTES + seam
        if former < HEAD_BYTES:
            return in_order(data)[former:]
        ring, start = data[HEAD_BYTES:], former - HEAD_BYTES
        if start <= seam:
            return ring[start:seam]
        return ring[start:] + ring[:seam]
