"""Queue the entries that ended in error again."""

from __future__ import annotations

from typing import Any

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import entries
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK


def add_arguments(parser: Any) -> None:
    """Add nothing but an example."""
    example(parser, 'queue retry-failed')


def main(arguments: Any, system: Any) -> int:
    """Give all entries in `error` their attempts back, and say how many."""
    with opened_if_there(arguments) as queue:
        n = queue.retry_failed() if queue else 0
    answer(arguments, system, f'queued again: {entries(n)}', event='queued_again', count=n)
    return OK
