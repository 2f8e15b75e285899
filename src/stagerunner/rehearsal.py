"""Say what a run would do, with the decisions of a run, and do nothing."""

from __future__ import annotations

from stagerunner.errors import RunnerError
from stagerunner.errors import StateError
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.plan import MAYBE
from stagerunner.plan import RUN
from stagerunner.plan import SKIP
from stagerunner.plan import Decision
from stagerunner.plan import decide
from stagerunner.plan import foresee
from stagerunner.records import TYPE_CHECKING
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import Performer
from stagerunner.result import Result
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Callable
    from typing import Container
    from typing import Dict
    from typing import FrozenSet
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set


class Rehearsal(Performer):
    """The performer of a plan: every attempt ends at once, and nothing is locked or written.

    A task that would run makes uncertain what its outputs go into: those tasks
    are announced as `maybe`.
    """

    def __init__(self, observer: Observer, emit: Callable[[Event], None],
                 groups: Sequence[Group], forced: FrozenSet[str] = frozenset()):
        self.observer = observer
        self.emit = emit
        self.forced = forced
        self.by_position = {group.stage.position: group for group in groups}
        self.groups = {group.stage.name: group for group in groups}
        #: Stages with a task that would or may run, and the ids of such items.
        self.pending: Dict[str, Set[str]] = {}
        #: Errors that need no run to be known.
        self.troubles: List[str] = []
        #: The first record that cannot be read at all; what is said of its task is only that.
        self.fault: Optional[StateError] = None

    def expand(self, group: Group) -> bool:
        makers = self._pending(group.item_makers)
        if makers:
            self.pending[group.stage.name] = set()
            self.emit(TaskPlanned(f'{group.stage.name}[*]', group.stage.name, MAYBE,
                                  (Reason('upstream will run', makers[0]),)))
            return False
        try:
            group.expand()
        except RunnerError as error:
            name = group.stage.name
            self.pending[name] = set()
            self._tell_trouble(name, error)
            self.emit(TaskPlanned(f'{name}[*]', name, RUN, (Reason(str(error)),),
                                  trouble=str(error)))
            return False
        return True

    def start(self, task: Task, attempt: int) -> Optional[Result]:
        group = self.groups[task.stage.name]
        try:
            facts = self.observer.observe(task)
        except StateError as error:
            self.fault = self.fault or error
            self._announce(task, Decision(RUN, (Reason(str(error)),)), None, str(error))
            return Result(task, DONE, attempt)
        decision = decide(task.stage, facts, is_forced=task.stage.name in self.forced)
        upstream = self._pending(group.data_needs)
        if task.item is not None:
            upstream += [name for name in (self._name(position) for position in group.pairs)
                         if task.item.id in self.pending.get(name, ())]
        decision = foresee(decision, facts, upstream)
        trouble = ''
        if facts.trouble and not upstream:
            trouble = str(facts.trouble)
            self._tell_trouble(task.name, facts.trouble)
        self._announce(task, decision, facts.marker.duration_s if facts.marker else None, trouble)
        return Result(task, SKIPPED if decision.action == SKIP else DONE, attempt)

    def _announce(self, task: Task, decision: Decision, estimate_s: Optional[float],
                  trouble: str) -> None:
        self.emit(TaskPlanned(task.name, task.stage.name, decision.action, decision.reasons,
                              estimate_s, trouble))
        if decision.action != SKIP:
            self.pending.setdefault(task.stage.name, set()).add(task.item.id if task.item else '')

    def _tell_trouble(self, name: str, trouble: RunnerError) -> None:
        self.troubles.append(f'{name}: {trouble}')
        self.emit(Warned(name, f'would fail: {trouble}'))

    def _name(self, position: int) -> str:
        group = self.by_position.get(position)
        return '' if group is None else group.stage.name

    def _pending(self, positions: Sequence[int]) -> List[str]:
        """Return the stages at some positions that would run, or may."""
        return [name for name in (self._name(position) for position in positions)
                if name in self.pending]

    def wait(self, timeout_s: Optional[float]) -> List[Result]:
        return []

    def stop(self, *, at_once: bool, only: Optional[Container[str]] = None) -> None:
        """Nothing runs."""
