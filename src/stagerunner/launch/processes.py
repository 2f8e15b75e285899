"""Find, signal and sweep away the descendants of a process, by what /proc tells.

Used by the runner and, in the keeper, under the interpreter of the processors:
imports nothing of the project.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

#: After this many rounds of killing, what is still there cannot be killed (state D).
_SWEEPS = 400
_SWEEP_PAUSE_S = 0.005

#: So often the own children are killed before the whole tree is looked for again.
#: Who forks and ends at once is in no listing of all processes when that is read, but
#: each of them becomes a child of the keeper, and to read those takes microseconds.
_QUICK_ROUNDS = 50

#: Known to type checkers; loading `typing` would cost each keeper ten milliseconds, twice.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict
    from typing import Iterable
    from typing import List


def descendants(root: int) -> List[int]:
    """Return the ids of all live processes below `root`, parents before children."""
    parents: Dict[int, List[int]] = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/%s/stat' % name, 'rb') as source:
                    fields = source.read().rpartition(b')')[2].split()
            except OSError:
                continue
            # A process lives on without its first thread (state Z) while it has others.
            if fields[0] not in b'ZX' or int(fields[17]) > 1:
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: List[int] = []
    queue = [root]
    while queue:
        children = parents.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def signal_all(processes: Iterable[int], signum: int) -> None:
    """Send a signal to each process that is still there."""
    for process in processes:
        try:
            os.kill(process, signum)
        except OSError:
            continue


def sweep(patience_s: float = 0.0) -> int:
    """Kill every descendant of this process that is left; return how many there were.

    For a process that adopts them all.  Who is about to end has so long to do so.
    """
    until = time.monotonic() + patience_s
    while not _is_alone() and time.monotonic() < until:
        time.sleep(_SWEEP_PAUSE_S)
    seen = set()
    for _ in range(_SWEEPS):
        if _is_alone():
            break
        found = descendants(os.getpid())
        seen.update(found)
        _kill(found)
        time.sleep(_SWEEP_PAUSE_S)
    return len(seen)


def _is_alone() -> bool:
    """Take note of who ended; True when nobody is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _kill(found: Iterable[int]) -> None:
    """Kill processes with their groups: a group is hit as a whole, however fast it forks."""
    groups = set()
    for process in found:
        try:
            groups.add(os.getpgid(process))
        except OSError:
            continue
    for group in groups - {os.getpgrp()}:
        try:
            os.killpg(group, _signal.SIGKILL)
        except OSError:
            continue
    signal_all(found, _signal.SIGKILL)
    for _ in range(_QUICK_ROUNDS):
        if _is_alone():
            return
        signal_all(children(), _signal.SIGKILL)


def children() -> List[int]:
    """Return the processes whose parent is this one; none where the kernel lists no children."""
    try:
        with open(f'/proc/self/task/{os.getpid()}/children', 'rb', 0) as listing:
            return [int(number) for number in listing.read().split()]
    except OSError:
        return []
