"""One invocation from opening its record to closing it: the engine behind every command."""

from __future__ import annotations

import os
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Mapping
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.errors import OK
from stagerunner.errors import DefinitionError
from stagerunner.errors import IsolationError
from stagerunner.errors import LockTimeout
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.errors import os_fault
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageExpanded
from stagerunner.events import TaskPlanned
from stagerunner.events import TasksSkipped
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.fence import AUTO
from stagerunner.files import make_folder
from stagerunner.fingerprint import Digests
from stagerunner.launch.job import Launcher
from stagerunner.ledger import Ledger
from stagerunner.locks import Lock
from stagerunner.locks import holder_of
from stagerunner.locks import is_held
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.rehearsal import Rehearsal
from stagerunner.report.audit import Audit
from stagerunner.report.chain import Key
from stagerunner.scheduler import Outcome
from stagerunner.scheduler import Rules
from stagerunner.scheduler import Scheduler
from stagerunner.selection import Staleness
from stagerunner.selection import Wanted
from stagerunner.selection import select
from stagerunner.source import Means
from stagerunner.source import Source
from stagerunner.source import warn_of_queue
from stagerunner.state.names import StateNames
from stagerunner.state.run import COMPLETED
from stagerunner.state.run import FAILED
from stagerunner.state.run import INTERRUPTED
from stagerunner.state.run import RunRecord
from stagerunner.state.run import forget_old_runs
from stagerunner.state.run import forget_run
from stagerunner.state.run import started_at
from stagerunner.state.run import sweep
from stagerunner.state.run import write_run
from stagerunner.task import Attempts
from stagerunner.task import Setting
from stagerunner.tasks import expand_known
from stagerunner.tasks import make_groups
from stagerunner.workspace import Workspace


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


class Broadcast:
    """Hands each event to every sink in turn.

    A sink that cannot write does not keep the others from hearing; the first
    such error is raised when all have heard.
    """

    def __init__(self, sinks: Sequence[Sink]):
        self.sinks = sinks

    def __call__(self, event: Event) -> None:
        errors: List[StateError] = []
        for sink in self.sinks:
            try:
                if isinstance(event, TasksSkipped):
                    sink.receive_skips(event)
                else:
                    sink.receive(event)
            except StateError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def idle(self) -> Optional[float]:
        """Tell every sink that the run is about to wait; return when one wants to be asked again.

        What a sink cannot write is raised when all were asked.
        """
        errors: List[StateError] = []
        soonest: Optional[float] = None
        for sink in self.sinks:
            try:
                again_s = sink.idle()
            except StateError as error:
                errors.append(error)
                continue
            if again_s is not None and (soonest is None or again_s < soonest):
                soonest = again_s
        if errors:
            raise errors[0]
        return soonest


def execute(request: Request, parts: Parts) -> int:
    """Run a pipeline and return the exit code.

    Raises `LockTimeout` when the run id is in use and `StateError` when what
    happened could not be written down; the run's record then says `failed`,
    if that at least can be written.
    """
    workspace, run_id = request.workspace, request.run_id
    names = StateNames(workspace.root)
    _make_state_folder(names.folder)
    lock = _take_run_lock(workspace.root, run_id)
    began = parts.clock.monotonic()
    audit = Audit(names, run_id, parts.clock, request.audit_key)
    record = RunRecord(run_id, workspace.pipeline.name, workspace.pipeline.version,
                       stamp(parts.clock.now()), pid=parts.pid, host=parts.host)
    try:
        lock.note(_holder(parts, run_id, record.started_at))
        if request.resumes:
            record = record._replace(started_at=started_at(names, run_id) or record.started_at)
        else:
            forget_run(names, run_id)
        audit.prepare()
        write_run(names, record)
        emit = Broadcast([audit, *parts.sinks])
        try:
            outcome, isolation = _run_tasks(request, parts, emit)
            record = record._replace(isolation=isolation)
            exit_code = _close(names, record, outcome, parts, audit, began)
        except StateError:
            _give_up(names, record, parts, audit, began)
            raise
        except (IsolationError, UsageError, DefinitionError):
            # Nobody was told of a start, so nobody is told of an end.
            _give_up(names, record, parts._replace(sinks=()), audit, began)
            raise
        sweep(names, workspace.root)
        forget_old_runs(names, workspace.root, workspace.pipeline.keep_runs)
    finally:
        for sink in (audit, *parts.sinks):
            sink.close()
        lock.release()
    return exit_code


def _make_state_folder(path: str) -> None:
    """Make a folder of ours, or raise `StateError`."""
    try:
        make_folder(path)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error


def _take_run_lock(root: str, run_id: str) -> Lock:
    path = run_lock(root, run_id)
    lock = try_lock(path)
    while lock is None and not is_held(path):
        # Somebody only looked whether the run is alive.
        lock = try_lock(path)
    if lock is None:
        raise LockTimeout(f"run '{run_id}'", os.path.relpath(path, root).replace(os.sep, '/'),
                          0.0, holder_of(path))
    return lock


