"""Find and signal the descendants of a process, by what /proc tells.

Used by the runner and, in the keeper, under the interpreter of the processors:
imports nothing of the project.
"""

from __future__ import annotations

import os

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


def children() -> List[int]:
    """Return the processes whose parent is this one; none where the kernel lists no children."""
    try:
        with open(f'/proc/self/task/{os.getpid()}/children', 'rb', 0) as listing:
            return [int(number) for number in listing.read().split()]
    except OSError:
        return []
