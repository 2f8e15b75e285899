"""One invocation from opening its record to closing it, whatever is done in between.

A run holds the lock of its id, says in its record that it goes on, has its
work done, and says how that ended; then it removes what old runs left.  The
work is handed in: all of it (`run`), or telling that there is none (`swift`).
"""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp
from stagerunner.errors import BUG
from stagerunner.errors import OK
from stagerunner.errors import REFUSED
from stagerunner.errors import STATE
from stagerunner.errors import LockTimeout
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.events import MATCHED
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import Sink
from stagerunner.events import TasksSkipped
from stagerunner.files import make_folder
from stagerunner.files import remove_tree
from stagerunner.locks import Lock
from stagerunner.locks import holder_of
from stagerunner.locks import is_held
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.report.audit import Audit
from stagerunner.report.chain import Key
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

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple


class Occasion(NamedTuple):
    """What a run is called, of what it is a run, and who does it."""

    root: str
    run_id: str
    pipeline: str
    version: str
    keep_runs: int
    pid: int
    host: str
    #: Go on with a run that was not finished, under its id.
    resumes: bool = False
    #: What the records of the audit are authenticated with.
    audit_key: Optional[Key] = None

    def holder(self, since: str) -> Dict[str, object]:
        """Return what is noted beside a lock, for people."""
        return {'pid': self.pid, 'host': self.host, 'runId': self.run_id, 'since': since}


class Ending(NamedTuple):
    """How the work ended: the first failure, the exit code, and what surrounded processors."""

    first_failure: Optional[str]
    exit_code: int
    isolation: Dict[str, Any]


class Broadcast:
    """Hands each event to every sink in turn.

    A sink that cannot write does not keep the others from hearing; the first
    such error is raised when all have heard.
    """

    def __init__(self, sinks: Sequence[Sink]):
        self.sinks = sinks
        self.skips: List[Tuple[str, str, str]] = []
        self.skipped_at = ''

    def skip(self, clock: Clock, task: str, key: str, done_at: str) -> None:
        """Tell of a skip, together with those that follow, before anything else is told."""
        self.skipped_at = self.skipped_at or stamp(clock.now())
        self.skips.append((task, key, done_at))

    def flush(self) -> None:
        """Tell of the skips that were held back."""
        if self.skips:
            tasks, keys, done_at = zip(*self.skips)
            at, self.skips, self.skipped_at = self.skipped_at, [], ''
            self._tell(TasksSkipped(tasks, at, MATCHED, keys, done_at))

    def __call__(self, event: Event) -> None:
        self.flush()
        self._tell(event)

    def _tell(self, event: Event) -> None:
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
        self.flush()
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


class Farewell(Sink):
    """Hears of a run, and has a last word when it is known how it ends."""

    def call(self, ended: RunEnded, exit_code: int, first_failure: Optional[str],
             emit: Callable[[Event], None]) -> Optional[Dict[str, Any]]:
        """Do what is to be done, tell of it, and return what the run's record says of it."""
        raise NotImplementedError


