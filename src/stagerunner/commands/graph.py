"""Draw the stages of a pipeline and what waits for what."""

from __future__ import annotations

import json
from typing import Any

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.diagram import make_diagram
from stagerunner.diagram import to_json
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.report.graphs import FORMS

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py graph
  python src/pipeline_runner.py graph --format svg > pipeline.svg
'''


def add_arguments(parser: Any) -> None:
    """Add the choice of a form."""
    parser.add_argument('--format', choices=tuple(FORMS),
                        help='a line per stage (text, the default), for Graphviz (dot), for '
                        'Markdown (mermaid), or an image (svg)')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print the graph; with `--json` an object per stage."""
    if arguments.json and arguments.format:
        raise UsageError(f'--format {arguments.format} and --json are two forms; leave one out')
    diagram = make_diagram(load_all(arguments).workspace)
    if arguments.json:
        for node in diagram.nodes:
            system.out.line(json.dumps(to_json(node)))
    else:
        system.out.line(FORMS[arguments.format or 'text'](diagram))
    return OK
