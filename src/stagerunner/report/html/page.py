"""The whole page: what browsers are told, the head, all sections, the foot."""

from __future__ import annotations

from typing import Iterator
from typing import List
from typing import Tuple

from stagerunner import __version__
from stagerunner.clock import stamp
from stagerunner.report.html.parts import badge
from stagerunner.report.html.parts import moment
from stagerunner.report.html.parts import section
from stagerunner.report.html.stages import details
from stagerunner.report.html.stages import graph
from stagerunner.report.html.stages import rows
from stagerunner.report.html.style import STYLE
from stagerunner.report.html.summary import Account
from stagerunner.report.html.summary import summary
from stagerunner.report.html.summary import trouble
from stagerunner.report.html.summary import warnings
from stagerunner.report.html.timeline import timeline
from stagerunner.report.markup import escaped

#: Nothing is loaded and no script runs, whatever stands in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

#: A sheet with a tick, for the tab of the browser.
_ICON = ("data:image/svg+xml,%3Csvg%20xmlns='http:%2F%2Fwww.w3.org%2F2000%2Fsvg'%20"
         "viewBox='0%200%2016%2016'%3E%3Crect%20width='16'%20height='16'%20rx='4'%20"
         "fill='%230a58b8'/%3E%3Cpath%20d='M4%208.5l3%203%205-7'%20fill='none'%20"
         "stroke='%23fff'%20stroke-width='2'/%3E%3C/svg%3E")

#: A page should stay below this, in bytes.
_LARGE = 900_000

_NAMES = {'trouble': 'What went wrong', 'summary': 'Summary', 'graph': 'Picture',
          'timeline': 'Time line', 'stages': 'All stages', 'details': 'Stage by stage',
          'warnings': 'Warnings'}


def render(account: Account) -> bytes:
    """Return the report as the bytes of one file, ASCII so that no encoding can spoil it.

    Where it would be large, its lists are shorter.
    """
    while True:
        page = ''.join(_page(account)).encode('ascii', 'xmlcharrefreplace')
        if len(page) < _LARGE or not account.entries:
            return page
        account = account._replace(entries=account.entries // 4)


def _page(account: Account) -> Iterator[str]:
    parts = _parts(account)
    title = f'{account.run_id}: {account.state}'
    yield ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
           f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
           '<meta name="viewport" content="width=device-width, initial-scale=1">\n')
    if account.refresh_s:
        yield f'<meta http-equiv="refresh" content="{account.refresh_s}">\n'
    yield (f'<title>{escaped(title)}</title>\n<link rel="icon" href="{_ICON}">\n'
           f'<style>\n{STYLE}</style>\n</head>\n<body>\n'
           f'<a class="skip" href="#main">Skip to the content</a>\n{_header(account)}'
           '<nav aria-label="Parts of this page"><ul>')
    for name, content in parts:
        if content:
            yield f'<li><a href="#{name}">{_NAMES[name]}</a></li>'
    yield '</ul></nav>\n</header>\n<main id="main" tabindex="-1">\n'
    for _, content in parts:
        yield content
    yield f'</main>\n{_footer(account)}</body>\n</html>\n'


def _parts(account: Account) -> List[Tuple[str, str]]:
    return [('trouble', trouble(account)), ('summary', summary(account)),
            ('graph', graph(account)),
            ('timeline', section('timeline', 'Time line', timeline(account.story, account.now))),
            ('stages', rows(account)), ('details', details(account)),
            ('warnings', warnings(account))]


def _header(account: Account) -> str:
    live = ''
    if account.refresh_s:
        live = (f'<p class="meta" role="status">This page was written at '
                f'{moment(stamp(account.now))} and reloads itself. When that time stands '
                f'still for minutes, the run is not alive any more.</p>\n')
    pipeline = account.story.started.pipeline if account.story.started else ''
    return (f'<header>\n<h1>Run {escaped(account.run_id)} {badge(account.state)}</h1>\n'
            f'<p class="meta">{escaped(pipeline)}</p>\n{live}')


def _footer(account: Account) -> str:
    return (f'<footer><p>Written by stagerunner {escaped(__version__)} at '
            f'{moment(stamp(account.now))} from the audit of the run; it needs no network.</p>'
            f'</footer>\n')
