"""When which attempt ran: a lane per worker, computed from starts and durations."""

from __future__ import annotations

import heapq
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Sequence
from typing import Tuple

from stagerunner.events import stage_of
from stagerunner.report.html.parts import count
from stagerunner.report.html.parts import kind_of
from stagerunner.report.html.parts import seconds
from stagerunner.report.html.parts import table
from stagerunner.report.markup import escaped
from stagerunner.report.markup import shortened
from stagerunner.report.story import RUNNING
from stagerunner.report.story import Bar
from stagerunner.report.story import Story

#: Heights in pixels of a lane, of a bar in it, and of the axis below.
_LANE, _BAR, _AXIS = 26, 20, 24

#: The part of the width, in percent, in front of the lanes.
_LEFT = 8.0

#: So many of the longest attempts stand in the table too; a bar this long has its name on it.
_ROWS, _NAMED = 30, 7.0

#: Neighbouring stages have different tones of the colour of their status.
_TONES = 3

#: Distances between the marks of the axis, in seconds.
_STEPS = (*(number * unit for unit in (0.001, 0.01, 0.1) for number in (1, 2, 5)),
          *(number * unit for unit in (1, 60) for number in (1, 2, 5, 10, 15, 30)),
          *(number * 3600 for number in (1, 2, 5, 12, 24, 48, 120)))


class Laned(NamedTuple):
    """A bar and the number of its lane."""

    lane: int
    bar: Bar


def lanes_of(bars: Sequence[Bar]) -> List[Laned]:
    """Put each bar into the first lane that is free when it starts.

    >>> [lane for lane, _ in lanes_of([Bar(2, 0, 'a', 1, 'ok'), Bar(2, 1, 'b', 1, 'ok'),
    ...                                Bar(1, 2, 'c', 1, 'ok')])]
    [0, 1, 0]
    """
    free: List[int] = []
    busy: List[Tuple[float, int]] = []
    found = []
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.task, bar.attempt)):
        # What was measured by two clocks may overlap by some microseconds.
        while busy and busy[0][0] <= bar.start + 0.002:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (bar.start + bar.duration_s, lane))
        found.append(Laned(lane, bar))
    return found


def ticks(span_s: float, most: int = 8) -> List[float]:
    """Return round places on an axis from 0 to `span_s`.

    >>> ticks(4.2), ticks(600)
    ([0, 1, 2, 3, 4], [0, 120, 240, 360, 480, 600])
    """
    step = next((step for step in _STEPS if span_s / step < most), span_s / most)
    return [round(step * index, 6) for index in range(int(span_s / step + 1e-9) + 1)]


def timeline(story: Story, now: float) -> str:
    """Return the time line of a run, as an image and as a table."""
    bars = [*story.bars, *(Bar(max(0.001, now - running.start), running.start, running.task,
                               running.attempt, RUNNING) for running in story.running.values())]
    if not bars:
        return '<p class="soft">Nothing was executed.</p>'
    laned = lanes_of(bars)
    began = min(bar.start for bar in bars)
    span_s = max(max(bar.start + bar.duration_s for bar in bars) - began, 0.001)
    omitted = story.n_bars - len(story.bars)
    left_out = (f'<p class="soft">The {len(story.bars):,} longest attempts are drawn, '
                f'{omitted:,} shorter ones are not.</p>') if omitted else ''
    rows = sorted(bars, key=lambda bar: -bar.duration_s)[:_ROWS]
    longest = table(
        f'The {len(rows)} longest attempts', ('task', 'attempt', 'status', 'starts at', 'takes'),
        ([f'<code>{escaped(bar.task)}</code>', str(bar.attempt), escaped(bar.status),
          f'+{seconds(bar.start - began)}', seconds(bar.duration_s)] for bar in rows),
        numbers=(1, 3, 4))
    return (f'<section class="scroll" tabindex="0" aria-label="Lanes of the time line">'
            f'{"".join(_image(laned, began, span_s))}</section>{left_out}{_legend(bars)}'
            f'<details class="plain"><summary>The longest attempts as a table</summary>'
            f'{longest}</details>')


def _image(laned: Sequence[Laned], began: float, span_s: float) -> Iterator[str]:
    lanes = 1 + max(entry.lane for entry in laned)
    height = lanes * _LANE + _AXIS
    yield (f'<svg class="time" height="{height}" role="img" '
           f'aria-labelledby="time-line-title time-line-desc">'
           f'<title id="time-line-title">Time line</title><desc id="time-line-desc">'
           f'{count(len(laned), "attempt")} on {count(lanes, "worker")} within '
           f'{seconds(span_s)}; the table below lists the longest ones</desc>\n')
    for lane in range(lanes):
        yield (f'<rect class="lane" x="{_LEFT}%" y="{lane * _LANE + 1}" width="{100 - _LEFT}%" '
               f'height="{_LANE - 2}" rx="4"/><text x="0" y="{lane * _LANE + 17}">'
               f'worker {lane + 1}</text>\n')
    marks = ticks(span_s)
    decimals = 0 if marks[-1] >= 5 else 1 if marks[-1] >= 0.5 else 3
    for mark in marks:
        x = _place(mark, span_s)
        anchor = ' text-anchor="end"' if x > 97 else ''
        yield (f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{lanes * _LANE}"/>'
               f'<text x="{x:.2f}%" y="{height - 6}"{anchor}>{_clock(mark, decimals)}</text>\n')
    tones: Dict[str, int] = {}
    for lane, bar in laned:
        tone = tones.setdefault(stage_of(bar.task), len(tones) % _TONES)
        x, width = _place(bar.start - began, span_s), bar.duration_s / span_s * (100 - _LEFT)
        top = lane * _LANE + (_LANE - _BAR) / 2
        attempt = f', attempt {bar.attempt}' if bar.attempt > 1 else ''
        yield (f'<rect class="{kind_of(bar.status)} t{tone}" x="{x:.2f}%" y="{top:g}" '
               f'width="{max(width, 0.12):.2f}%" height="{_BAR}" rx="3"><title>'
               f'{escaped(bar.task)}{attempt}: {escaped(bar.status)}, {seconds(bar.duration_s)}'
               f'</title></rect>')
        if width >= _NAMED:
            # A character takes some 0.75 % of a narrow page.
            shown = shortened(bar.task if width > 20 else stage_of(bar.task), int(width / 0.75))
            yield (f'<text class="on" x="{x + 0.5:.2f}%" y="{top + 14:g}">{escaped(shown)}'
                   f'</text>')
        yield '\n'
    yield '</svg>'


def _place(offset_s: float, span_s: float) -> float:
    return _LEFT + offset_s / span_s * (100 - _LEFT)


def _clock(mark: float, decimals: int) -> str:
    """Return a place on the axis: seconds, or minutes and hours where there are many."""
    if mark < 120:
        return f'{mark:.{decimals}f} s'
    if mark < 7200:
        return f'{mark / 60:g} min'
    return f'{mark / 3600:g} h'


def _legend(bars: Sequence[Bar]) -> str:
    entries = ''.join(f'<li><span class="{kind_of(status)}" aria-hidden="true"></span>'
                      f'{escaped(status)}</li>' for status in sorted({bar.status for bar in bars}))
    return f'<ul class="legend">{entries}</ul>'
