"""Put all rows of a file into the queue, or none of them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from typing import Iterator
from typing import List
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import entries
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened
from stagerunner.errors import OK
from stagerunner.errors import DefinitionError
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.schema import printable
from stagerunner.strictjson import parse
from stagerunner.work.entries import NewEntry
from stagerunner.work.entries import check_row

#: So many bad lines are told.
FAULTS = 20

#: A line that is longer is not read: no entry is like that, but a file of another kind may be.
LONGEST_LINE = 1 << 26

#: The first sign of progress comes after so many seconds, the next ones as far apart.
PROGRESS_S = 1.0

#: How often somebody looks at the clock, in lines.
_LINES_PER_LOOK = 4096


def add_arguments(parser: Any) -> None:
    """Add the file."""
    parser.add_argument('file', metavar='FILE.jsonl',
                        help='an object per line: "artifact_id", "artifact" (any JSON), and if '
                        'wanted "resolver_hint", "priority", "delay_sec"; - reads stdin')
    example(parser, 'queue import entries.jsonl')


def main(arguments: Any, system: Any) -> int:
    """Check all lines, then add them in one step: all, or on any fault none."""
    with opened(arguments) as queue:
        found = read_rows(arguments.file, system, Clock())
        n_new = queue.enqueue_many(found)
    n = len(found)
    known = f', {n - n_new} of them known already' if n_new < n else ''
    answer(arguments, system, f'imported {n_new} of {entries(n)}{known}', event='imported',
           new=n_new, known=n - n_new, total=n)
    return OK


def read_rows(path: str, system: Any, clock: Clock) -> List[NewEntry]:
    """Return all rows of a file (`-`: of stdin), or raise `DefinitionError` with the bad lines."""
    shown = 'stdin' if path == '-' else path
    found: List[NewEntry] = []
    faults: List[str] = []
    next_s = clock.monotonic() + PROGRESS_S
    for number, line in _lines(path, shown, system):
        if number % _LINES_PER_LOOK == 0 and system.err.is_terminal:
            now = clock.monotonic()
            if now >= next_s:
                next_s = now + PROGRESS_S
                system.err.line(f'{shown}: {number} lines read')
        if not line.strip():
            continue
        try:
            found.append(_entry(line))
        except (TypeError, ValueError) as error:
            said = printable(str(error)).replace(' at line 1 column', ' at column')
            faults.append(f'{shown}:{number}: {said}')
    if faults:
        more = len(faults) - FAULTS
        raise DefinitionError((
            *faults[:FAULTS], *([f'{shown}: and {more} more faults'] if more > 0 else []),
            f'{shown}: nothing was imported; mend it and import it again'))
    return found


def _entry(line: bytes) -> NewEntry:
    entry = check_row(parse(line.rstrip(b'\r\n'), refuses_repeats=True))
    if '\0' in entry[0]:
        raise ValueError('artifact_id must not hold a NUL character')
    return entry


def _lines(path: str, shown: str, system: Any) -> Iterator[Tuple[int, bytes]]:
    """Yield all lines with their numbers."""
    try:
        with (nullcontext(system.input) if path == '-' else open(path, 'rb')) as file:
            number = 0
            while True:
                line = file.readline(LONGEST_LINE)
                if not line:
                    return
                number += 1
                if len(line) == LONGEST_LINE:
                    raise DefinitionError((f'{shown}:{number}: is longer than '
                                           f'{LONGEST_LINE >> 20} MiB; nothing was imported',))
                yield number, line
    except FileNotFoundError:
        raise DefinitionError((f'{path}: there is no such file; name one, or - for stdin',)
                              ) from None
    except OSError as error:
        raise StateError(shown, os_fault(error)) from error
