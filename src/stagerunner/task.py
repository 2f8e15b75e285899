"""One attempt of one task: look, decide, launch, check what came of it, hand it over for commit.

Nothing here sleeps or retries: `start` begins an attempt, `wait` returns the
results of those that ended, and the scheduler does the rest.  The stage's lock
is held from before the look that binds until the result is durable.
"""

from __future__ import annotations

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commit import write_item
from stagerunner.definition import Stage
from stagerunner.errors import FAILED
from stagerunner.errors import IsolationError
from stagerunner.errors import RunnerError
from stagerunner.errors import StageError
from stagerunner.events import Event
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.facts import Facts
from stagerunner.facts import Observer
from stagerunner.fence import AUTO
from stagerunner.fence import OFF
from stagerunner.fence import STRICT
from stagerunner.fence import Surroundings
from stagerunner.finishing import Attempt
from stagerunner.finishing import Finisher
from stagerunner.groundwork import Groundwork
from stagerunner.harvest import Harvester
from stagerunner.headstart import HeadStart
from stagerunner.holds import Holds
from stagerunner.jobs import Order
from stagerunner.jobs import make_job
from stagerunner.launch.job import INTERRUPTED as ASKED_TO_STOP
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.watch import not_started
from stagerunner.launch.watch import start_fault
from stagerunner.ledger import Claims
from stagerunner.locks import Lock
from stagerunner.locks import holder_of
from stagerunner.permits import Grant
from stagerunner.permits import Shortage
from stagerunner.plan import SKIP
from stagerunner.plan import Decision
from stagerunner.plan import decide
from stagerunner.publish import discard
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import Performer
from stagerunner.result import Result
from stagerunner.rollcall import RollCall
from stagerunner.rollcall import Unchanged
from stagerunner.searchpath import start_environment
from stagerunner.shortcut import Shortcut
from stagerunner.spelling import private_folder
from stagerunner.state.names import StateNames
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Container
    from typing import Dict
    from typing import FrozenSet
    from typing import Iterator
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Sequence

#: So many outputs are read again before each wait, which is more than are made during one.
_AGAIN_PER_WAIT = 20

#: Progress that lies aside is shown in `state/` this often, in seconds.
_MIRROR_S = 1.0


class Setting(NamedTuple):
    """What is the same for all attempts of a run."""

    root: str
    run_id: str
    python: str
    inherited: Mapping[str, str]
    holder: Dict[str, object]
    isolation: str = AUTO
    #: Stages that run whatever their keys say.
    forced: FrozenSet[str] = frozenset()
    workers: int = 1


