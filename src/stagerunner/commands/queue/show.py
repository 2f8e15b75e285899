"""Tell all that is known of one entry of the queue."""

from __future__ import annotations

import json
from typing import Any

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import as_json
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.schema import printable


def add_arguments(parser: Any) -> None:
    """Add the entry."""
    parser.add_argument('id', metavar='ID', help='name of the entry')
    example(parser, 'queue show doi:10.1234/x')


def main(arguments: Any, system: Any) -> int:
    """Print the entry and its attempts; changes nothing."""
    with opened_if_there(arguments) as queue:
        entry = queue.find(arguments.id) if queue else None
        attempts = queue.attempts(entry.id) if queue and entry else []
    if entry is None:
        raise UsageError(f'ID: there is no entry {printable(arguments.id)!r} in the queue; '
                         f"'queue list' shows those that there are")
    fields = as_json(entry)
    if arguments.json:
        answer(arguments, system, '', **fields,
               history=[attempt._asdict() for attempt in attempts])
        return OK
    for name, value in fields.items():
        if value is not None:
            system.out.line(f'{name:16} {_text(value)}')
    for attempt in attempts:
        said = f': {printable(attempt.error)}' if attempt.error else ''
        system.out.line(f'attempt {attempt.number:<8} {attempt.leased_at} to {attempt.ended_at} '
                        f'by {attempt.worker_id}: {attempt.outcome}{said}')
    return OK


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value))
