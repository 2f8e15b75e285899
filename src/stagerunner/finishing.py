"""What becomes of attempts that ended: checked, committed together, told as results.

An attempt that ended well is checked at once, because its slot is free from
then on.  It becomes durable with others (`commit`): as soon as nothing is
at work, else a moment later, so that many of them cost as few flushes as one.
"""

from __future__ import annotations

import os

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commit import Batch
from stagerunner.commit import Finished
from stagerunner.commit import complete
from stagerunner.definition import Stage
from stagerunner.errors import FAILED
from stagerunner.errors import STATE
from stagerunner.errors import InputChanged
from stagerunner.errors import RunnerError
from stagerunner.errors import StageError
from stagerunner.errors import Unreadable
from stagerunner.events import Warned
from stagerunner.evidence import evidence
from stagerunner.facts import Facts
from stagerunner.files import one_spelling
from stagerunner.fingerprint import Digests
from stagerunner.flushing import Flusher
from stagerunner.groundwork import Groundwork
from stagerunner.harvest import Crop
from stagerunner.harvest import Harvester
from stagerunner.holds import Holds
from stagerunner.launch.job import INTERRUPTED as ASKED_TO_STOP
from stagerunner.launch.job import Exit
from stagerunner.locks import Lock
from stagerunner.permits import Grant
from stagerunner.plan import Decision
from stagerunner.publish import discard
from stagerunner.publish import written_files
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.result import BROKEN
from stagerunner.result import DONE
from stagerunner.result import ENDED
from stagerunner.result import STOPPED
from stagerunner.result import Result
from stagerunner.result import error_of
from stagerunner.resume import tells_lengths
from stagerunner.state.marker import Marker
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set

#: While others are at work, what has ended waits at most so long and for so many more.
LONGEST_WAIT_S, MOST_WAITING = 0.05, 200


class Attempt(NamedTuple):
    """An attempt that is under way."""

    task: Task
    number: int
    lock: Lock
    facts: Facts
    decision: Decision
    private: str
    made_ns: int
    started_at: str
    grant: Optional[Grant] = None


class _Waiting(NamedTuple):
    """An attempt whose outputs are checked and wait for their commit."""

    attempt: Attempt
    ended: Exit
    crop: Crop
    done_at: str


