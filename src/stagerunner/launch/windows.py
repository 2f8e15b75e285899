"""Start processors on Windows: a process group of their own, pipes read by threads.

Windows can wait for processes or pipes in one call only with overlapped I/O,
which the standard library does not offer for pipes of children; two threads
per job hand over what they read instead.
"""

from __future__ import annotations

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Launcher


class WindowsLauncher(Launcher):
    """Placeholder replaced below."""

    def __init__(self, clock: Clock, stop: Stop):
        self.clock = clock
        self.stop = stop