class Session:
    """One run on its way; `stop` is asked at its end whether somebody wanted it to end."""

    def __init__(self, occasion: Occasion, clock: Clock, stop: Stop, sinks: Sequence[Sink],
                 farewell: Optional[Farewell] = None):
        self.occasion = occasion
        self.clock = clock
        self.stop = stop
        self.sinks = sinks
        self.farewell = farewell
        self.names = StateNames(occasion.root)
        self.began_s = clock.monotonic()
        self.record = RunRecord(occasion.run_id, occasion.pipeline, occasion.version,
                                stamp(clock.now()), pid=occasion.pid, host=occasion.host)
        self.audit = Audit(self.names, occasion.run_id, clock, occasion.audit_key)

    def hold(self, work: Callable[[Broadcast], Ending]) -> int:
        """Have `work` done as this run and return the exit code.

        Raises `LockTimeout` when the run id is in use and `StateError` when what
        happened could not be written down; the run's record then says `failed`,
        if that at least can be written.
        """
        names, root = self.names, self.occasion.root
        _make_state_folder(names.folder)
        lock = _take_run_lock(root, self.occasion.run_id)
        try:
            self._open(lock)
            last = [self.farewell] if self.farewell is not None else []
            emit = Broadcast([self.audit, *self.sinks, *last])
            try:
                ending = work(emit)
                emit.flush()
                exit_code = self._close(ending, emit)
            except StateError:
                self._give_up(self.sinks, emit)
                raise
            except Exception as error:
                if getattr(error, 'exit_code', BUG) == REFUSED and not self.audit.last:
                    self._take_back()
                else:
                    # A bug of ours: no sink is to be trusted after it, but nobody is to take the
                    # run for one that goes on.
                    self._give_up((), None)
                raise
            sweep(names, root)
            forget_old_runs(names, root, self.occasion.keep_runs)
        finally:
            for sink in (self.audit, *self.sinks):
                sink.close()
            lock.release()
        return exit_code

    def _open(self, lock: Lock) -> None:
        """Leave word who is at work, and say that the run goes on."""
        record, names = self.record, self.names
        lock.note(self.occasion.holder(record.started_at))
        if self.occasion.resumes:
            before = started_at(names, record.run_id)
            self.record = record._replace(started_at=before or record.started_at)
        else:
            forget_run(names, record.run_id)
        self.audit.prepare()
        write_run(names, self.record)

    def _close(self, ending: Ending, emit: Broadcast) -> int:
        """Write the end of the run down, then tell it; return the exit code that agrees with it.

        A request to stop that comes later has nothing left to stop.
        """
        stop = self.stop
        exit_code = 128 + stop.signum if stop.is_requested else ending.exit_code
        state = INTERRUPTED if stop.is_requested else COMPLETED if exit_code == OK else FAILED
        ended = self._ended(state)
        hook = self._take_leave(ended, exit_code, ending.first_failure, emit)
        head = self.audit.end(ended)
        write_run(self.names, self.record._replace(
            ended_at=ended.at, state=state, audit_head=head,
            first_failure=ending.first_failure, isolation=ending.isolation, hook=hook))
        Broadcast(self.sinks)(ended._replace(audit_head=head))
        return exit_code

    def _take_leave(self, ended: RunEnded, exit_code: int, first_failure: Optional[str],
                    emit: Callable[[Event], None]) -> Optional[Dict[str, Any]]:
        if self.farewell is None:
            return None
        return self.farewell.call(ended, exit_code, first_failure, emit)

    def _give_up(self, sinks: Sequence[Sink], emit: Optional[Broadcast]) -> None:
        """Try to leave a true record where state cannot be written; the first error matters.

        Without `emit` nobody was told of a start.
        """
        ended, hook = self._ended(FAILED), None
        try:
            if emit is not None:
                hook = self._take_leave(ended, STATE, None, emit)
        except StateError:
            pass
        try:
            ended = ended._replace(audit_head=self.audit.end(ended))
        except StateError:
            # Whoever comes next finds the run dead and closes its audit.
            pass
        try:
            write_run(self.names, self.record._replace(
                ended_at=ended.at, state=FAILED, audit_head=ended.audit_head or None,
                hook=hook))
        except StateError:
            # The disk is what is wrong; who reads the record later sees the run is not alive.
            pass
        try:
            Broadcast(sinks)(ended)
        except StateError:
            # Whoever prints has heard it all the same.
            pass

    def _take_back(self) -> None:
        """Refused before anybody was told of a start: this was no run, unless it was one before.

        Else `--resume` would go on with a slip of the hand instead of what was stopped.
        """
        if not self.occasion.resumes:
            try:
                remove_tree(self.names.run(self.record.run_id))
                return
            except OSError:
                # Then it has to say at least that it is over.
                pass
        self._give_up((), None)

    def _ended(self, state: str) -> RunEnded:
        return RunEnded(self.record.run_id, stamp(self.clock.now()),
                        self.clock.monotonic() - self.began_s, state)


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


def new_run_id(clock: Clock, pid: int) -> str:
    """Return an id that sorts by time and is used by no other run on this host.

    >>> class Epoch(Clock):
    ...     def now(self): return 0.5
    >>> new_run_id(Epoch(), 7)
    '19700101T000000.500000-7'
    """
    text = stamp(clock.now())
    return text[:26].replace('-', '').replace(':', '') + f'-{pid}'
