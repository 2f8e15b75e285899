"""Say whether the audit is as it was written, and which record is the first that is not."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from typing import List

from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import audit_key
from stagerunner.commands.flags import load_config
from stagerunner.documents import read_document
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.report.heads import CRASHED
from stagerunner.report.inspection import RUNNING
from stagerunner.report.inspection import Audited
from stagerunner.report.inspection import Start
from stagerunner.report.inspection import inspect
from stagerunner.schema import printable
from stagerunner.state.names import StateNames

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py audit verify
  python src/pipeline_runner.py audit verify demo1 --expect-head "$(cat head-of-friday)"
'''


def add_arguments(parser: Any) -> None:
    """Add the flags of a verification."""
    parser.add_argument('run', metavar='RUN', nargs='?',
                        help='look at the records of this run only (default: at those of all)')
    parser.add_argument('--expect-head', metavar='HASH',
                        help='a head that was noted elsewhere: the audit must still have it')
    parser.add_argument('--key', metavar='FILE',
                        help='the key that records were authenticated with (default: that of '
                        'PIPELINE_AUDIT_KEY_FILE, else that of the config)')
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print each fault, what is unusual of runs, and the head; exit code 1: there is a fault."""
    expected = arguments.expect_head
    if expected is not None and not re.fullmatch('[0-9a-f]{64}', expected):
        raise UsageError(f'--expect-head: expected 64 hex digits, got {expected!r}')
    root = os.path.dirname(os.path.abspath(arguments.pipeline))
    names = StateNames(root)
    if not os.path.isdir(names.folder):
        # Where nothing ran yet the definition says whether this is the right place.
        read_document(arguments.pipeline, '--pipeline')
    settings, _ = load_config(arguments)
    found = inspect(names, arguments.run, expected=expected,
                    key=audit_key(arguments.key, system.environment, settings, root))
    if arguments.run and not found.starts and not found.findings:
        raise UsageError(f"there is no audit of run '{printable(arguments.run)}'; `status` "
                         'lists the runs')
    for line in _objects(found) if arguments.json else _lines(found, arguments.run is not None):
        system.out.line(line)
    return FAILED if found.findings else OK


def _objects(found: Audited) -> List[str]:
    return [json.dumps(line) for line in (
        *({'file': finding.file, 'line': finding.line or None, 'fault': finding.fault}
          for finding in found.findings),
        *({'runId': start.run_id, 'state': start.state, 'records': start.n_records,
           'tornBytes': start.torn} for start in found.starts),
        {'sound': not found.findings, 'head': found.head, 'runs': len(found.starts),
         'records': found.n_records, 'faults': len(found.findings), 'tornBytes': found.torn,
         'keyed': found.has_macs, 'keyChecked': found.has_macs and not found.is_unchecked})]


def _lines(found: Audited, is_one: bool) -> List[str]:
    lines = [printable(str(finding)) for finding in found.findings]
    lines += [_about(start) for start in found.starts
              if is_one or start.state in (CRASHED, RUNNING)]
    if found.torn:
        lines.append('note: the journal of heads ends in half an entry, as a crash in the middle '
                     'of an append leaves it; the next run repairs it')
    if found.is_unchecked:
        lines.append('note: the codes of a key were not checked; give the key with --key')
    n_runs = len({start.run_id for start in found.starts})
    counted = f"{n_runs} run{'s' * (n_runs != 1)}, {found.n_records} records, head {found.head}"
    return [*lines, f"audit {'NOT ' if found.findings else ''}sound: {counted}"]


def _about(start: Start) -> str:
    torn = f', then half a record ({start.torn} bytes)' if start.torn else ''
    return f'run {start.run_id}: {start.state}, {start.n_records} records{torn}'
