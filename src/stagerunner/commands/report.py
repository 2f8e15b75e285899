"""Write the report of a run: one HTML file with everything in it."""

from __future__ import annotations

import json
import os
from typing import Any

from stagerunner.clock import Clock
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.files import write_bytes
from stagerunner.keys import name_complaint
from stagerunner.report.accounts import account_of
from stagerunner.report.html.page import render
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.state.run import known_runs

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py report
  python src/pipeline_runner.py report demo1 -o report.html
'''


def add_arguments(parser: Any) -> None:
    """Add the run and where its report goes."""
    parser.add_argument('run', metavar='RUN', nargs='?',
                        help='the id of a run (default: the last one)')
    parser.add_argument('-o', '--output', metavar='FILE',
                        help='where to write it, - for stdout (default: state/report_RUN.html)')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Write the report, of a run that goes on or was killed too."""
    root = os.path.dirname(os.path.abspath(arguments.pipeline))
    if arguments.json and arguments.output == '-':
        raise UsageError('--json and -o - both want stdout; leave one of them out')
    run_id = chosen_run(root, arguments.run)
    account = account_of(root, run_id, Clock().now(), lambda: load_all(arguments).workspace)
    page = render(account)
    if arguments.output == '-':
        system.out.line(page.decode('ascii').rstrip('\n'))
        return OK
    path = arguments.output or StateNames(root).report(run_id)
    write_bytes(path, page, durable=False)
    if arguments.json:
        system.out.line(json.dumps({'runId': run_id, 'state': account.state,
                                    'file': os.path.abspath(path), 'bytes': len(page)}))
    else:
        system.out.line(f'written: {printable(os.path.relpath(path))}')
    return OK


def chosen_run(root: str, run_id: Any) -> str:
    """Return the id of a run that is known, the last one where none is named."""
    runs = known_runs(StateNames(root))
    if run_id is None and runs:
        return runs[-1]
    if run_id is None:
        raise UsageError('there is no run yet')
    if name_complaint(run_id) or run_id not in runs:
        last = f"; the last ones are {', '.join(runs[-5:])}" if runs else ''
        raise UsageError(f"there is no run '{printable(run_id)}'{last}")
    return str(run_id)
