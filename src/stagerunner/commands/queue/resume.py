"""Hand out entries of the queue again."""

from __future__ import annotations

from typing import Any

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK


def add_arguments(parser: Any) -> None:
    """Add nothing but an example."""
    example(parser, 'queue resume')


def main(arguments: Any, system: Any) -> int:
    """Let entries be handed out again; of a queue that was not paused that is so already."""
    with opened_if_there(arguments) as queue:
        if queue is not None:
            queue.resume()
    answer(arguments, system, 'resumed: entries are handed out', event='resumed')
    return OK
