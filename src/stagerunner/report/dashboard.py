"""The page of a run that goes on: `state/report.html`, written anew now and then.

Most runs are over before it is worth a page.  Until then all that this does is
to keep what it hears; what makes the page is loaded when the first one is due.
"""

from __future__ import annotations

from stagerunner.clock import Clock
from stagerunner.errors import StateError
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import List
    from typing import Optional

#: A shorter run has no page, and no page is written more often, in seconds.
EVERY_S = 2.0

#: After a page there is none for so many times as long as it took.
_SHARE = 100


class Dashboard(Sink):
    """Keeps events until a page is due, then has a page kept up to date.

    `make_page` returns what has `receive`, `receive_skips` and `write`.
    """

    def __init__(self, clock: Clock, make_page: Callable[[], Any]):
        self.clock = clock
        self.make_page = make_page
        self.kept: List[Event] = []
        self.page: Any = None
        self.is_given_up = False
        self.due = clock.monotonic() + EVERY_S

    def receive(self, event: Event) -> None:
        if self.page is not None:
            self.page.receive(event)
        elif not isinstance(event, TaskSkipped) or '[' not in event.task:
            # Of a fan-out its end tells how many there were.
            self.kept.append(event)

    def receive_skips(self, event: TasksSkipped) -> None:
        if self.page is not None:
            self.page.receive_skips(event)
        elif '[' not in event.tasks[0]:
            self.kept.append(event)

    def idle(self) -> Optional[float]:
        """Write a page when one is due."""
        if self.is_given_up:
            return None
        now = self.clock.monotonic()
        if now >= self.due:
            self._write()
            took_s = self.clock.monotonic() - now
            self.due = now + took_s + max(EVERY_S, _SHARE * took_s)
            now += took_s
        return max(0.0, self.due - now)

    def _write(self) -> None:
        if self.page is None:
            self.page = self.make_page()
            for event in self.kept:
                if isinstance(event, TasksSkipped):
                    self.page.receive_skips(event)
                else:
                    self.page.receive(event)
            self.kept = []
        try:
            self.page.write()
        except StateError:
            # A page is a convenience: a run does not fail for want of one.
            self.is_given_up = True

    def close(self) -> None:
        """Leave a page that says how it ended, where there is one."""
        if self.page is not None and not self.is_given_up:
            self._write()
