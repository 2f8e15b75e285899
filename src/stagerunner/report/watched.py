"""What a dashboard shows: the report of a run that goes on, from what it has told so far."""

from __future__ import annotations

from typing import Optional

from stagerunner.clock import Clock
from stagerunner.diagram import Diagram
from stagerunner.files import write_bytes
from stagerunner.report.accounts import drawn
from stagerunner.report.html.page import render
from stagerunner.report.html.summary import Account
from stagerunner.report.sight import CRASHED
from stagerunner.report.story import Story
from stagerunner.state.names import StateNames
from stagerunner.state.run import RUNNING
from stagerunner.state.run import read_run
from stagerunner.workspace import Workspace

#: A browser asks for the page again after so many seconds.
_REFRESH_S = 2


class Page(Story):
    """A story that can be written down at any time."""

    def __init__(self, workspace: Workspace, run_id: str, clock: Clock):
        super().__init__()
        self.workspace = workspace
        self.run_id = run_id
        self.clock = clock
        self.names = StateNames(workspace.root)
        self.diagram: Optional[Diagram] = None
        self.fault = ''

    def write(self) -> None:
        """Write the page as a whole; it is derived, so nothing is flushed."""
        if self.diagram is None and not self.fault:
            self.diagram, self.fault = drawn(lambda: self.workspace)
        record = read_run(self.names, self.run_id)
        state = self.ended.state if self.ended else record.state if record else CRASHED
        write_bytes(self.names.live_report(), render(Account(
            self.run_id, state, self, self.clock.now(), record, self.diagram, self.fault,
            refresh_s=_REFRESH_S if state == RUNNING else None)), durable=False)
