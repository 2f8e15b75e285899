"""Tell how many entries of the queue are in which state."""

from __future__ import annotations

from typing import Any
from typing import Dict

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK
from stagerunner.sharing import pause
from stagerunner.work.entries import JobState

#: Between two looks of `--watch` lie so many seconds.
WATCH_S = 1.0


def add_arguments(parser: Any) -> None:
    """Add the flag that looks again and again."""
    parser.add_argument('--watch', action='store_true',
                        help='print a line each second, until Ctrl-C')
    example(parser, 'queue stats', 'queue stats --watch')


def main(arguments: Any, system: Any) -> int:
    """Print the counts; changes nothing."""
    if not arguments.watch:
        found = look(arguments)
        answer(arguments, system, as_table(found), **found)
        return OK
    clock = Clock()
    while system.out.is_open:
        found = look(arguments)
        counts = ', '.join(f'{name} {found[name]}' for name in _shown())
        paused = ' (paused)' if found['paused'] else ''
        answer(arguments, system, f'{stamp(clock.now())} {counts}{paused}',
               at=stamp(clock.now()), **found)
        pause(WATCH_S)
    return OK


def _shown() -> list:  # type: ignore[type-arg]
    return [*(state.value for state in JobState), 'total']


def look(arguments: Any) -> Dict[str, Any]:
    """Return the counts, whether the queue is paused, and how many late finishes were refused."""
    with opened_if_there(arguments) as queue:
        if queue is None:
            return dict(dict.fromkeys(_shown(), 0), paused=False, refused=0)
        return dict(queue.stats(), paused=queue.is_paused(), refused=queue.refused())


def as_table(found: Dict[str, Any]) -> str:
    """Return counts for people, one per line.

    >>> print(as_table({'queued': 2, 'in_progress': 0, 'done': 10, 'skipped': 0, 'error': 0,
    ...                 'total': 12, 'paused': False, 'refused': 0}))
    queued            2
    in_progress       0
    done             10
    skipped           0
    error             0
    total            12
    """
    lines = [f'{name:12}{found[name]:7}' for name in _shown()]
    if found['refused']:
        lines.append(f'{found["refused"]} late finishes of lost leases were refused')
    if found['paused']:
        lines.append("paused: nothing is handed out until 'queue resume'")
    return '\n'.join(lines)
