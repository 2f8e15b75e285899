"""A graph of stages as one self-contained SVG image, light or dark as its reader likes it."""

from __future__ import annotations

from typing import AbstractSet
from typing import Iterator
from typing import List
from typing import Mapping
from typing import Sequence
from typing import Tuple

from stagerunner.layout import BOX_HEIGHT
from stagerunner.layout import Layout
from stagerunner.layout import Line
from stagerunner.layout import arrange
from stagerunner.layout import without_implied
from stagerunner.records import NamedTuple
from stagerunner.report.markup import escaped
from stagerunner.report.markup import shortened

#: With more lines than this for each box, those that follow from others are not drawn.
_LINES_PER_BOX = 3

#: Widths in pixels of a character of the label and of the note, and of what surrounds them.
_LABEL, _NOTE, _PADDING = 7.9, 6.5, 26

#: So many characters of a name or note are drawn; a tooltip has all of it.
_SHOWN = 30

STYLE = '''\
.drawing{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.drawing rect{fill:#fff;stroke:#8a94a6;stroke-width:1.25}
.drawing .label{font-size:13px;font-weight:600;fill:#1c2430}
.drawing .note{font-size:11px;fill:#5a6474}
.drawing .line{fill:none;stroke:#8a94a6;stroke-width:1.4}
.drawing .declared{stroke-dasharray:5 4}
.drawing .tip,.drawing .hub{fill:#8a94a6}
@media (prefers-color-scheme:dark){
.drawing rect{fill:#1d2430;stroke:#66728a}
.drawing .label{fill:#e8edf5}
.drawing .note{fill:#a3aec0}
.drawing .line{stroke:#66728a}
.drawing .tip,.drawing .hub{fill:#66728a}
}
'''


class Shape(NamedTuple):
    """A box to draw: name, a second line, a class for its colours, all that a tooltip says.

    `link` is where a click leads, if anywhere.
    """

    name: str
    note: str = ''
    kind: str = ''
    tooltip: str = ''
    link: str = ''


class Drawing(NamedTuple):
    """An image as text, and how many lines were left out because others imply them."""

    svg: str
    omitted: int


def draw(shapes: Sequence[Shape], needs: Mapping[str, Sequence[str]], title: str, *,
         declared: Sequence[Tuple[str, str]] = (), style: str = STYLE) -> Drawing:
    """Return the image of a graph whose boxes stand after what they need.

    `declared` are pairs (stage, what it needs) that no data goes between: they
    are dashed.  Without `style` it is for a page of HTML, which has
    to bring that.
    """
    drawn: Mapping[str, Sequence[str]] = needs
    count = sum(len(wanted) for wanted in needs.values())
    if count > _LINES_PER_BOX * len(shapes):
        drawn = without_implied(needs)
    omitted = count - sum(len(wanted) for wanted in drawn.values())
    layout = arrange(drawn, {shape.name: _width(shape) for shape in shapes})
    dashed = set(declared)
    parts: List[str] = list(_head(layout, title, _described(len(shapes), count, omitted), style))
    parts += [_line(line, dashed) for line in layout.lines]
    parts += [f'<circle class="hub" cx="{x:.0f}" cy="{y:.0f}" r="3.5"/>' for x, y in layout.hubs]
    parts += [_box(shape, layout) for shape in shapes]
    return Drawing('\n'.join([*parts, '</svg>\n']), omitted)


def _described(boxes: int, lines: int, omitted: int) -> str:
    left_out = f'; {omitted} that follow from others are not drawn' if omitted else ''
    return (f'{boxes} stage{"" if boxes == 1 else "s"}, from top to bottom; {lines} '
            f'line{"" if lines == 1 else "s"} from what is waited for to what waits{left_out}')


def _width(shape: Shape) -> float:
    return max(96.0, len(shortened(shape.name, _SHOWN)) * _LABEL + _PADDING,
               len(shortened(shape.note, _SHOWN)) * _NOTE + _PADDING)


def _head(layout: Layout, title: str, description: str, style: str) -> Iterator[str]:
    width, height = round(layout.width), round(layout.height)
    # Inside a page an image is part of it, and its links can be followed.
    space, role = (' xmlns="http://www.w3.org/2000/svg"', 'img') if style else ('', 'group')
    yield (f'<svg{space} class="drawing" role="{role}" '
           f'aria-labelledby="drawing-title drawing-desc" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}">')
    yield f'<title id="drawing-title">{escaped(title)}</title>'
    yield f'<desc id="drawing-desc">{escaped(description)}</desc>'
    if style:
        yield f'<style>\n{style}</style>'


def _line(line: Line, dashed: AbstractSet[Tuple[str, str]]) -> str:
    (x, top), (_, leaves), (end, arrives) = line.points
    middle = (leaves + arrives) / 2
    down = f'V{leaves:.0f}' if leaves != top else ''
    tip = 5 if line.target else 0
    curve = (f'C{x:.0f} {middle:.0f} {end:.0f} {middle:.0f} {end:.0f} {arrives - tip:.0f}'
             if abs(x - end) >= 0.5 else f'V{arrives - tip:.0f}')
    kind = 'line declared' if (line.target, line.source) in dashed else 'line'
    found = f'<path class="{kind}" d="M{x:.0f} {top:.0f}{down}{curve}"/>'
    if line.target:
        found += (f'<path class="tip" d="M{end:.0f} {arrives:.0f}l-4 -7h8z"/>')
    return found


def _box(shape: Shape, layout: Layout) -> str:
    x, y, width = layout.boxes[shape.name]
    middle = x + width / 2
    label_y = y + (20 if shape.note else BOX_HEIGHT / 2 + 4.5)
    inner = [f'<title>{escaped(shape.tooltip or shape.name)}</title>',
             f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{BOX_HEIGHT}" rx="8"/>']
    for kind, at, text in (('label', label_y, shape.name), ('note', y + 36, shape.note)):
        if text:
            inner.append(f'<text class="{kind}" x="{middle:.1f}" y="{at:.1f}" '
                         f'text-anchor="middle">{escaped(shortened(text, _SHOWN))}</text>')
    group = f'<g class="box {shape.kind}">' if shape.kind else '<g class="box">'
    found = group + ''.join(inner) + '</g>'
    return f'<a href="{escaped(shape.link)}">{found}</a>' if shape.link else found
