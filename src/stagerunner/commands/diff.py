"""Compare two runs: inputs, params, durations, outputs."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.commands.report import chosen_run
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.events import stage_of
from stagerunner.report.comparison import Difference
from stagerunner.report.comparison import Outcome
from stagerunner.report.comparison import Told
from stagerunner.report.comparison import compare
from stagerunner.report.comparison import told
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.state.stage import reasons_to_json

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py diff demo1 demo2
  python src/pipeline_runner.py diff demo1 demo2 --json
'''

#: So much of a value, and of a digest, is shown to people; `--json` has all of it.
_SHOWN, _DIGITS = 60, 16


def add_arguments(parser: Any) -> None:
    """Add the two runs."""
    parser.add_argument('old', metavar='RUN1', help='the id of a run')
    parser.add_argument('new', metavar='RUN2', help='the id of another one; exit code 1 when '
                        'their outputs differ')


def main(arguments: Any, system: Any) -> int:
    """Print what differs; the exit code is 1 when outputs do."""
    root = os.path.dirname(os.path.abspath(arguments.pipeline))
    names = StateNames(root)
    old, new = (told(names, chosen_run(root, run_id))
                for run_id in (arguments.old, arguments.new))
    differences = compare(names, old, new)
    do_differ = any(difference.outputs_differ for difference in differences)
    lines = (_json_lines(old, new, differences, do_differ=do_differ) if arguments.json
             else _text(old, new, differences))
    for line in lines:
        system.out.line(line)
    return FAILED if do_differ else OK


def _json_lines(old: Told, new: Told, differences: Sequence[Difference], *,
                do_differ: bool) -> Iterator[str]:
    for difference in differences:
        yield json.dumps({
            'task': difference.task, 'stage': stage_of(difference.task),
            'status': [_status(difference.old), _status(difference.new)],
            'outputsDiffer': difference.outputs_differ, 'known': difference.is_known,
            'reasons': reasons_to_json(difference.reasons),
            'outputs': [change._asdict() for change in difference.outputs],
            'durationSec': [_took(difference.old), _took(difference.new)]})
    yield json.dumps({'runs': [old.run_id, new.run_id], 'tasks': len(differences),
                      'differing': sum(each.outputs_differ for each in differences),
                      'outputsDiffer': do_differ, 'durationSec': [old.duration_s, new.duration_s]})


def _status(outcome: Optional[Outcome]) -> Optional[str]:
    return outcome.status if outcome else None


def _took(outcome: Optional[Outcome]) -> Optional[float]:
    return round(outcome.duration_s, 6) if outcome and outcome.status != 'skipped' else None


# -- for people ------------------------------------------------------------------------

def _text(old: Told, new: Told, differences: Sequence[Difference]) -> Iterator[str]:
    yield f'{old.run_id} -> {new.run_id}'
    for difference in differences:
        yield from _task(difference, old.run_id, new.run_id)
    yield from _durations(old, new, differences)
    differing = sum(difference.outputs_differ for difference in differences)
    count = f'{len(differences)} task{"" if len(differences) == 1 else "s"}'
    yield (f'outputs differ: {differing} of {count}' if differing
           else f'outputs are equal: {count}')


def _task(difference: Difference, old_id: str, new_id: str) -> Iterator[str]:
    """Yield what differs of one task: why, and in what."""
    task, old, new = difference.task, difference.old, difference.new
    if old is None or new is None:
        present, run_id = (new, new_id) if old is None else (old, old_id)
        yield f'{task}: only in {run_id} ({_status(present)})'
        return
    if old.has_outputs != new.has_outputs or not (old.has_outputs or old.status == new.status):
        yield f'{task}: was {old.status}, is {new.status}'
    if not difference.is_known:
        yield (f'{task}: what made its outputs is not known any more; the audit that tells it '
               f'is gone or of an older runner')
    for reason in difference.reasons:
        yield f'{task}: {printable(str(reason))}'
        yield f'    was {_shown(reason.old)}, is {_shown(reason.new)}'
    for path, before, after in difference.outputs:
        what = 'changed' if before and after else 'is new' if after else 'is gone'
        yield f'{task}: output {what}: {printable(path)}'
        if before and after:
            yield f'    was {_shown(before)}, is {_shown(after)}'


def _shown(value: Any) -> str:
    if value is None:
        return 'nothing'
    text = printable(str(value))
    if re.fullmatch('[0-9a-f]{64}', text):
        return f'{text[:_DIGITS]}…'
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'


def _durations(old: Told, new: Told, differences: Sequence[Difference]) -> Iterator[str]:
    """Yield a line per stage that ran, and one for the runs."""
    found: Dict[str, List[Tuple[float, bool]]] = {}
    for difference in differences:
        sides = found.setdefault(stage_of(difference.task), [(0.0, False), (0.0, False)])
        for index, outcome in enumerate((difference.old, difference.new)):
            took_s = _took(outcome)
            if took_s is not None:
                sides[index] = sides[index][0] + took_s, True
    rows = [(name, _told(*sides[0]), _told(*sides[1])) for name, sides in found.items()
            if sides[0][1] or sides[1][1]]
    rows.append(('the run', _told(old.duration_s or 0.0, old.duration_s is not None),
                 _told(new.duration_s or 0.0, new.duration_s is not None)))
    width = min(40, max(len(name) for name, _, _ in rows))
    yield 'durations:'
    for name, before, after in rows:
        yield f'  {printable(name):{width}}  {before:>10} -> {after}'


def _told(took_s: float, has_run: bool) -> str:
    return f'{took_s:.3f}s' if has_run else '-'
