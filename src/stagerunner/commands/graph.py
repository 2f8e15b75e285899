"""Draw the stages of a pipeline and what waits for what."""

from __future__ import annotations

import json
from typing import Any

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.diagram import make_diagram
from stagerunner.diagram import to_json
from stagerunner.errors import OK
from stagerunner.report.graphs import FORMS

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py graph
  python src/pipeline_runner.py graph --format svg > pipeline.svg
'''


def add_arguments(parser: Any) -> None:
    """Add the choice of a form."""
    parser.add_argument('--format', choices=tuple(FORMS), default='text',
                        help='a line per stage (text), for Graphviz (dot), for Markdown '
                        '(mermaid), or an image (svg) (default: %(default)s)')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print the graph; with `--json` an object per stage, whatever the form."""
    diagram = make_diagram(load_all(arguments).workspace)
    if arguments.json:
        for node in diagram.nodes:
            system.out.line(json.dumps(to_json(node)))
    else:
        system.out.line(FORMS[arguments.format](diagram))
    return OK
