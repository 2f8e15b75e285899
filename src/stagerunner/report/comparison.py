"""Two runs side by side: what their tasks were made of, what they made, how long they took.

Everything is from the audits of the runs.  A task that was skipped stands for
the success that made its outputs, which is looked up in the audit of the run
it belongs to.
"""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Set
from typing import Tuple

from stagerunner.changes import changes
from stagerunner.clock import unstamp
from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskSkipped
from stagerunner.files import try_stat
from stagerunner.report.revived import revived
from stagerunner.report.trail import Trail
from stagerunner.state.names import StateNames

_STATUS = {TaskDone: 'ok', TaskSkipped: 'skipped', TaskFailed: 'failed',
           TaskInterrupted: 'interrupted', TaskCancelled: 'cancelled', TaskBlocked: 'blocked'}


class Outcome(NamedTuple):
    """What became of a task in one run; `made` is None where nobody knows any more."""

    status: str
    duration_s: float = 0.0
    key: str = ''
    done_at: str = ''
    made: Optional[Dict[str, Any]] = None

    @property
    def has_outputs(self) -> bool:
        """True when outputs of it were published and valid at the end of the run."""
        return self.status in ('ok', 'skipped')


class Told(NamedTuple):
    """A run: its tasks by name in the order in which they ended, and its duration if it ended."""

    run_id: str
    tasks: Dict[str, Outcome]
    duration_s: Optional[float] = None


class OutputChange(NamedTuple):
    """A published path, and its digest in both runs (None: it was not there)."""

    path: str
    old: Optional[str]
    new: Optional[str]


class Difference(NamedTuple):
    """One task in both runs; `is_known` is False where an audit that tells of it is gone."""

    task: str
    old: Optional[Outcome]
    new: Optional[Outcome]
    reasons: Tuple[Reason, ...] = ()
    outputs: Tuple[OutputChange, ...] = ()
    is_known: bool = True

    @property
    def outputs_differ(self) -> bool:
        """True unless the outputs of both runs are known to be the same."""
        had, has = (outcome is not None and outcome.has_outputs
                    for outcome in (self.old, self.new))
        return had != has or bool(self.outputs) or (had and not self.is_known)


def told(names: StateNames, run_id: str) -> Told:
    """Return what the audit of a run tells of its tasks."""
    tasks: Dict[str, Outcome] = {}
    spent: Dict[str, float] = {}
    duration_s = None
    for event in revived(Trail(names, run_id).read()):
        if isinstance(event, AttemptEnded):
            spent[event.task] = spent.get(event.task, 0.0) + event.duration_s
        elif isinstance(event, TaskDone):
            tasks[event.task] = Outcome('ok', spent.pop(event.task, event.duration_s), event.key,
                                        event.at, event.made or None)
        elif isinstance(event, TaskSkipped):
            tasks[event.task] = Outcome('skipped', 0.0, event.key, event.done_at)
        elif type(event) in _STATUS:
            task: str = event[0]
            tasks[task] = Outcome(_STATUS[type(event)], spent.pop(task, 0.0))
        elif isinstance(event, RunEnded):
            duration_s = event.duration_s
    return Told(run_id, tasks, duration_s)


def compare(names: StateNames, old: Told, new: Told) -> List[Difference]:
    """Return every task of the two runs with what differs."""
    sought = {_mark(task, outcome) for task, pair in _pairs(old, new) if not _is_same(*pair)
              for outcome in pair if outcome and outcome.status == 'skipped'}
    found = _look_up(names, sought)
    return [_difference(task, *(outcome and _completed(task, outcome, found) for outcome in pair))
            for task, pair in _pairs(old, new)]


_Pair = Tuple[Optional[Outcome], Optional[Outcome]]
_Mark = Tuple[str, str, str]


def _pairs(old: Told, new: Told) -> Iterator[Tuple[str, _Pair]]:
    for task in dict.fromkeys([*old.tasks, *new.tasks]):
        yield task, (old.tasks.get(task), new.tasks.get(task))


def _is_same(old: Optional[Outcome], new: Optional[Outcome]) -> bool:
    """True when both stand for one and the same success."""
    return old is not None and new is not None and bool(old.done_at) and (
        (old.key, old.done_at) == (new.key, new.done_at))


def _mark(task: str, outcome: Outcome) -> _Mark:
    return task, outcome.key, outcome.done_at


def _completed(task: str, outcome: Outcome, found: Dict[_Mark, Dict[str, Any]]) -> Outcome:
    return outcome if outcome.made else outcome._replace(made=found.get(_mark(task, outcome)))


def _difference(task: str, old: Optional[Outcome], new: Optional[Outcome]) -> Difference:
    if old is None or new is None or _is_same(old, new):
        return Difference(task, old, new)
    if not (old.has_outputs and new.has_outputs):
        return Difference(task, old, new)
    if old.made is None or new.made is None:
        return Difference(task, old, new, is_known=False)
    reasons = tuple(changes(_parts(old.made), _parts(new.made))) if old.key != new.key else ()
    return Difference(task, old, new, reasons, _output_changes(old.made, new.made))


def _parts(made: Dict[str, Any]) -> Dict[str, Any]:
    """Return the parts of a key; of a list that was too long there is one entry, its digest."""
    inputs = made.get('inputs')
    if isinstance(inputs, dict):
        made = dict(made, inputs=[[f'all {inputs.get("count")} inputs', inputs.get('digest')]])
    return made


def _output_changes(old: Dict[str, Any], new: Dict[str, Any]) -> Tuple[OutputChange, ...]:
    before, after = _manifest(old), _manifest(new)
    return tuple(OutputChange(path, before.get(path), after.get(path))
                 for path in sorted({*before, *after}) if before.get(path) != after.get(path))


def _manifest(made: Dict[str, Any]) -> Dict[str, str]:
    """Return the digest of each output by its path; of a list that was too long, of the whole."""
    outputs, folder = made.get('outputs'), made.get('outputDir')
    if isinstance(outputs, dict):
        return {f'{folder}: all {outputs.get("count")} outputs': str(outputs.get('digest'))}
    found = {}
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            link = output.get('link')
            path = f'{folder}/{output.get("path")}'
            found[path] = f'-> {link}' if link else str(output.get('sha256'))
    return found


# -- successes of other runs -----------------------------------------------------------

def _look_up(names: StateNames, sought: Set[_Mark]) -> Dict[_Mark, Dict[str, Any]]:
    """Find in all audits the successes that skips stand for."""
    found: Dict[_Mark, Dict[str, Any]] = {}
    for run_id in _likely_first(names, sought):
        if len(found) == len(sought):
            break
        for event in revived(Trail(names, run_id, has_former=True).read()):
            mark = (event.task, event.key, event.at) if isinstance(event, TaskDone) else None
            if mark in sought and mark is not None and isinstance(event, TaskDone) and event.made:
                found[mark] = event.made
    return found


def _likely_first(names: StateNames, sought: Set[_Mark]) -> Sequence[str]:
    """Return the runs with an audit, those first that wrote to it when the successes were.

    An audit is not written to any more when its run has ended, so the one that
    tells of a success was written to last at that time or soon after.
    """
    if not sought:
        return []
    earliest = min((_seconds(done_at) for _, _, done_at in sought), default=0.0)
    aged = []
    for run_id in names.audited_runs():
        found = try_stat(names.audit(run_id))
        aged.append((found.st_mtime if found else 0.0, run_id))
    return [run_id for _, run_id in sorted(aged, key=lambda pair: (
        pair[0] < earliest - 1, pair))]


def _seconds(text: str) -> float:
    try:
        return unstamp(text)
    except ValueError:
        return 0.0
