"""What lost its parent below the runner falls to it (Linux), so that nothing of a run survives."""

from __future__ import annotations

import os
import signal

from stagerunner.isolation import Kernel
from stagerunner.launch.processes import descendants
from stagerunner.launch.processes import signal_all
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List
    from typing import Sequence

#: So many rounds of killing; what is there after them cannot be killed.
_SWEEPS = 400


class Orphans:
    """Adopts what keepers leave behind, and kills it."""

    def __init__(self) -> None:
        #: False before `adopt`, and where the kernel has no such call; keepers then sweep alone.
        self.fall_to_us = False
        self._is_begun = False
        #: Processes that were below this one before; never touched.
        self._strangers: List[int] = []

    def adopt(self) -> bool:
        """Have what loses its parents fall to this process from now on; false: it cannot be."""
        if not self._is_begun:
            self._is_begun = True
            self._strangers = descendants(os.getpid())
            self.fall_to_us = _become_subreaper(is_one=True)
        return self.fall_to_us

    def let_go(self) -> None:
        """Be as others are."""
        if self._is_begun:
            _become_subreaper(is_one=False)
            self._is_begun = self.fall_to_us = False

    def sweep(self, kept: Sequence[int]) -> None:
        """Kill and reap what lost keepers left to this process; `kept` and their children stay."""
        ours = {*self._strangers, *kept}
        for _ in range(_SWEEPS):
            spared = ours.union(*map(descendants, ours))
            found = [process for process in descendants(os.getpid()) if process not in spared]
            if not found:
                return
            signal_all(found, signal.SIGKILL)
            for process in found:
                try:
                    os.waitpid(process, os.WNOHANG)
                except ChildProcessError:
                    # The child of a child: it falls to us in the next round.
                    continue


def _become_subreaper(*, is_one: bool) -> bool:
    try:
        Kernel().become_subreaper(is_one=is_one)
        return True
    except (ImportError, OSError, AttributeError):
        # Without ctypes there is no such call.
        return False