class Finisher:
    """Turns ends of attempts into results."""

    def __init__(self, root: str, run_id: str, clock: Clock, digests: Digests,
                 harvester: Harvester, ground: Groundwork, holds: Holds,
                 isolation_of: Callable[[Stage], Dict[str, Any]]):
        self.root = root
        self.run_id = run_id
        self.clock = clock
        self.digests = digests
        self.harvester = harvester
        self.ledger = harvester.ledger
        self.ground = ground
        self.holds = holds
        #: How a stage is isolated, once that is known.
        self.isolation_of = isolation_of
        self.flusher = Flusher(root)
        self.waiting: List[_Waiting] = []
        #: Those that are published, and how far they are on their way to the disk.
        self.published: List[_Waiting] = []
        self.batch = Batch((), self.flusher)
        self.since = 0.0
        self.results: List[Result] = []
        #: What is going to be published by those that wait, and the folders around it.
        self.names: Set[str] = set()
        self.above: Set[str] = set()

    # -- an end ------------------------------------------------------------------

    def judge(self, attempt: Attempt, ended: Exit) -> Result:
        """Turn the end of a process into a result, which for a success is not yet the last."""
        if ended.usage.leftovers:
            self.ground.emit(Warned(attempt.task.name, f'left {ended.usage.leftovers} processes '
                                                       f'behind; they were killed'))
        self.ground.mirror(attempt.task)
        try:
            if ended.stopped == ASKED_TO_STOP:
                return self.failed(attempt, ended, STOPPED, 'interrupted', retry.TRANSIENT)
            error, error_class = error_of(attempt.task, ended)
            if not error:
                return self.take(attempt, ended)
            is_full = any(retry.is_no_space(line) for line in ended.stderr_lines)
            return self.failed(attempt, ended, BROKEN, error, error_class,
                               STATE if is_full else FAILED)
        except StageError as error:
            error_class = retry.PERMANENT if error.is_final else retry.TRANSIENT
            return self.failed(attempt, ended, BROKEN, str(error), error_class)
        except Unreadable as error:
            return self.failed(attempt, ended, BROKEN, str(error), retry.PERMANENT)
        except FileNotFoundError as error:
            said = f'{self.ground.shown(error.filename)} vanished while it was being published'
            return self.failed(attempt, ended, BROKEN, said, retry.TRANSIENT)
        except RunnerError as error:
            return self.failed(attempt, ended, BROKEN, str(error), retry.PERMANENT,
                               error.exit_code)

    def take(self, attempt: Attempt, ended: Exit) -> Result:
        """Check what a processor that exited with 0 made, which waits for its commit from then on.
        """
        task, facts = attempt.task, attempt.facts
        assert facts.program
        self.harvester.check_inputs(task, facts.inputs, facts.program.sources[0])
        names = written_files(attempt.private)
        if self._is_in_the_way(task, names):
            self.commit()
        crop = self.harvester.gather(task, attempt.private, names, attempt.made_ns)
        if not self.waiting:
            self.since = self.clock.monotonic()
        self.waiting.append(_Waiting(attempt, ended, crop, stamp(self.clock.now())))
        self._claim(task, [output.path for output in crop.outputs])
        return self.result(attempt, ended, ENDED)

    def _is_in_the_way(self, task: Task, names: Sequence[str]) -> bool:
        """True when what waits could change what is to be said of these outputs."""
        if not self.waiting:
            return False
        if not names:
            # It may have written into `outputDir` directly, where others are going to publish.
            return True
        for name in names:
            path = self._spelled(task, name)
            if path in self.names or path in self.above:
                return True
            while len(path) > len(task.output_dir):
                path = os.path.dirname(path)
                if path in self.names:
                    return True
        return False

    def _claim(self, task: Task, names: Sequence[str]) -> None:
        for name in names:
            path = self._spelled(task, name)
            self.names.add(path)
            while len(path) > len(self.root):
                path = os.path.dirname(path)
                if path in self.above:
                    break
                self.above.add(path)

    @staticmethod
    def _spelled(task: Task, name: str) -> str:
        return one_spelling(os.path.join(task.output_dir, name))

    # -- the commit ----------------------------------------------------------------

    def due_in(self) -> Optional[float]:
        """Return in how many seconds there has to be a commit, None where nothing waits."""
        if not self.waiting:
            return None
        if len(self.waiting) >= MOST_WAITING:
            return 0.0
        return max(0.0, self.since + LONGEST_WAIT_S - self.clock.monotonic())

    def collect(self) -> List[Result]:
        """Return the results of what was committed since this was asked last."""
        results, self.results = self.results, []
        return results

    def commit(self) -> None:
        """Make all that waits durable."""
        self.publish()
        self.settle()

    def publish(self) -> bool:
        """Give the outputs that wait their names; True where nothing is amiss so far.

        They are as others will find them from then on, but not durable until `settle`.
        """
        self.published, self.waiting = self.waiting, []
        self.names, self.above = set(), set()
        self.batch = Batch([self._finished(entry) for entry in self.published
                            if self.holds.may_publish(entry.attempt.task)], self.flusher)
        self.batch.publish()
        for finished in self.batch.left:
            for output in finished.marker.outputs:
                if output.link is None:
                    self.digests.published(os.path.join(finished.published, output.path),
                                           output.digest)
        return len(self.batch.left) == len(self.published)

    def settle(self) -> None:
        """Make what was published durable, and results of it."""
        self.batch.settle()
        errors = self.batch.errors
        done = {finished.task for finished in self.batch.left}
        for entry in self.published:
            name = entry.attempt.task.name
            if name in done:
                result = self._done(entry)
            elif name in errors:
                result = self.failed(entry.attempt, entry.ended, BROKEN, str(errors[name]),
                                     retry.PERMANENT, errors[name].exit_code)
            else:
                result = self.failed(entry.attempt, entry.ended, STOPPED, 'interrupted',
                                     retry.TRANSIENT)
            self.results.append(result)
        self.published = []

    def complete(self, group: Group) -> None:
        """All tasks of a fan-out are done: its marker says so, unless it does already."""
        key, tasks = self.ledger.done(group)
        if self.ledger.is_told(group, key):
            return
        marker = Marker(group.stage.name, key, self.run_id, stamp(self.clock.now()),
                        0.0, True, {'tasks': tasks}, (), self.ground.shown(group.home))
        complete(group.home, marker, self.ledger.journal(group.task(0)), tasks)
        gone = self.ledger.gone(group)
        if gone:
            self.ground.emit(Warned(group.stage.name, f'{len(gone)} of its former tasks are '
                                    f'gone, such as {gone[0]}; what they published is still '
                                    f'there'))

    def _finished(self, entry: _Waiting) -> Finished:
        attempt, crop = entry.attempt, entry.crop
        task = attempt.task
        if task.stage.checkpoint.enabled and not tells_lengths(task.names(self.root), task.name):
            # Killed in the middle of what follows, nobody could tell what was moved already.
            self._end_progress(attempt)
        marker = Marker(task.name, attempt.facts.key, self.run_id, entry.done_at,
                        round(entry.ended.duration_s, 6), crop.is_staged, attempt.facts.parts,
                        crop.outputs, task.stage.output_dir)
        return Finished(task.name, attempt.private, task.output_dir, marker, crop.former,
                        self.ledger.journal(task))

    def _done(self, entry: _Waiting) -> Result:
        """Take note of an attempt that is durable now."""
        attempt, crop = entry.attempt, entry.crop
        task = attempt.task
        self.ledger.settled(task, attempt.facts.key)
        self.harvester.claims.note(task)
        total = self._end_progress(attempt) if task.stage.checkpoint.enabled else None
        if task.stage.has_declared_files:
            discard(task.aside)
        return self.result(attempt, entry.ended, DONE)._replace(
            done_at=entry.done_at, is_staged=crop.is_staged, total_lines=total,
            made=evidence(attempt.facts.parts, task.stage.output_dir, crop.outputs))

    def _end_progress(self, attempt: Attempt) -> int:
        return self.ground.end_progress(attempt.task, attempt.number, attempt.facts.key,
                                        attempt.private)

    # -- results ---------------------------------------------------------------------

    def failed(self, attempt: Attempt, ended: Exit, status: str, error: str,
               error_class: str, exit_code: int = FAILED) -> Result:
        """Return the result of an attempt without outputs; partial ones stay if it can resume.

        They are worth nothing when they may come from other bytes than were hashed.
        """
        asked_s = self.ground.retry_after_s(attempt.task)
        if not (attempt.task.stage.checkpoint.enabled and self._inputs_held(attempt)):
            discard(attempt.private)
            discard(attempt.task.aside)
        return self.result(attempt, ended, status)._replace(
            error=error, error_class=error_class, exit_code=exit_code, retry_after_s=asked_s)

    def _inputs_held(self, attempt: Attempt) -> bool:
        facts = attempt.facts
        assert facts.program
        try:
            self.harvester.check_inputs(attempt.task, facts.inputs, facts.program.sources[0])
        except InputChanged:
            return False
        return True

    def result(self, attempt: Attempt, ended: Exit, status: str) -> Result:
        """Return the result of an attempt that ended in some way."""
        point = attempt.decision.point
        return Result(
            attempt.task, status, attempt.number, attempt.started_at, ended.duration_s,
            attempt.decision.reasons, attempt.facts.key, code=ended.exit_code,
            log=self.ground.shown(ended.log_path) if ended.log_path else '', tail=ended.tail,
            line_offset=point.line_offset if point else 0,
            is_verified=point is None or point.lengths is not None, usage=ended.usage,
            isolation=self.isolation_of(attempt.task.stage))

    def close(self) -> None:
        """Let go of what was held for further commits."""
        self.flusher.close()
