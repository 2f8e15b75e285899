"""Decide from facts whether a task runs, resumes or is skipped, and say why.

Pure: the same facts give the same answer, before the lock as an announcement
and under it as the decision.
"""

from __future__ import annotations

from stagerunner.changes import changes
from stagerunner.definition import Stage
from stagerunner.events import MATCHED
from stagerunner.events import Reason
from stagerunner.facts import Facts
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.resume import ResumePoint

if TYPE_CHECKING:
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

RUN, SKIP, RESUME = 'run', 'skip', 'resume'

#: What is said of a skip where nothing was ever run: somebody vouched for the outputs.
ADOPTED = 'adopted'

#: What only the outputs of another task can settle, which is going to run.
MAYBE = 'maybe'

#: Causes that new inputs of the same bytes would take away.
_OF_INPUTS = ('input changed', 'input added', 'input removed', 'input renamed',
              'order of inputs changed')

#: Why a task without a marker runs, by how it ended the last time; else somebody removed it.
_WITHOUT_MARKER = {'': 'never ran', 'failed': 'failed before',
                   'interrupted': 'interrupted before'}


class Decision(NamedTuple):
    """What to do with a task and why; `point` is where to resume."""

    action: str
    reasons: Tuple[Reason, ...]
    point: Optional[ResumePoint] = None


def decide(stage: Stage, facts: Facts, *, is_forced: bool = False) -> Decision:
    """Return what follows from the facts."""
    reasons = _reasons_to_run(stage, facts)
    if is_forced and not facts.trouble:
        reasons = [Reason('forced'), *reasons]
    if not reasons:
        is_adopted = facts.marker is not None and facts.marker.is_adopted
        return Decision(SKIP, (Reason(MATCHED, ADOPTED if is_adopted else ''),))
    if facts.resume_point:
        return Decision(RESUME, tuple(reasons), facts.resume_point)
    return Decision(RUN, tuple(reasons))


def foresee(decision: Decision, facts: Facts, upstream: Sequence[str]) -> Decision:
    """Return what can be said of a task some of whose inputs other tasks will make anew.

    `upstream` are those tasks or stages.  Certain is only what their outputs cannot change.
    """
    if not upstream:
        return decision
    new = Reason('upstream will run', upstream[0])
    if facts.trouble:
        # An input is missing that one of them is going to make.
        return Decision(MAYBE if facts.marker else RUN, (new,))
    certain = [reason for reason in decision.reasons
               if decision.action != SKIP and reason.cause not in _OF_INPUTS]
    if certain:
        return decision
    return Decision(MAYBE, (new, *(reason for reason in decision.reasons
                                   if decision.action != SKIP)))


def _reasons_to_run(stage: Stage, facts: Facts) -> List[Reason]:
    if facts.trouble:
        return [Reason(str(facts.trouble))]
    marker = facts.marker
    if not stage.is_idempotent:
        return [Reason('idempotency is disabled')]
    if facts.marker_fault:
        return [Reason('marker unreadable', facts.marker_fault)]
    if marker is None:
        return [Reason(_WITHOUT_MARKER.get(facts.former_end, 'marker missing'))]
    if marker.key != facts.key:
        return changes(marker.parts, facts.parts)
    return list(facts.broken)
