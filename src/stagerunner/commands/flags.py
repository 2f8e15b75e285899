"""Flags that several commands share, and what they mean."""

from __future__ import annotations

from typing import Any
from typing import Mapping
from typing import Optional

from stagerunner.errors import UsageError
from stagerunner.selection import Wanted

#: How many tasks run at once where no flag says it.
WORKERS_VARIABLE = 'PIPELINE_MAX_WORKERS'

#: More than this is a slip of the finger: every worker is a process.
_MOST_WORKERS = 10_000


def add_selection(parser: Any) -> None:
    """Add the flags of a partial run."""
    parser.add_argument('--only', metavar='STAGE', action='append', default=[],
                        help='run this stage alone; may be given several times')
    parser.add_argument('--until', metavar='STAGE', action='append', default=[],
                        help='run this stage and what it needs')
    parser.add_argument('--force', metavar='STAGE', action='append', default=[],
                        help='run this stage even if nothing changed; what its new outputs '
                        'touch follows')
    parser.add_argument('--resume-from', metavar='STAGE',
                        help='take the stages declared before this one as they are, run it and '
                        'all after it')


def wanted_of(arguments: Any) -> Wanted:
    """Return what the flags of a partial run ask for."""
    return Wanted(tuple(arguments.only), tuple(arguments.until), tuple(arguments.force),
                  arguments.resume_from)


def workers_of(flag: Optional[str], environment: Mapping[str, str]) -> int:
    """Return how many tasks may run at once, or raise `UsageError`."""
    for source, text in (('--max-workers', flag),
                         (WORKERS_VARIABLE, environment.get(WORKERS_VARIABLE) or None)):
        if text is not None:
            if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
                raise UsageError(f'{source}: expected a number from 1 to {_MOST_WORKERS}, '
                                 f'got {text!r}')
            return int(text)
    return 1