class Attempts(Performer):
    """The real performer: locks, files and processes."""

    def __init__(self, setting: Setting, observer: Observer, launcher: Launcher, clock: Clock,
                 emit: Callable[[Event], None], groups: Sequence[Group], holds: Holds):
        self.setting = setting
        self.names = StateNames(setting.root)
        self.observer = observer
        self.launcher = launcher
        self.clock = clock
        self.next = HeadStart(emit)
        self.emit = self.next.emit
        self.groups = groups
        self.holds = holds
        self.ledger = observer.ledger
        self.ground = Groundwork(setting.root, setting.run_id, self.ledger, self.emit)
        self.claims = Claims(setting.root, self.ledger, groups)
        self.harvester = Harvester(setting.root, observer.digests, self.ledger, self.claims, emit)
        self.finisher = Finisher(
            setting.root, setting.run_id, clock, observer.digests, self.harvester, self.ground,
            self.holds, self._isolation_of)
        self.under_way: Dict[str, Attempt] = {}
        #: Where there is a shorter way than to observe and decide.
        self.shortcut: Optional[Shortcut] = None
        self.surroundings = Surroundings(setting.isolation)

    def _isolation_of(self, stage: Stage) -> Dict[str, Any]:
        return self.surroundings.of_stage(stage)

    def require_isolation(self) -> None:
        """Raise `IsolationError` when what the mode demands cannot be had; starts nothing."""
        if self.setting.isolation == STRICT:
            try:
                self._look_at_fence(is_python=True)
            except OSError as error:
                raise IsolationError(f'--isolation strict: no process can be started: '
                                     f'{start_fault(error)}; nothing was started') from error
            self.surroundings.check_strict(self._stages)

    def _look_at_fence(self, is_python: bool) -> None:
        """Find out once what fence there is, and warn when it is not the kernel's."""
        if self.surroundings.fence is None and self.setting.isolation != OFF:
            self.surroundings = self.surroundings._replace(fence=self.launcher.fence(
                self.setting.python if is_python else None,
                start_environment(self.setting.inherited)))
            if self.setting.isolation == AUTO:
                for complaint in self.surroundings.complaints(self._stages):
                    self.emit(Warned('', complaint))

    def _stages(self) -> Iterator[Stage]:
        return (group.stage for group in self.groups)

    # -- beginning -------------------------------------------------------------

    def passes(self, group: Group) -> bool:
        if self.shortcut is None or group.stage_name == self.next.begun:
            return False
        if self.under_way:
            self.shortcut.disturb()
        return self.shortcut.passes(group)

    def unchanged(self, group: Group, numbers: Sequence[int]) -> Iterator[Unchanged]:
        if not numbers or self.holds.is_one_by_one or group.stage.name in self.setting.forced:
            return
        first = group.task(numbers[0])
        if group.items is None or self.holds.take(first) is None:
            return
        self.ledger.reload(first)
        journal = self.ledger.valid_journal(first)
        if journal is not None:
            for some in RollCall(self.observer, group, journal).batches(numbers):
                self.ledger.settled_members(first, some.names, some.keys)
                yield some

    def start(self, task: Task, attempt: int) -> Optional[Result]:
        if task.name == self.next.begun:
            self.next.tell()
            return None
        is_new = not self.holds.has(task)
        lock = self.holds.take(task)
        if lock is None:
            return self._without_lock(task, attempt, self.holds.path(task))
        if is_new:
            self.ledger.reload(task)
        if task.item is not None and task.item.content is not None:
            write_item(self.setting.root, task.item.path, task.item.content)
        return self._begin(task, attempt, lock)

    def _without_lock(self, task: Task, attempt: int, path: str) -> Result:
        """Skip what is valid whoever holds the lock, else report who has it."""
        self.ledger.reload(task)
        facts = self.observer.observe(task)
        if self._decide(task, facts).action == SKIP:
            return self._skipped(task, attempt, facts)
        return Result(task, BUSY, attempt, error=holder_of(path))

    def _decide(self, task: Task, facts: Facts) -> Decision:
        return decide(task.stage, facts, is_forced=task.stage.name in self.setting.forced)

    def _begin(self, task: Task, attempt: int, lock: Lock) -> Optional[Result]:
        facts = self.observer.observe(task)
        decision = self._decide(task, facts)
        if decision.action == SKIP:
            if facts.has_leftover:
                discard(private_folder(task.output_dir, task.name))
            return self._skipped(task, attempt, facts)
        if self.shortcut is not None:
            self.shortcut.forget(task)
        if facts.trouble:
            return self._troubled(task, attempt, facts.trouble, stamp(self.clock.now()))
        grant = self.holds.permit(task)
        if isinstance(grant, Shortage):
            return self.holds.refused(task, attempt, grant)
        try:
            return self._set_out(task, attempt, lock, facts, decision, grant)
        finally:
            if grant is not None and task.name not in self.under_way:
                grant.release()

    def _set_out(self, task: Task, attempt: int, lock: Lock, facts: Facts, decision: Decision,
                 grant: Optional[Grant]) -> Optional[Result]:
        now = stamp(self.clock.now())
        self.ground.warn(task, facts)
        self.emit(TaskStarted(task.name, now, attempt, decision.reasons))
        private, made_ns = self.ground.lay(task, attempt, facts, decision)
        under_way = Attempt(task, attempt, lock, facts, decision, private, made_ns, now, grant)
        try:
            ended = self.launcher.start(self._job(under_way))
        except OSError as error:
            # What starts processors cannot be started itself.
            ended = not_started(task.name, error)
        if ended is not None:
            return self.finisher.judge(under_way, ended)
        self.under_way[task.name] = under_way
        # For people: its turn comes when the processor is at work.
        self.holds.note(task, now)
        return None

    def expect(self, group: Optional[Group]) -> None:
        self._give_up_next()
        self.next.group = group

    def _begin_next(self) -> None:
        """Begin the stage that is expected, if it is sure that and how it is going to run.

        Whatever is in its way is met again, and told, when it has its turn.
        """
        group = self.next.next_group(self.observer.digests)
        if group is None or self.shortcut is not None and self.shortcut.stands(group):
            return
        task = group.task(0)
        try:
            lock = self.holds.take(task)
            if lock is not None:
                self._begin_early(task, lock)
        except (OSError, RunnerError):
            self.next.forget()
        finally:
            self.next.go_on()

    def _begin_early(self, task: Task, lock: Lock) -> None:
        facts = self.observer.observe(task)
        decision = self._decide(task, facts)
        if decision.action == SKIP or facts.trouble:
            return
        if self.shortcut is not None:
            self.shortcut.forget(task)
        self.next.hold_back(task)
        if self._set_out(task, 1, lock, facts, decision, None) is not None:
            self.next.forget()

    def _give_up_next(self) -> None:
        """Stop what was begun before its turn: it has none."""
        name = self.next.begun
        if not name:
            return
        self.launcher.stop_all(ASKED_TO_STOP, at_once=True, only={name})
        while name in self.under_way:
            for ended in self.launcher.wait(None):
                self.finisher.failed(self.under_way.pop(ended.task), ended, STOPPED,
                                     'interrupted', retry.TRANSIENT)
                if ended.log_path:
                    discard(ended.log_path)
        self.holds.release(name)
        self.next.forget()

    def _skipped(self, task: Task, attempt: int, facts: Facts) -> Result:
        assert facts.marker
        self.ledger.settled(task, facts.key)
        if self.shortcut is not None:
            self.shortcut.note(task, facts)
        return Result(task, SKIPPED, attempt, key=facts.key, done_at=facts.marker.done_at)

    def _job(self, under_way: Attempt) -> Job:
        task, facts = under_way.task, under_way.facts
        assert facts.program
        point = under_way.decision.point
        order = Order(
            task=task, run_id=self.setting.run_id, root=self.setting.root, key=facts.key,
            attempt=under_way.number, line_offset=point.line_offset if point else 0,
            inputs=tuple(entry.name for entry in facts.inputs), sources=facts.program.sources,
            private=under_way.private, lock=under_way.lock.descriptor,
            log_path=self.names.log(self.setting.run_id, task.name, under_way.number))
        if not task.stage.has_network or task.stage.has_declared_files:
            self._look_at_fence(task.stage.is_python)
        return make_job(order, self.setting.python, self.setting.inherited, self.surroundings)

    # -- ending ----------------------------------------------------------------

    def wait(self, timeout_s: Optional[float]) -> List[Result]:
        if not self.under_way and self.finisher.waiting:
            self._commit()
            return self.finisher.collect()
        self.observer.digests.read_again(_AGAIN_PER_WAIT)
        results: List[Result] = []
        for ended in self.launcher.wait(self._shortest(timeout_s)):
            under_way = self.under_way.pop(ended.task)
            if self.shortcut is not None:
                self.shortcut.disturb()
            try:
                results.append(self.finisher.judge(under_way, ended))
            finally:
                if under_way.grant is not None:
                    under_way.grant.release()
        if self._has_to_commit():
            self._commit()
        told = self.finisher.collect()
        names = {result.task.name for result in told}
        return [result for result in results if result.task.name not in names] + told

    def _commit(self) -> None:
        if self.shortcut is not None:
            self.shortcut.disturb()
        if self.finisher.publish():
            self._begin_next()
        self.finisher.settle()
        if any(result.status != DONE for result in self.finisher.results):
            self._give_up_next()

    def _shortest(self, timeout_s: Optional[float]) -> Optional[float]:
        """Return how long to wait at most: there may be progress to show, or a commit to make."""
        limits = [timeout_s, self.finisher.due_in()]
        mirrored = [under_way for under_way in self.under_way.values()
                    if under_way.task.stage.has_declared_files]
        if mirrored:
            limits.append(_MIRROR_S)
            for under_way in mirrored:
                self.ground.mirror(under_way.task)
        return min((limit for limit in limits if limit is not None), default=None)

    def _has_to_commit(self) -> bool:
        """True when it is time to, or when nothing more could start before.

        With one worker a plain stage is published before the next one starts.
        """
        if self.finisher.due_in() is None:
            return False
        if self.setting.workers == 1 and not self.under_way and (
                self.holds.is_one_by_one or not all(
                    entry.attempt.task.is_member for entry in self.finisher.waiting)):
            return True
        return self.finisher.due_in() == 0.0

    def stop(self, *, at_once: bool, only: Optional[Container[str]] = None) -> None:
        self.launcher.stop_all(ASKED_TO_STOP, at_once=at_once, only=only)

    def let_go(self, task: str) -> None:
        self.holds.let_go(task)

    def gave_up(self, result: Result) -> None:
        journal = self.ledger.journal(result.task) if self.holds.has(result.task) else None
        if journal is not None:
            journal.append_failure(result.task.name, stamp(self.clock.now()), result.error_class,
                                   result.error, result.attempt)

    def finish(self, group: Group, *, is_ok: bool) -> None:
        try:
            if group.is_fan_out and is_ok and group.stage.name in self.holds.locks:
                self.finisher.complete(group)
        finally:
            self.holds.release(group.stage.name)

    def close(self) -> None:
        """Let go of everything, however the run ended."""
        self.holds.release_all()
        self.ledger.close()
        self.finisher.close()

    def _troubled(self, task: Task, attempt: int, trouble: StageError, now: str) -> Result:
        return Result(task, BROKEN, attempt, now, exit_code=FAILED, error=str(trouble),
                      error_class=retry.PERMANENT if trouble.is_final else retry.TRANSIENT)
