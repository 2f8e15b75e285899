"""The work of one run, and the announcement of it: the engine behind every command."""

from __future__ import annotations

import os
from functools import partial
from itertools import islice

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.environment import Inherited
from stagerunner.events import Event
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageExpanded
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.fence import AUTO
from stagerunner.fence import OFF
from stagerunner.fingerprint import Digests
from stagerunner.hooks import Caller
from stagerunner.hooks import Hooks
from stagerunner.launch.job import Launcher
from stagerunner.ledger import Ledger
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.placeholders import OPENING
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.register import Register
from stagerunner.rehearsal import Rehearsal
from stagerunner.report.chain import Key
from stagerunner.scheduler import Rules
from stagerunner.scheduler import Scheduler
from stagerunner.searchpath import start_environment
from stagerunner.selection import Selection
from stagerunner.selection import Staleness
from stagerunner.selection import Wanted
from stagerunner.selection import select
from stagerunner.session import Broadcast
from stagerunner.session import Ending
from stagerunner.session import Occasion
from stagerunner.session import Session
from stagerunner.shortcut import Shortcut
from stagerunner.source import Means
from stagerunner.source import Source
from stagerunner.source import warn_of_queue
from stagerunner.standing import Standing
from stagerunner.state.marker import marker_path
from stagerunner.state.names import StateNames
from stagerunner.task import Attempts
from stagerunner.task import Setting
from stagerunner.tasks import Group
from stagerunner.tasks import expand_known
from stagerunner.tasks import make_groups
from stagerunner.workspace import Workspace

if TYPE_CHECKING:
    from typing import Callable
    from typing import Iterator
    from typing import Mapping
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: So many outputs are read again when all is done: it must not keep anybody waiting.
_AGAIN_AT_THE_END = 1000


class Request(NamedTuple):
    """What somebody wants to be run."""

    workspace: Workspace
    run_id: str
    lock_timeout_s: float
    python: str
    python_version: str
    isolation: str = AUTO
    workers: int = 1
    keeps_going: bool = False
    wanted: Wanted = Wanted()
    rates: Rates = Rates()
    circuit_breaker: Optional[int] = None
    #: Go on with a run that was not finished, under its id.
    resumes: bool = False
    #: What the index knows of this very definition.
    standing: Optional[Standing] = None
    #: The groups of a definition that was not read as a whole, because most of it stands.
    groups: Sequence[Group] = ()
    #: What the records of the audit are authenticated with.
    audit_key: Optional[Key] = None


class Parts(NamedTuple):
    """The real or faked things that an engine works with."""

    clock: Clock
    stop: Stop
    launcher: Launcher
    sinks: Sequence[Sink]
    environment: Mapping[str, str]
    spread: Callable[[], float]
    pid: int
    host: str
    source: Source = Source()


def execute(request: Request, parts: Parts) -> int:
    """Run a pipeline and return the exit code; raises as `Session.hold`.

    What makes no sense is refused before anything of a former run with this id is gone.
    """
    workspace = request.workspace
    groups = request.groups or make_groups(workspace)
    selection = parts.source.select(groups, request.wanted)
    occasion = Occasion(workspace.root, request.run_id, workspace.pipeline.name,
                        workspace.pipeline.version, workspace.pipeline.keep_runs, parts.pid,
                        parts.host, request.resumes, request.audit_key)
    hooks = Hooks(workspace, Caller(
        request.run_id, request.python, request.isolation, parts.launcher, parts.clock, parts.stop,
        parts.environment)) if workspace.pipeline.has_hooks else None
    session = Session(occasion, parts.clock, parts.stop, parts.sinks, hooks)
    return session.hold(lambda emit: _run_tasks(request, parts, occasion, groups, selection,
                                                emit))




class Forecast(NamedTuple):
    """How many tasks would or may run, and the errors with which some of them would fail."""

    pending: int
    troubles: Tuple[str, ...]


def foretell(request: Request, parts: Parts) -> Forecast:
    """Say what a run would do, as events, and change nothing.

    The same graph, the same order and the same decisions as a run, with
    another performer.  Raises `StateError`, when all has been said, for a
    record with which a run would stop.
    """
    workspace = request.workspace
    observer = _observer(request, parts)
    groups = make_groups(workspace)
    selection = select(groups, request.wanted)
    emit = Broadcast([_Plans(parts.sinks)])
    performer = Rehearsal(observer, emit, selection.groups, selection.forced)
    for warning in warn_of_queue(selection.groups):
        emit(warning)
    try:
        Staleness(observer, emit).warn_of_taken(selection.taken)
        rules = Rules(request.lock_timeout_s, keeps_going=True)
        Scheduler(performer, parts.clock, parts.stop, emit, rules, parts.spread
                  ).run(selection.groups)
    finally:
        observer.ledger.close()
    if performer.fault is not None:
        raise performer.fault
    return Forecast(sum(len(ids) or 1 for ids in performer.pending.values()),
                    tuple(performer.troubles))