def _holder(parts: Parts, run_id: str, since: str) -> Dict[str, object]:
    return {'pid': parts.pid, 'host': parts.host, 'runId': run_id, 'since': since}


class Forecast(NamedTuple):
    """How many tasks would or may run, and the errors with which some of them would fail."""

    pending: int
    troubles: Tuple[str, ...]


def foretell(request: Request, parts: Parts) -> Forecast:
    """Say what a run would do, as events, and change nothing.

    The same graph, the same order and the same decisions as a run, with
    another performer.
    """
    workspace = request.workspace
    observer = _observer(request, parts)
    groups = make_groups(workspace)
    selection = select(groups, request.wanted)
    emit = Broadcast([_Plans(parts.sinks)])
    performer = Rehearsal(observer, emit, selection.groups, selection.forced)
    for warning in warn_of_queue(selection.groups):
        emit(warning)
    Staleness(observer, emit).warn_of_taken(selection.taken)
    rules = Rules(request.lock_timeout_s, keeps_going=True)
    Scheduler(performer, parts.clock, parts.stop, emit, rules, parts.spread
              ).run(selection.groups)
    observer.ledger.close()
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
    digests = Digests(StateNames(root).index(), parts.clock)
    digests.load()
    return Observer(root, digests, request.python_version, parts.environment, Ledger(root))


def _run_tasks(request: Request, parts: Parts,
               emit: Broadcast) -> Tuple[Outcome, Dict[str, Any]]:
    workspace = request.workspace
    groups = make_groups(workspace)
    source = parts.source
    selection = source.select(groups, request.wanted)
    observer = _observer(request, parts)
    setting = Setting(workspace.root, request.run_id, request.python, parts.environment,
                      _holder(parts, request.run_id, stamp(parts.clock.now())),
                      request.isolation, selection.forced, request.workers)
    permits = Permits(workspace.root, parts.clock, request.rates)
    performer = Attempts(setting, observer, parts.launcher, parts.clock, emit, groups,
                         source.holds(workspace.root, permits, parts.clock, setting.holder))
    scheduler = source.scheduler(Means(
        performer, parts.clock, parts.stop, emit,
        Rules(request.lock_timeout_s, request.workers, request.keeps_going,
              request.circuit_breaker), parts.spread, emit.idle))
    staleness = Staleness(observer, emit)
    try:
        expand_known(selection.groups)
        performer.require_isolation()
        source.check(selection, observer)
        emit(RunStarted(request.run_id, workspace.pipeline.name, stamp(parts.clock.now()),
                        tuple(group.stage.name for group in selection.groups),
                        request.workers, {group.stage.name: group.collection.name
                                          for group in selection.groups
                                          if group.collection is not None}))
        for warning in source.warnings(selection.groups):
            emit(warning)
        staleness.warn_of_taken(selection.taken)
        outcome = scheduler.run(selection.groups)
        staleness.warn_of_later(selection.later)
        for said in request.rates.warnings:
            emit(Warned('', said))
        return outcome, performer.surroundings.of_run()
    finally:
        parts.launcher.close()
        performer.close()
        observer.digests.save()


def _close(names: StateNames, record: RunRecord, outcome: Outcome, parts: Parts,
           audit: Audit, began: float) -> int:
    """Write the end of the run down, then tell it; return the exit code that agrees with it.

    A request to stop that comes later has nothing left to stop.
    """
    exit_code = 128 + parts.stop.signum if parts.stop.is_requested else outcome.exit_code
    state = INTERRUPTED if parts.stop.is_requested else (
        COMPLETED if exit_code == OK else FAILED)
    ended = RunEnded(record.run_id, stamp(parts.clock.now()), parts.clock.monotonic() - began,
                     state)
    head = audit.end(ended)
    write_run(names, record._replace(ended_at=ended.at, state=state, audit_head=head,
                                     first_failure=outcome.first_failure))
    Broadcast(parts.sinks)(ended._replace(audit_head=head))
    return exit_code


def _give_up(names: StateNames, record: RunRecord, parts: Parts, audit: Audit,
             began: float) -> None:
    """Try to leave a true record although state could not be written; the first error matters."""
    ended = RunEnded(record.run_id, stamp(parts.clock.now()), parts.clock.monotonic() - began,
                     FAILED)
    try:
        ended = ended._replace(audit_head=audit.end(ended))
    except StateError:
        # Whoever comes next finds the run dead and closes its audit.
        pass
    try:
        write_run(names, record._replace(ended_at=ended.at, state=FAILED,
                                         audit_head=ended.audit_head or None))
    except StateError:
        # The disk is what is wrong; who reads the record later sees that the run is not alive.
        pass
    try:
        Broadcast(parts.sinks)(ended)
    except StateError:
        # Whoever prints has heard it all the same.
        pass


def new_run_id(clock: Clock, pid: int) -> str:
    """Return an id that sorts by time and is used by no other run on this host.

    >>> class Epoch(Clock):
    ...     def now(self): return 0.5
    >>> new_run_id(Epoch(), 7)
    '19700101T000000.500000-7'
    """
    text = stamp(clock.now())
    return text[:26].replace('-', '').replace(':', '') + f'-{pid}'
