"""The run in which nothing is to be done: the index says so, and the rest is telling.

Loaded before the command `run`, with little else: the definition is not read,
and no module is loaded that only work would need.  Whenever there is any
doubt it does nothing, and the whole command takes place.
"""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.commands.listeners import console
from stagerunner.commands.listeners import records
from stagerunner.commands.signals import Listening
from stagerunner.errors import OK
from stagerunner.events import MATCHED
from stagerunner.events import RunStarted
from stagerunner.events import TasksSkipped
from stagerunner.records import TYPE_CHECKING
from stagerunner.session import Broadcast
from stagerunner.session import Ending
from stagerunner.session import Occasion
from stagerunner.session import Session
from stagerunner.session import new_run_id
from stagerunner.spelling import is_name
from stagerunner.standing import Standing
from stagerunner.standing import config_of
from stagerunner.standing import stand
from stagerunner.state.names import StateNames
from stagerunner.state.run import not_looked_at

if TYPE_CHECKING:
    from typing import Any
    from typing import Optional


def main(arguments: Any, system: Any) -> Optional[int]:
    """Do a run that has nothing to do; None: this is none, and nothing was done.

    `arguments` are those of `run`, of which only the plain ones differ from their defaults.
    """
    clock = Clock()
    run_id = arguments.run_id or new_run_id(clock, system.pid)
    workers = _workers(arguments, system)
    if (not is_name(run_id) or workers is None or config_of(arguments.pipeline, None)
            or 'PIPELINE_AUDIT_KEY_FILE' in system.environment):
        return None
    standing = stand(arguments.pipeline, '', system.environment, clock.now())
    arguments.standing = standing
    if _is_sure_of_work(standing, arguments.pipeline):
        arguments.begun = system.load('launch.nursery').begin_early(system.environment)
        return None
    if standing is None or standing.known is None or standing.changed():
        return None
    name, version, keep_runs, has_hooks = standing.known.pipeline
    if has_hooks:
        return None
    occasion = Occasion(standing.root, run_id, name, version, keep_runs, system.pid, system.host)
    stop = Stop()
    names = StateNames(standing.root)
    sinks = [*records(names, run_id, clock), console(arguments, system, clock, names)]
    try:
        with Listening(stop):
            return Session(occasion, clock, stop, sinks).hold(
                lambda emit: _tell(standing, occasion, workers, clock, emit))
    finally:
        stop.close()


def _is_sure_of_work(standing: Optional[Standing], pipeline: str) -> bool:
    """True where a stage is known not to stand any more, or nothing was ever done here."""
    if standing is not None and standing.known is not None:
        return any(map(standing.has_moved, range(len(standing.known.rows))))
    folder = StateNames(os.path.dirname(os.path.abspath(pipeline))).folder
    return os.path.isfile(pipeline) and not os.path.lexists(folder)


def _workers(arguments: Any, system: Any) -> Optional[int]:
    """Return how many workers there would be, None where that is not plain to see."""
    text = arguments.max_workers or system.environment.get('PIPELINE_MAX_WORKERS') or '1'
    is_plain = len(text) <= 2 and all(digit in '0123456789' for digit in text)
    return (int(text) or None) if is_plain else None


def _tell(standing: Standing, occasion: Occasion, workers: int, clock: Clock,
          emit: Broadcast) -> Ending:
    known = standing.known
    assert known is not None
    now = stamp(clock.now())
    emit(RunStarted(occasion.run_id, occasion.pipeline, now, tuple(known.names), workers))
    emit(TasksSkipped(known.names, now, MATCHED, known.keys, known.done_at))
    return Ending(None, OK, not_looked_at())
