"""Print where a published file came from, back to the files that no stage has made."""

from __future__ import annotations

import json
from typing import Any
from typing import Dict
from typing import List

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import file_from_root
from stagerunner.commands.flags import load_config
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.holdings import find_holdings
from stagerunner.lineage import CHANGED
from stagerunner.lineage import FOLDER
from stagerunner.lineage import MISSING
from stagerunner.lineage import Lineage
from stagerunner.lineage import Made
from stagerunner.lineage import Step
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.workspace import read_definition

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py trace data/output/result.txt
  python src/pipeline_runner.py trace data/output/result.txt --json
'''

#: What is said of a file that is not what it was.
_NOTES = {CHANGED: 'changed since', MISSING: 'gone'}

#: What is deeper is not moved further to the right.
_DEEPEST = 20


def add_arguments(parser: Any) -> None:
    """Add the file that is asked about."""
    parser.add_argument('file', metavar='FILE', help='a file that was published')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print a tree: a file, the task that made it, what that task read, and so on."""
    settings, _ = load_config(arguments)
    root = read_definition(arguments.pipeline, settings).root
    names = StateNames(root)
    warnings: List[str] = []
    lineage = Lineage(root, names, find_holdings(root, names, warnings))
    steps = lineage.trace(file_from_root(arguments.file, root))
    try:
        for step in steps:
            if step.depth == 0 and step.made is None and step.state == MISSING:
                raise UsageError(f'{printable(arguments.file)}: there is no such file, and none '
                                 'that was published')
            system.out.line(json.dumps(_as_object(step)) if arguments.json else _as_text(step))
    finally:
        lineage.close()
    for warning in warnings:
        system.err.line(f'warning: {printable(warning)}')
    return OK


def _as_text(step: Step) -> str:
    notes = [step.role] if step.role in ('processor', 'helper') else []
    if step.made is None and not notes:
        notes.append('folder' if step.state == FOLDER else 'source')
    notes += [_NOTES[step.state]] if step.state in _NOTES else []
    margin = '    ' * min(step.depth, _DEEPEST)
    shown = f" ({', '.join(notes)})" if notes else ''
    line = f'{margin}{printable(step.path)}{shown}'
    return line if step.made is None else f'{line}\n{margin}  {_about(step.made)}'


def _about(made: Made) -> str:
    verb = 'adopted for' if made.is_adopted else 'made by'
    text = f'{verb} {printable(made.task)} in run {printable(made.run_id)} at {made.done_at}'
    return f'{text} (see above)' if made.is_told_above else f'{text}, key {made.key[:12]}…'


def _as_object(step: Step) -> Dict[str, Any]:
    made = step.made
    return {'depth': step.depth, 'path': step.path, 'role': step.role,
            'sha256': step.digest or None, 'state': step.state,
            'madeBy': None if made is None else {
                'task': made.task, 'runId': made.run_id, 'doneAt': made.done_at, 'key': made.key,
                'adopted': made.is_adopted, 'toldAbove': made.is_told_above}}
