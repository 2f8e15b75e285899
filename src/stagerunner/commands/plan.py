"""Say what a run would do and why, and change nothing."""

from __future__ import annotations

import os
from typing import Any

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import add_selection
from stagerunner.commands.flags import load_all
from stagerunner.commands.flags import wanted_of
from stagerunner.errors import OK
from stagerunner.errors import PENDING
from stagerunner.launch.job import Launcher
from stagerunner.launch.system import interpreter_version
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.run import foretell


def add_arguments(parser: Any) -> None:
    """Add the flags of a plan."""
    add_config(parser)
    add_selection(parser)
    parser.add_argument('--check', action='store_true',
                        help='exit with 10 when there is work to do')


def main(arguments: Any, system: Any) -> int:
    """Print a line per task: what would be done, and the reason."""
    clock, stop = Clock(), Stop()
    workspace = load_all(arguments).workspace
    python, version = interpreter_version(workspace.pipeline.python, workspace.root,
                                          os.path.basename(arguments.pipeline))
    console = (JsonLines(system.out) if arguments.json
               else Console(system.out, system.err, clock))
    try:
        forecast = foretell(
            Request(workspace, '', 0.0, python, version, wanted=wanted_of(arguments)),
            Parts(clock=clock, stop=stop, launcher=Launcher(), sinks=[console],
                  environment=system.environment, spread=system.spread, pid=system.pid,
                  host=system.host))
    finally:
        stop.close()
    return PENDING if arguments.check and forecast.pending else OK
