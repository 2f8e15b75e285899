"""Everything a report is made of, gathered from what a run left behind; changes nothing."""

from __future__ import annotations

import os
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.diagram import Diagram
from stagerunner.diagram import make_diagram
from stagerunner.errors import RunnerError
from stagerunner.errors import StateError
from stagerunner.keys import name_complaint
from stagerunner.report.html.summary import Account
from stagerunner.report.revived import revived
from stagerunner.report.sight import CRASHED
from stagerunner.report.story import Story
from stagerunner.report.trail import Trail
from stagerunner.report.trail import open_journal
from stagerunner.state.names import StateNames
from stagerunner.state.run import RUNNING
from stagerunner.state.run import is_dead
from stagerunner.state.run import read_run
from stagerunner.workspace import Workspace

#: Lines of a log and bytes of each, and bytes of all logs together.
_LINES, _LINE_BYTES, _ALL_BYTES = 15, 300, 250_000


def told(names: StateNames, run_id: str) -> Story:
    """Return the story of a run, as far as its audit has it."""
    story = Story()
    for event in revived(Trail(names, run_id).read()):
        story.receive(event)
    return story


def account_of(root: str, run_id: str, now: float,
               load: Callable[[], Workspace]) -> Account:
    """Return the account of a run; `load` reads the definition, which may have faults by now."""
    names = StateNames(root)
    # What runs now may be over when the rest is read; what is over stays so.
    is_alive = not is_dead(root, run_id)
    story, record = told(names, run_id), read_run(names, run_id)
    state = record.state if record else story.ended.state if story.ended else RUNNING
    diagram, fault = drawn(load)
    return Account(run_id, CRASHED if state == RUNNING and not is_alive else state, story, now,
                   record, diagram, fault, _tails(names, run_id, story))


def drawn(load: Callable[[], Workspace]) -> Tuple[Optional[Diagram], str]:
    """Return the diagram of a definition, or why there is none."""
    try:
        return make_diagram(load()), ''
    except RunnerError as error:
        return None, str(error).partition('\n')[0]


def _tails(names: StateNames, run_id: str, story: Story) -> Dict[str, Sequence[str]]:
    """Return the last lines of what the last attempt of each plain stage printed."""
    plain = [stage for stage in story.stages.values()
             if stage.tries and stage.tries[-1].log and not name_complaint(stage.name)]
    most = _ALL_BYTES // max(1, len(plain))
    found: Dict[str, Sequence[str]] = {}
    for stage in plain:
        attempt = stage.tries[-1]
        # The path of the record is for people; which file is opened is not for it to say.
        lines = _last_lines(names.log(run_id, stage.name, attempt.attempt),
                            min(most, _LINES * _LINE_BYTES))
        if lines:
            found[str(attempt.log)] = lines
    return found


def _last_lines(path: str, most_bytes: int) -> List[str]:
    try:
        source = open_journal(path)
    except StateError:
        return []
    if source is None:
        return []
    with source:
        source.seek(max(0, os.fstat(source.fileno()).st_size - most_bytes))
        lines = source.read(most_bytes).decode('utf-8', 'replace').split('\n')
    return [line[:_LINE_BYTES] for line in lines if line.strip()][-_LINES:]
