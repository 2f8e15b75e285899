"""Print the JSON Schema of a definition, or of a config."""

from __future__ import annotations

import json
from typing import Any

from stagerunner.blueprint import as_file
from stagerunner.blueprint import config_schema
from stagerunner.blueprint import pipeline_schema
from stagerunner.errors import OK

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py schema > pipeline.schema.json
  python src/pipeline_runner.py schema --config
'''


def add_arguments(parser: Any) -> None:
    """Add the choice between the two."""
    parser.add_argument('--config', action='store_true',
                        help='that of pipeline_config.json instead of pipeline.json')


def main(arguments: Any, system: Any) -> int:
    """Print the schema; with `--json` on one line."""
    schema = config_schema() if arguments.config else pipeline_schema()
    system.out.line(json.dumps(schema) if arguments.json else as_file(schema).rstrip('\n'))
    return OK
