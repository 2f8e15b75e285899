"""Write the report of a run: one HTML file with everything in it."""

from __future__ import annotations

import json
import os
from typing import Any

from stagerunner.clock import Clock
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.errors import OK
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.files import write_bytes
from stagerunner.report.accounts import account_of
from stagerunner.report.html.page import render
from stagerunner.report.sight import find_run
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
    path = StateNames(root).report(run_id)
    if arguments.output is not None:
        path = _writable(arguments.output)
    write_bytes(path, page, durable=False)
    if arguments.json:
        system.out.line(json.dumps({'runId': run_id, 'state': account.state,
                                    'file': os.path.abspath(path), 'bytes': len(page)}))
    else:
        system.out.line(f'written: {printable(os.path.relpath(path))}')
    return OK


def _writable(asked: str) -> str:
    """Return where a link leads; refuse a folder or a device, which no file is to replace."""
    path = os.path.realpath(asked)
    if not asked or os.path.lexists(path) and not os.path.isfile(path):
        raise UsageError(f'-o: {printable(asked)} is not a file; name one, or - for stdout')
    if not os.path.isdir(os.path.dirname(path)):
        raise StateError(asked, 'its folder does not exist; make it first')
    return path


def chosen_run(root: str, run_id: Any) -> str:
    """Return the id of a run that left something, the last one where none is named."""
    names = StateNames(root)
    records = known_runs(names)
    if run_id is None and not records:
        raise UsageError('there is no run yet')
    if run_id is None:
        return records[-1].run_id
    # The audit of a run stays when its record is removed.
    return str(run_id) if run_id in names.audited_runs() else find_run(records, run_id).run_id
