"""Where the tasks of a run come from: of a plain run all of them from the definition.

The engine (`run`) asks a source which stages take part, who keeps others from
them, and who gets their tasks done.  `queue run` brings another one.
"""

from __future__ import annotations

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.events import Event
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.holds import Holds
from stagerunner.permits import Permits
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.result import Performer
from stagerunner.scheduler import Rules
from stagerunner.scheduler import Scheduler
from stagerunner.selection import Selection
from stagerunner.selection import Wanted
from stagerunner.selection import select
from stagerunner.tasks import Group

if TYPE_CHECKING:
    from typing import Callable
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Sequence


class Means(NamedTuple):
    """What a scheduler works with."""

    performer: Performer
    clock: Clock
    stop: Stop
    emit: Callable[[Event], None]
    rules: Rules
    spread: Callable[[], float]
    idle: Callable[[], Optional[float]]


class Source:
    """The source of a plain run, in which stages that the queue feeds have no tasks."""

    def select(self, groups: Sequence[Group], wanted: Wanted) -> Selection:
        """Return who takes part; raises `UsageError` for what makes no sense."""
        return select(groups, wanted)

    def check(self, selection: Selection, observer: Observer) -> None:
        """Raise `UsageError` where what takes part lacks what does not."""

    def holds(self, root: str, permits: Permits, clock: Clock,
              holder: Mapping[str, object]) -> Holds:
        """Return what keeps others from the stages while they are worked on."""
        return Holds(root, permits, clock, holder)

    def scheduler(self, means: Means) -> Scheduler:
        """Return who gets the tasks done."""
        return Scheduler(*means)

    def warnings(self, groups: Sequence[Group]) -> List[Warned]:
        """Return what people should hear of before anything runs."""
        return warn_of_queue(groups)


def warn_of_queue(groups: Sequence[Group]) -> List[Warned]:
    """Say of stages that the queue feeds, if there are any, how they are run."""
    fed = [group.stage.name for group in groups if group.is_fed]
    if not fed:
        return []
    return [Warned('', f"{', '.join(fed)}: fed by the queue, so without tasks here; "
                       f"they are run by 'queue run'")]
