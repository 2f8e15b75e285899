"""Decide from facts whether a task runs, resumes or is skipped, and say why.

Pure: the same facts give the same answer, before the lock as an announcement
and under it as the decision.
"""

from __future__ import annotations

from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from stagerunner.definition import Stage
from stagerunner.events import Reason
from stagerunner.facts import Facts
from stagerunner.fingerprint import changes
from stagerunner.resume import ResumePoint

RUN, SKIP, RESUME = 'run', 'skip', 'resume'

#: What a skip line says.
MATCHED = 'idempotent key matched'


class Decision(NamedTuple):
    """What to do with a task and why; `point` is where to resume."""

    action: str
    reasons: Tuple[Reason, ...]
    point: Optional[ResumePoint] = None


def decide(stage: Stage, facts: Facts) -> Decision:
    """Return what follows from the facts."""
    reasons = _reasons_to_run(stage, facts)
    if not reasons:
        return Decision(SKIP, (Reason(MATCHED),))
    if facts.resume_point:
        return Decision(RESUME, tuple(reasons), facts.resume_point)
    return Decision(RUN, tuple(reasons))


def _reasons_to_run(stage: Stage, facts: Facts) -> List[Reason]:
    if facts.trouble:
        return [Reason(str(facts.trouble))]
    marker = facts.marker
    if not stage.is_idempotent:
        return [Reason('idempotency is disabled')]
    if facts.marker_fault:
        return [Reason('marker unreadable', facts.marker_fault)]
    if marker is None:
        return [Reason('marker missing' if facts.has_run else 'never ran')]
    if marker.key != facts.key:
        return changes(marker.parts, facts.parts)
    return list(facts.broken)
