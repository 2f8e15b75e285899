"""Say why a stage or task would run, with old and new values, and change nothing."""

from __future__ import annotations

import json
from typing import Any
from typing import List

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import forecast
from stagerunner.commands.flags import load_all
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskPlanned
from stagerunner.events import stage_of
from stagerunner.schema import no_stage
from stagerunner.schema import printable
from stagerunner.selection import Wanted
from stagerunner.state.stage import reasons_to_json

#: So much of a value is shown to people; `--json` has all of it.
_SHOWN = 60

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py why stage_upper
  python src/pipeline_runner.py why 'clean[paper_02.txt]' --pipeline examples/papers/pipeline.json
'''


class _Gathered(Sink):
    """Keeps what is planned for one stage, or one task of it."""

    def __init__(self, name: str):
        self.name = name
        self.plans: List[TaskPlanned] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, TaskPlanned) and self.name in (event.task, event.stage):
            self.plans.append(event)


def add_arguments(parser: Any) -> None:
    """Add what is asked about."""
    parser.add_argument('task', metavar='STAGE', help='a stage, or one of its tasks: stage[item]')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print every cause; a line per task, and one below it for each value that changed."""
    name = arguments.task
    stage = stage_of(name)
    loaded = load_all(arguments)
    stages = [known.name for known in loaded.workspace.pipeline.stages]
    if stage not in stages:
        raise UsageError(no_stage(stage, stages))
    found = _Gathered(name)
    forecast(loaded, arguments, system, found, Wanted(until=(stage,)))
    if not found.plans and name != stage:
        raise UsageError(f"stage '{stage}' has no task '{printable(name)}'")
    if not found.plans and not arguments.json:
        system.out.line(f'{stage}: no tasks')
    for plan in found.plans:
        _tell(plan, arguments, system)
    return OK


def _tell(plan: TaskPlanned, arguments: Any, system: Any) -> None:
    if arguments.json:
        system.out.line(json.dumps({'task': plan.task, 'stage': plan.stage,
                                    'decision': plan.decision,
                                    'reasons': reasons_to_json(plan.reasons)}))
        return
    system.out.line(f'{plan.task}: {plan.decision}')
    for reason in plan.reasons:
        system.out.line(f'  {printable(str(reason))}')
        if reason.old is not None or reason.new is not None:
            system.out.line(f'    was {_shown(reason.old)}, is {_shown(reason.new)}')


def _shown(value: Any) -> str:
    if value is None:
        return 'nothing'
    text = printable(str(value))
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'
