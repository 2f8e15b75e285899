"""A diagram as text, as DOT for Graphviz, as Mermaid for Markdown, and as SVG."""

from __future__ import annotations

from typing import Callable
from typing import Dict
from typing import Iterator

from stagerunner.diagram import DATA
from stagerunner.diagram import DECLARED
from stagerunner.diagram import Diagram
from stagerunner.diagram import Need
from stagerunner.diagram import Node
from stagerunner.report.drawing import Shape
from stagerunner.report.drawing import draw
from stagerunner.schema import printable

#: How a kind of need is told, where it is not the usual one.
_TOLD = {'items': 'item by item', 'collection': 'its items', DECLARED: 'dependsOn'}

#: No column of the text is padded to more characters.
_WIDEST = 40


def as_text(diagram: Diagram) -> str:
    """Return a line per stage: its name, how many tasks it has, what it waits for."""
    count = len(diagram.nodes)
    names = min(_WIDEST, max(len(node.stage) for node in diagram.nodes))
    sizes = min(_WIDEST, max(len(node.size) for node in diagram.nodes))
    lines = [f'{printable(diagram.pipeline)}: {count} stage{"" if count == 1 else "s"}']
    for node in diagram.nodes:
        after = f'after {", ".join(map(_told, node.needs))}' if node.needs else ''
        size = f'{node.size:{sizes}}  ' if sizes else ''
        lines.append(f'  {node.stage:{names}}  {size}{after}'.rstrip())
    return '\n'.join(lines)


def _told(need: Need) -> str:
    kinds = [_TOLD[kind] for kind in need.kinds if kind in _TOLD]
    return f'{need.stage} ({", ".join(kinds)})' if kinds else need.stage


def as_dot(diagram: Diagram) -> str:
    """Return the graph for `dot -Tsvg` and its relatives."""
    lines = ['digraph pipeline {', f'  label={_dot_text(diagram.pipeline)};',
             '  node [shape=box, style=rounded];']
    for node in diagram.nodes:
        label = f'{node.stage}\n{node.size}' if node.size else node.stage
        lines.append(f'  {_dot_text(node.stage)} [label={_dot_text(label)}];')
    for node in diagram.nodes:
        for need in node.needs:
            style = ' [style=dashed]' if need.kinds == (DECLARED,) else ''
            lines.append(f'  {_dot_text(need.stage)} -> {_dot_text(node.stage)}{style};')
    return '\n'.join([*lines, '}'])


def _dot_text(text: str) -> str:
    r"""Return a quoted string of DOT, in which a backslash of the text is no escape.

    >>> print(_dot_text('a "b"\nc\\'))
    "a \"b\"\nc\\"
    """
    shown = '\n'.join(printable(line) for line in text.split('\n'))
    return '"' + shown.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n') + '"'


def as_mermaid(diagram: Diagram) -> str:
    """Return the graph as Markdown viewers draw it; nodes are numbered, names are labels."""
    numbers = {node.stage: f's{index}' for index, node in enumerate(diagram.nodes)}
    lines = ['flowchart TD']
    for node in diagram.nodes:
        label = f'{node.stage}<br>{node.size}' if node.size else node.stage
        lines.append(f'  {numbers[node.stage]}["{label}"]')
    for node in diagram.nodes:
        for need in node.needs:
            arrow = '-.->' if need.kinds == (DECLARED,) else '-->'
            lines.append(f'  {numbers[need.stage]} {arrow} {numbers[node.stage]}')
    return '\n'.join(lines)


def as_svg(diagram: Diagram) -> str:
    """Return the graph as an image that needs nothing beside it."""
    image = draw([Shape(node.stage, node.size, tooltip=_tooltip(node)) for node in diagram.nodes],
                  diagram.needs(), f'Stages of the pipeline {diagram.pipeline}',
                  declared=[(node.stage, need.stage) for node in diagram.nodes
                            for need in node.needs if need.kinds == (DECLARED,)]).svg
    # Whatever encoding a pipe or a console has, the image says the same.
    return image.rstrip('\n').encode('ascii', 'xmlcharrefreplace').decode('ascii')


def _tooltip(node: Node) -> str:
    return '\n'.join(_facts(node))


def _facts(node: Node) -> Iterator[str]:
    yield node.stage
    yield f'processor: {node.processor}'
    yield f'output folder: {node.output_dir}'
    if node.size:
        yield node.size
    for need in node.needs:
        kinds = ', '.join(_TOLD.get(kind, kind) for kind in need.kinds if kind != DATA)
        yield f'after {need.stage}' + (f' ({kinds})' if kinds else '')


#: Every form of the graph, by the name that `--format` takes.
FORMS: Dict[str, Callable[[Diagram], str]] = {
    'text': as_text, 'dot': as_dot, 'mermaid': as_mermaid, 'svg': as_svg}
