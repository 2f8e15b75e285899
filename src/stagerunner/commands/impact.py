"""Print what would change if a file changed."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import List

from stagerunner.clock import Clock
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import file_from_root
from stagerunner.commands.flags import load_config
from stagerunner.errors import OK
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.holdings import find_holdings
from stagerunner.ledger import Ledger
from stagerunner.reach import Reach
from stagerunner.reach import Reached
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.tasks import in_order
from stagerunner.tasks import make_groups
from stagerunner.workspace import read_definition

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py impact data/input/sample.txt
  python src/pipeline_runner.py impact bin/stage_upper.py --json
'''


def add_arguments(parser: Any) -> None:
    """Add the file that is asked about."""
    parser.add_argument('file', metavar='FILE',
                        help='an input, an output, a processor or a module that it loads')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print each task that the file reaches, why, and below it what the task publishes."""
    settings, _ = load_config(arguments)
    workspace = read_definition(arguments.pipeline, settings)
    root = workspace.root
    names = StateNames(root)
    warnings: List[str] = []
    digests = Digests(names.index(), Clock())
    digests.load()
    observer = Observer(root, digests, '', system.environment, Ledger(root))
    reach = Reach(root, observer, in_order(make_groups(workspace)), workspace.pipeline.items,
                  find_holdings(root, names, warnings))
    path = file_from_root(arguments.file, root)
    n_tasks = n_outputs = 0
    for found in reach.of(path):
        n_tasks += 1
        n_outputs += len(found.outputs)
        for line in [json.dumps(_as_object(found))] if arguments.json else _lines(found):
            system.out.line(line)
    for warning in warnings:
        system.err.line(f'warning: {printable(warning)}')
    if not arguments.json:
        whole = (f"{n_tasks} task{'s' * (n_tasks != 1)} and {n_outputs} "
                 f"output{'s' * (n_outputs != 1)}" if n_tasks else 'nothing')
        missing = '' if os.path.lexists(os.path.join(root, path)) else ' (which is not there)'
        system.out.line(f'{whole} would change with {printable(path)}{missing}')
    return OK


def _lines(found: Reached) -> List[str]:
    reasons = ', '.join(f'{cause} {printable(path)}' for cause, path in found.reasons[:3])
    more = len(found.reasons) - 3
    return [f'{printable(found.task)} ({reasons}{f" and {more} more" if more > 0 else ""})',
            *(f'  {printable(path)}' for path in found.outputs)]


def _as_object(found: Reached) -> Dict[str, Any]:
    return {'task': found.task, 'stage': found.stage, 'outputs': list(found.outputs),
            'reasons': [{'cause': cause, 'path': path} for cause, path in found.reasons]}
