"""Small pieces of the report: badges, durations, sizes, tables, lists that are cut."""

from __future__ import annotations

from typing import Any
from typing import Iterable
from typing import List
from typing import Optional
from typing import Sequence

from stagerunner.report.markup import escaped

#: A sign for each status, so that colour is not all that tells them apart.
SIGNS = {'ok': '✓', 'completed': '✓', 'skipped': '–', 'failed': '✗', 'crashed': '✗',
         'unfinished': '✗', 'running': '▶', 'waiting': '·', 'not started': '·',
         'blocked': '■', 'cancelled': '■', 'interrupted': '!'}


def kind_of(status: str) -> str:
    """Return the class of a status in the style sheet."""
    return escaped(status).replace(' ', '-')


def badge(status: str) -> str:
    """Return a status as people see it."""
    sign = SIGNS.get(status, '?')
    return (f'<span class="badge {kind_of(status)}"><span aria-hidden="true">{sign}</span> '
            f'{escaped(status)}</span>')


def seconds(value: Optional[float]) -> str:
    """Return a duration.

    >>> seconds(0.0421), seconds(7.25), seconds(62), seconds(7265), seconds(None)
    ('0.042 s', '7.25 s', '1 min 2 s', '2 h 1 min', '–')
    """
    if value is None:
        return '–'
    if value < 1:
        return f'{value:.3f} s'
    if value < 60:
        return f'{value:.2f} s'
    whole = int(round(value))
    if whole < 3600:
        return f'{whole // 60} min {whole % 60} s'
    return f'{whole // 3600} h {whole // 60 % 60} min'


def size(value: Optional[float]) -> str:
    """Return a number of bytes.

    >>> size(980), size(20_480), size(123_456_789), size(None)
    ('980 B', '20.0 KiB', '117.7 MiB', '–')
    """
    if value is None:
        return '–'
    if value < 1024:
        return f'{value:.0f} B'
    for unit in ('KiB', 'MiB', 'GiB', 'TiB'):
        value /= 1024
        if value < 1024 or unit == 'TiB':
            break
    return f'{value:.1f} {unit}'


def count(number: int, noun: str) -> str:
    """Return a number of things.

    >>> count(1, 'stage'), count(1200, 'task'), count(2, 'retry')
    ('1 stage', '1,200 tasks', '2 retries')
    """
    plural = f'{noun[:-1]}ies' if noun.endswith('ry') else f'{noun}s'
    return f'{number:,} {noun if number == 1 else plural}'


def moment(text: Any) -> str:
    """Return a time stamp of a record for people, with the whole of it for machines."""
    if not isinstance(text, str) or len(text) < 19:
        return '–'
    shown = text[:19].replace('T', ' ')
    return f'<time datetime="{escaped(text[:23])}Z">{escaped(shown)} UTC</time>'


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]],
          numbers: Sequence[int] = ()) -> str:
    """Return a table of cells that are markup already; the first of a row names it.

    `numbers` are the columns that are flush right.
    """
    def kind(index: int) -> str:
        return ' class="n"' if index in numbers else ''

    head = ''.join(f'<th scope="col"{kind(index)}>{escaped(name)}</th>'
                   for index, name in enumerate(columns))
    body = ''.join(
        '<tr><th scope="row">' + first + '</th>' + ''.join(
            f'<td{kind(index)}>{cell}</td>' for index, cell in enumerate(cells, 1)) + '</tr>\n'
        for first, *cells in rows)
    return (f'<section class="scroll" tabindex="0" aria-label="{escaped(caption)}">'
            f'<table><caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead>\n'
            f'<tbody>{body}</tbody></table></section>')


def facts(pairs: Iterable[Sequence[str]]) -> str:
    """Return a list of names and what they are, the second as markup; empty ones are left out."""
    rows = ''.join(f'<dt>{escaped(name)}</dt><dd>{value}</dd>' for name, value in pairs if value)
    return f'<dl class="facts">{rows}</dl>' if rows else ''


def bullets(entries: Sequence[str], total: Optional[int] = None) -> str:
    """Return a list of entries that are markup already, and how many more there are."""
    more = (len(entries) if total is None else total) - len(entries)
    rows: List[str] = [f'<li>{entry}</li>' for entry in entries]
    if more > 0:
        rows.append(f'<li class="soft">and {more:,} more</li>')
    return f'<ul class="list">{"".join(rows)}</ul>'


def code(text: Any) -> str:
    """Return something literal."""
    return f'<code>{escaped(str(text))}</code>'


def section(name: str, title: str, content: str, kind: str = '') -> str:
    """Return a landmark of the page."""
    classes = f' class="{kind}"' if kind else ''
    return (f'<section id="{name}" aria-labelledby="{name}-title"{classes}>'
            f'<h2 id="{name}-title">{escaped(title)}</h2>\n{content}</section>\n')
