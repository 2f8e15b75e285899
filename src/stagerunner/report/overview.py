"""How a run that goes on is put before people: a headline, and the tasks that run longest."""

from __future__ import annotations

from typing import Callable
from typing import List
from typing import Optional
from typing import Sequence

from stagerunner.records import NamedTuple
from stagerunner.report.tally import Running
from stagerunner.report.tally import Tally
from stagerunner.report.terminal import cut
from stagerunner.report.terminal import width_of
from stagerunner.schema import printable

#: Tasks with a row of their own, and the columns of their names, at most.
MOST_ROWS = 5
_NAME_COLUMNS = 44


class Mark(NamedTuple):
    """The line that a running attempt committed last, and how many it does per second."""

    line_offset: int
    per_second: Optional[float]


class Sources(NamedTuple):
    """What is looked up elsewhere: marks of attempts, and what a stage took the last time."""

    mark: Callable[[Running], Optional[Mark]]
    expected: Callable[[str], Optional[float]]


def duration(seconds: float) -> str:
    """Return a duration as people read it.

    >>> duration(7.4), duration(62), duration(7265), duration(200000)
    ('7s', '1m02s', '2h01m', '2d07h')
    """
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f'{whole}s'
    if whole < 3600:
        return f'{whole // 60}m{whole % 60:02d}s'
    if whole < 86400:
        return f'{whole // 3600}h{whole // 60 % 60:02d}m'
    return f'{whole // 86400}d{whole // 3600 % 24:02d}h'


def rate(per_second: float) -> str:
    """Return a frequency as people read it.

    >>> rate(12.5), rate(0.2), rate(0.001)
    ('12.5/s', '12/min', '3.6/h')
    """
    for factor, unit in ((1, 's'), (60, 'min')):
        if per_second * factor >= 1:
            return f'{_number(per_second * factor)}/{unit}'
    return f'{_number(per_second * 3600)}/h'


def _number(value: float) -> str:
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def overview(tally: Tally, now: float, columns: int, sources: Sources, *,
             is_one_line: bool = False) -> List[str]:
    """Return the headline and a row for each of the slowest tasks.

    Of one line the end is about the slowest task, as far as there is room.
    """
    rows = tally.slowest(1 if is_one_line else MOST_ROWS)
    if is_one_line:
        return [headline(tally, now, columns, sources, [_told(row, now, sources) for row in rows])]
    name_columns = min(_NAME_COLUMNS, max([width_of(printable(row.task)) for row in rows] or [0]))
    return [headline(tally, now, columns, sources)] + [
        _row(row, now, name_columns, sources) for row in rows]


def headline(tally: Tally, now: float, columns: int, sources: Sources,
             more: Sequence[str] = ()) -> str:
    """Return as much of the summary as has room in one line, what matters most first."""
    counts = tally.counts()
    parts = [f'[{counts.done}/{counts.total}]']
    for number, what in ((counts.failed, 'failed'), (counts.not_run, 'not run'),
                         (counts.running, 'running'), (counts.waiting, 'waiting')):
        if number:
            parts.append(f'{number} {what}')
    left_s = tally.remaining_s(now, sources.expected)
    if left_s is not None and counts.running:
        parts.append(f'~{duration(left_s)} left')
    parts += more
    per_second = tally.per_second(now)
    if per_second is not None:
        parts.append(rate(per_second))
    if tally.began is not None:
        parts.append(f'{duration(now - tally.began)} so far')
    text = parts[0]
    for part in parts[1:]:
        separator = ' ' if text == parts[0] else ', '
        if width_of(text + separator + part) < columns:
            text += separator + part
    return text


def _row(running: Running, now: float, name_columns: int, sources: Sources) -> str:
    name = cut(printable(running.task), name_columns)
    return f'  {name}{" " * (name_columns - width_of(name))}  {_so_far(running, now, sources)}'


def _told(running: Running, now: float, sources: Sources) -> str:
    return f'{printable(running.task)} {_so_far(running, now, sources).strip()}'


def _so_far(running: Running, now: float, sources: Sources) -> str:
    text = f'{duration(now - running.since):>6}'
    mark = sources.mark(running)
    if mark is not None:
        speed = f' ({rate(mark.per_second)})' if mark.per_second else ''
        text += f'  line {mark.line_offset}{speed}'
    return f'{text}  attempt {running.attempt}' if running.attempt > 1 else text
