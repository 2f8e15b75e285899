"""Forget entries that are finished."""

from __future__ import annotations

import re
from typing import Any
from typing import List

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import entries
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.work.entries import FINISHED

_UNITS = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86_400, 'w': 604_800}


def add_arguments(parser: Any) -> None:
    """Add what to forget."""
    parser.add_argument('--state', metavar='S,S', default=','.join(FINISHED),
                        help='entries in one of these states (default: %(default)s)')
    parser.add_argument('--older-than', metavar='AGE', default='0',
                        help='only what was finished so long ago: 90s, 30m, 12h, 7d, 4w')
    example(parser, 'queue purge --state done,skipped --older-than 7d')


def main(arguments: Any, system: Any) -> int:
    """Forget the entries and say how many; what they published stays."""
    states, age_s = states_of(arguments.state), seconds_of(arguments.older_than)
    with opened_if_there(arguments) as queue:
        n = queue.purge(*states, older_than_sec=age_s) if queue else 0
    answer(arguments, system, f'purged {entries(n)}', event='purged', count=n)
    return OK


def states_of(text: str) -> List[str]:
    """Return names of states that a flag lists, or raise `UsageError`."""
    states = [name.strip() for name in text.split(',')]
    for name in states:
        if name not in FINISHED:
            raise UsageError(f'--state: expected some of {", ".join(FINISHED)}, got {name!r}; '
                             f'what is not finished is not purged')
    return states


def seconds_of(text: str) -> float:
    """Return an age as seconds, or raise `UsageError`.

    >>> seconds_of('7d'), seconds_of('90')
    (604800.0, 90.0)
    """
    found = re.fullmatch(r'([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhdw]?)', text.strip())
    if not found:
        raise UsageError(f'--older-than: expected an age such as 12h or 7d, got {text!r}')
    return float(found.group(1)) * _UNITS[found.group(2)]
