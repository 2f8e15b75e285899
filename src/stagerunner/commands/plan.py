"""Say what a run would do and why, and change nothing."""

from __future__ import annotations

from typing import Any

from stagerunner.clock import Clock
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import add_selection
from stagerunner.commands.flags import forecast
from stagerunner.commands.flags import load_all
from stagerunner.commands.flags import wanted_of
from stagerunner.errors import OK
from stagerunner.errors import PENDING
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py plan
  python src/pipeline_runner.py plan --check --until stage_copy
'''


def add_arguments(parser: Any) -> None:
    """Add the flags of a plan."""
    add_config(parser)
    add_selection(parser)
    parser.add_argument('--check', action='store_true',
                        help='exit with 10 when there is work to do')


def main(arguments: Any, system: Any) -> int:
    """Print a line per task: what would be done, and the reason."""
    console = (JsonLines(system.out) if arguments.json
               else Console(system.out, system.err, Clock()))
    found = forecast(load_all(arguments), arguments, system, console, wanted_of(arguments))
    return PENDING if arguments.check and found.pending else OK
