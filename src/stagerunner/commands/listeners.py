"""Who listens to every run: the checkpoint file, the figures, and what is printed."""

from __future__ import annotations

from stagerunner.clock import Clock
from stagerunner.events import Sink
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines
from stagerunner.report.console import may_draw
from stagerunner.report.metrics import Metrics
from stagerunner.state.checkpoint import PipelineCheckpoint
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import List


def records(names: StateNames, run_id: str, clock: Clock, checkpoint: str = '', *,
            resumes: bool = False) -> List[Sink]:
    """Return those that write; `checkpoint` is where its file was asked for, if somewhere."""
    return [PipelineCheckpoint(names, clock, checkpoint, resumes=resumes),
            Metrics(names.metrics(run_id), names.textfile(run_id))]


def console(arguments: Any, system: Any, clock: Clock, names: StateNames) -> Sink:
    """Return who prints; what draws on a terminal is loaded only where there is one."""
    if arguments.json:
        return JsonLines(system.out)
    if not arguments.quiet and may_draw(system.out, system.environment):
        live: Sink = system.load('report.live').make_console(system, clock, names)
        return live
    return Console(system.out, system.err, clock, is_quiet=arguments.quiet)
