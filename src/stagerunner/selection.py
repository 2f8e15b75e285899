"""Which stages take part in a run, and what is said about those that do not."""

from __future__ import annotations

import os

from stagerunner.errors import UsageError
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.graph import closure
from stagerunner.plan import SKIP
from stagerunner.plan import decide
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.schema import no_stage
from stagerunner.state.marker import marker_path
from stagerunner.tasks import Group

if TYPE_CHECKING:
    from typing import Callable
    from typing import Dict
    from typing import FrozenSet
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple


class Wanted(NamedTuple):
    """The flags of a partial run: names of stages."""

    only: Tuple[str, ...] = ()
    until: Tuple[str, ...] = ()
    force: Tuple[str, ...] = ()
    resume_from: Optional[str] = None


class Selection(NamedTuple):
    """The groups that take part, those that are taken as they are, and the names of forced ones.

    `later` are groups that do not take part although what they need does.
    """

    groups: List[Group]
    taken: List[Group]
    later: List[Group]
    forced: FrozenSet[str]


def select(groups: Sequence[Group], wanted: Wanted) -> Selection:
    """Return who takes part; raises `UsageError` for names and combinations that make no sense."""
    if wanted == Wanted():
        return Selection(list(groups), [], [], frozenset())
    by_name = {group.stage.name: group for group in groups}
    for flag, names in (('--only', wanted.only), ('--until', wanted.until),
                        ('--force', wanted.force),
                        ('--resume-from', (wanted.resume_from,) if wanted.resume_from else ())):
        for name in names:
            if name not in by_name:
                raise UsageError(f'{flag}: {no_stage(name, list(by_name))}')
    chosen = _chosen(groups, by_name, wanted)
    forced = set(wanted.force)
    if wanted.resume_from:
        forced |= {groups[position].stage.name for position in chosen}
    for name in wanted.force:
        if by_name[name].stage.position not in chosen:
            raise UsageError(f"--force: stage '{name}' does not take part in this run")
    upstream = _upstream(groups, chosen)
    if wanted.resume_from:
        upstream |= set(range(by_name[wanted.resume_from].stage.position))
    downstream = _downstream(groups, chosen)
    return Selection(
        [groups[position] for position in sorted(chosen)],
        [groups[position] for position in sorted(upstream - chosen)],
        [groups[position] for position in sorted(downstream - chosen - upstream)],
        frozenset(forced))


def _chosen(groups: Sequence[Group], by_name: dict, wanted: Wanted) -> Set[int]:  # type: ignore[type-arg]
    chosen = {group.stage.position for group in groups}
    if wanted.only:
        chosen &= {by_name[name].stage.position for name in wanted.only}
    if wanted.until:
        ends = {by_name[name].stage.position for name in wanted.until}
        chosen &= ends | _upstream(groups, ends)
    if wanted.resume_from:
        first = by_name[wanted.resume_from].stage.position
        for group in groups[:first]:
            # What the queue feeds is never complete, so it has none.
            if not (group.is_fed or os.path.lexists(marker_path(group.home, group.stage.name))):
                raise UsageError(
                    f"--resume-from: stage '{group.stage.name}' before it has no marker, so it "
                    f'cannot be taken as it is; run it first (--until {group.stage.name})')
        chosen &= {group.stage.position for group in groups[first:]}
    if not chosen:
        raise UsageError('no stage takes part: the flags exclude one another')
    return chosen


def _upstream(groups: Sequence[Group], positions: Set[int]) -> Set[int]:
    """Return everything that the stages at some positions need, directly or not."""
    needs = {group.stage.name: [groups[position].stage.name
                                for position in (*group.needs, *group.pairs)]
             for group in groups}
    return _positions(groups, closure(needs, _names(groups, positions))) - positions


def _downstream(groups: Sequence[Group], positions: Set[int]) -> Set[int]:
    """Return everything that needs the stages at some positions, directly or not."""
    dependents: Dict[str, List[str]] = {group.stage.name: [] for group in groups}
    for group in groups:
        for position in (*group.needs, *group.pairs):
            dependents[groups[position].stage.name].append(group.stage.name)
    return _positions(groups, closure(dependents, _names(groups, positions))) - positions


def _names(groups: Sequence[Group], positions: Set[int]) -> List[str]:
    return [groups[position].stage.name for position in positions]


def _positions(groups: Sequence[Group], names: Set[str]) -> Set[int]:
    return {group.stage.position for group in groups if group.stage.name in names}


class Staleness:
    """Says which stages that do not take part are not what a whole run would leave."""

    def __init__(self, observer: Observer, emit: Callable[[Event], None]):
        self.observer = observer
        self.emit = emit

    def warn_of_taken(self, groups: Sequence[Group]) -> None:
        """Warn of what is taken as it is although it would run."""
        for group in groups:
            reason = self._stale(group)
            if reason is not None:
                self.emit(Warned(group.stage.name, f'is taken as it is, but is stale ({reason})'))

    def warn_of_later(self, groups: Sequence[Group]) -> None:
        """Warn of former successes that what just ran has made stale."""
        stale: Dict[int, str] = {}
        for group in groups:
            if os.path.lexists(marker_path(group.home, group.stage.name)):
                needed = (stale[position] for position in (*group.data_needs, *group.pairs)
                          if position in stale)
                maker = next(needed, None)
                reason = self._stale(group)
                if reason is None and maker is not None:
                    reason = Reason('upstream is stale', maker)
                if reason is not None:
                    stale[group.stage.position] = group.stage.name
                    self.emit(Warned(group.stage.name, f'is stale now ({reason}); '
                                                       f'it takes no part in this run'))

    def _stale(self, group: Group) -> Optional[Reason]:
        """Return the first reason for which a task would run, None where all is well."""
        group.expand()
        if len(group):
            self.observer.ledger.reload(group.task(0))
        for task in group:
            decision = decide(task.stage, self.observer.observe(task))
            if decision.action != SKIP:
                return decision.reasons[0]
        return None
