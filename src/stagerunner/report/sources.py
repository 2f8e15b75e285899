"""What the display of a run looks up beside its events: committed lines, and former durations."""

from __future__ import annotations

from typing import Dict
from typing import Optional

from stagerunner.errors import Unreadable
from stagerunner.files import read_json
from stagerunner.report.overview import Mark
from stagerunner.report.overview import Sources
from stagerunner.report.tally import Running
from stagerunner.resume import committed
from stagerunner.state.names import StateNames

#: Of so many stages it is looked up what they took the last time; reading more takes too long.
_MOST_STAGES = 500

#: A progress file that is older than its attempt, by more than clocks may differ, is left over.
_LEEWAY_S = 2.0


def sources_of(names: StateNames) -> Sources:
    """Return what looks things up in `state/`; reads, and changes nothing."""
    known: Dict[str, Optional[float]] = {}

    def expected(stage: str) -> Optional[float]:
        if stage not in known:
            known[stage] = _last_duration(names, stage) if len(known) < _MOST_STAGES else None
        return known[stage]

    return Sources(lambda running: _mark(names, running), expected)


def _mark(names: StateNames, running: Running) -> Optional[Mark]:
    found = committed(names, running.task)
    if found is None or found.at < running.since - _LEEWAY_S:
        return Mark(running.line_offset, None) if running.line_offset else None
    took_s, lines = found.at - running.since, found.line_offset - running.line_offset
    return Mark(found.line_offset, lines / took_s if took_s > 0 and lines > 0 else None)


def _last_duration(names: StateNames, stage: str) -> Optional[float]:
    try:
        record = read_json(names.stage(stage))
    except Unreadable:
        return None
    if not isinstance(record, dict) or record.get('lastStatus') != 'ok':
        return None
    took_s = record.get('lastDurationSec')
    is_number = isinstance(took_s, (int, float)) and not isinstance(took_s, bool)
    return took_s if is_number else None