class _Plans(Sink):
    """Passes on what is said of a plan, and nothing of what would be told of a run."""

    def __init__(self, sinks: Sequence[Sink]):
        self.emit = Broadcast(sinks)
        self.emit_expansion = Broadcast([sink for sink in sinks if sink.hears_expansions])

    def receive(self, event: Event) -> None:
        if isinstance(event, (TaskPlanned, Warned)):
            self.emit(event)
        elif isinstance(event, StageExpanded):
            self.emit_expansion(event)


def _observer(request: Request, parts: Parts) -> Observer:
    root = request.workspace.root
    index = request.standing.index if request.standing else None
    digests = Digests(StateNames(root).index(), parts.clock, index)
    if index is None:
        digests.load()
    return Observer(root, digests, request.python_version, parts.environment, Ledger(root))


def _run_tasks(request: Request, parts: Parts, occasion: Occasion, groups: Sequence[Group],
               selection: Selection, emit: Broadcast) -> Ending:
    workspace, source = request.workspace, parts.source
    observer = _observer(request, parts)
    setting = Setting(workspace.root, request.run_id, request.python,
                      Inherited(parts.environment), occasion.holder(stamp(parts.clock.now())),
                      request.isolation, selection.forced, request.workers)
    permits = Permits(workspace.root, parts.clock, request.rates)
    performer = Attempts(setting, observer, parts.launcher, parts.clock, emit, groups,
                         source.holds(workspace.root, permits, parts.clock, setting.holder))
    register = None
    if request.standing is not None:
        register = Register(request.standing, workspace.pipeline, groups)
        performer.shortcut = Shortcut(request.standing, register,
                                      partial(emit.skip, parts.clock))
    scheduler = source.scheduler(Means(
        performer, parts.clock, parts.stop, emit,
        Rules(request.lock_timeout_s, request.workers, request.keeps_going,
              request.circuit_breaker), parts.spread, emit.idle))
    staleness = Staleness(observer, emit)
    parts.launcher.expect(request.workers)
    try:
        if request.isolation != OFF:
            _prepare(request, parts, selection.groups)
        expand_known(selection.groups)
        if request.workers > 1:
            observer.digests.look_ahead(
                _inputs(request, selection.groups), min(request.workers, os.cpu_count() or 1))
        performer.require_isolation()
        source.check(selection, observer)
        emit(RunStarted(request.run_id, workspace.pipeline.name, stamp(parts.clock.now()),
                        tuple(group.stage_name for group in selection.groups),
                        request.workers, {group.stage_name: group.collection.name
                                          for group in selection.groups
                                          if group.collection is not None},
                        {group.stage_name: len(group) for group in selection.groups
                         if group.is_fan_out}))
        for warning in source.warnings(selection.groups):
            emit(warning)
        staleness.warn_of_taken(selection.taken)
        outcome = scheduler.run(selection.groups)
        emit.flush()
        staleness.warn_of_later(selection.later)
        for said in request.rates.warnings:
            emit(Warned('', said))
        return Ending(outcome.first_failure, outcome.exit_code, performer.surroundings.of_run())
    finally:
        parts.launcher.close()
        performer.close()
        observer.digests.close()
        observer.digests.read_again(_AGAIN_AT_THE_END)
        if register is not None:
            register.write()
        observer.digests.save()


def _prepare(request: Request, parts: Parts, groups: Sequence[Group]) -> None:
    """Have keepers come where there is work: they take a while, and there is much to do meanwhile.
    """
    sure = list(islice(_sure_of_work(request, groups), request.workers))
    if sure:
        n_at_once = sum(not group.needs for group in sure)
        parts.launcher.prepare(request.python, start_environment(parts.environment),
                               max(1, n_at_once))


def _sure_of_work(request: Request, groups: Sequence[Group]) -> Iterator[Group]:
    """Yield the stages of which a glance tells that they have to run; there may be others."""
    standing = request.standing
    for group in groups:
        if standing is not None and standing.is_unchanged(group.position):
            continue
        if (standing is not None and standing.has_moved(group.position)
                or not os.path.lexists(marker_path(group.home, group.stage_name))):
            yield group


def _inputs(request: Request, groups: Sequence[Group]) -> Iterator[str]:
    """Yield the paths of inputs that are there already and that nothing is going to make anew."""
    root, standing = request.workspace.root, request.standing
    for group in groups:
        if standing is not None and standing.is_unchanged(group.position):
            continue
        for name, maker in zip(group.stage.inputs, group.makers):
            if not maker and OPENING not in name:
                yield os.path.join(root, name)
            elif not maker and group.items is not None:
                yield from (os.path.join(root, item.path) for item in group.items
                            if item.content is None)
        for job in group.stage.jobs:
            yield from (os.path.join(root, name) for name in job.stage.inputs
                        if not any(group.makers))
