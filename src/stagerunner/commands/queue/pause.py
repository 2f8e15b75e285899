"""Hand out nothing of the queue any more."""

from __future__ import annotations

from typing import Any

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened
from stagerunner.errors import OK


def add_arguments(parser: Any) -> None:
    """Add nothing but an example."""
    example(parser, 'queue pause')


def main(arguments: Any, system: Any) -> int:
    """Pause the queue for all processes; what is leased may be finished."""
    with opened(arguments) as queue:
        queue.pause()
    answer(arguments, system, "paused: nothing is handed out until 'queue resume'",
           event='paused')
    return OK
