"""What a run prints on a terminal: the lines of the console, and below them where it stands.

Loaded only where there is a terminal.  No thread: what happens draws, and so
does the scheduler whenever it is about to wait (`Sink.idle`).
"""

from __future__ import annotations

import math
from typing import Any
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import TasksSkipped
from stagerunner.report.console import Console
from stagerunner.report.console import Stream
from stagerunner.report.overview import Sources
from stagerunner.report.overview import overview
from stagerunner.report.sources import sources_of
from stagerunner.report.tally import Tally
from stagerunner.report.terminal import Above
from stagerunner.report.terminal import Terminal
from stagerunner.report.terminal import can_be_drawn_on
from stagerunner.state.names import StateNames

#: A run that is over sooner is not drawn at all, in seconds.
FIRST_S = 0.5

#: The block is drawn no more often than this while things happen, and so often while none do.
BUSY_S = 0.1
QUIET_S = 0.25


class LiveConsole(Console):
    """The console with a block below its lines; without lines that only sum up long fan-outs."""

    def __init__(self, terminal: Terminal, err: Stream, clock: Clock, sources: Sources):
        super().__init__(Above(terminal.out, terminal), Above(err, terminal), clock)
        self.terminal = terminal
        self.sources = sources
        self.tally = Tally()
        self.next_summary = math.inf
        #: When the block was drawn last; the time before which it is not, until then.
        self.drawn_at = math.inf
        self.has_ended = False

    def receive(self, event: Event) -> None:
        self.tally.receive(event, self.clock.now())
        if self.drawn_at == math.inf:
            self.drawn_at = self.clock.monotonic() + FIRST_S - BUSY_S
        if isinstance(event, RunEnded):
            self.close()
        super().receive(event)
        self._draw_after(BUSY_S)

    def receive_skips(self, event: TasksSkipped) -> None:
        for skipped in event.singly():
            self.tally.receive(skipped, self.clock.now())
        super().receive_skips(event)

    def idle(self) -> Optional[float]:
        if self.has_ended or self.drawn_at == math.inf:
            return None
        self._draw_after(QUIET_S if self.terminal.drawn else BUSY_S)
        pause_s = QUIET_S if self.terminal.drawn else BUSY_S
        return max(0.0, self.drawn_at + pause_s - self.clock.monotonic())

    def close(self) -> None:
        self.has_ended = True
        self.terminal.clear()

    def _draw_after(self, pause_s: float) -> None:
        """Draw the block, if it is so long ago that it was."""
        now = self.clock.monotonic()
        if now < self.drawn_at + pause_s or self.has_ended:
            return
        self.drawn_at = now
        self.terminal.draw(overview(self.tally, self.clock.now(), self.terminal.size[0],
                                    self.sources, is_one_line=not self.terminal.is_wide))


def make_console(system: Any, clock: Clock, names: StateNames) -> Console:
    """Return the console for a terminal; on one that cannot erase, the plain one."""
    if not can_be_drawn_on(system.out):
        return Console(system.out, system.err, clock)
    return LiveConsole(Terminal(system.out, system.environment), system.err, clock,
                       sources_of(names))
