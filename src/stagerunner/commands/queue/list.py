"""List entries of the queue."""

from __future__ import annotations

from typing import Any
from typing import Optional

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import as_json
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.schema import printable
from stagerunner.work.entries import Entry
from stagerunner.work.entries import JobState

#: So many entries are listed unless more are asked for.
LIMIT = 100


def add_arguments(parser: Any) -> None:
    """Add what to list."""
    parser.add_argument('--state', choices=[state.value for state in JobState],
                        help='only entries in this state')
    parser.add_argument('--limit', metavar='N', type=int, default=LIMIT,
                        help='no more than so many, the oldest first (default: %(default)s)')
    example(parser, 'queue list --state error')


def main(arguments: Any, system: Any) -> int:
    """Print a line per entry; changes nothing."""
    if arguments.limit < 1:
        raise UsageError(f'--limit: expected a number above 0, got {arguments.limit}')
    n_more = 0
    with opened_if_there(arguments) as queue:
        found = queue.entries(arguments.state, limit=arguments.limit) if queue else []
        if queue is not None and len(found) == arguments.limit:
            counts = queue.stats()
            n_more = counts[arguments.state or 'total'] - len(found)
    for entry in found:
        answer(arguments, system, line_of(entry), **as_json(entry))
    if not found and not arguments.json:
        state = f' in state {arguments.state}' if arguments.state else ''
        system.out.line(f'0 entries{state}')
    if n_more > 0:
        system.err.line(f'note: {n_more} more; list them with a higher --limit')
    return OK


def line_of(entry: Entry) -> str:
    """Return an entry in one line: state, id, and what people look for."""
    text = f'{entry.state:12} {entry.artifact_id}  attempts {entry.attempts}'
    if entry.priority:
        text += f'  priority {entry.priority}'
    if entry.state == JobState.IN_PROGRESS.value:
        text += f'  leased by {entry.worker_id} until {entry.lease_expires_at}'
    elif entry.state == JobState.QUEUED.value and entry.available_at:
        text += f'  not before {entry.available_at}'
    error = first_line(entry.last_error)
    return f'{text}  ({error})' if error else text


def first_line(error: Optional[str]) -> str:
    """Return how an error begins, fit for a terminal."""
    return printable((error or '').partition('\n')[0])
