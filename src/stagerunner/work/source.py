"""Of which stages and tasks a run of the queue is made."""

from __future__ import annotations

import os
from typing import List
from typing import Mapping
from typing import Sequence

from stagerunner.clock import Clock
from stagerunner.errors import UsageError
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.feeding import FedScheduler
from stagerunner.fingerprint import expand_inputs
from stagerunner.holds import Holds
from stagerunner.permits import Permits
from stagerunner.placeholders import OPENING
from stagerunner.selection import Selection
from stagerunner.selection import Wanted
from stagerunner.source import Means
from stagerunner.source import Source
from stagerunner.state.marker import marker_path
from stagerunner.tasks import Group
from stagerunner.work.feed import QueueFeed
from stagerunner.work.holds import EntryHolds


class QueueSource(Source):
    """The source of `queue run`: stages that the queue feeds, and its entries as their tasks."""

    def __init__(self, feed: QueueFeed):
        self.feed = feed
        self.stages: List[str] = []

    def select(self, groups: Sequence[Group], wanted: Wanted) -> Selection:
        fed = [group for group in groups if group.is_fed]
        if not fed:
            raise UsageError('no stage is fed by the queue; give a stage "forEach" and its '
                             'collection {"queue": true}')
        feed = self.feed
        self.stages = [group.stage.name for group in fed]
        feed.collections = sorted({group.collection.name for group in fed if group.collection})
        for group in fed:
            group.retry_as(group.stage.retry._replace(
                max_attempts=feed.settings.max_job_attempts, deadline_s=None))
        needed = {position for group in fed for position in group.needs}
        taken = [group for group in groups if group.stage.position in needed]
        return Selection(fed, taken, [], frozenset())

    def check(self, selection: Selection, observer: Observer) -> None:
        """Refuse to begin where what ordinary stages make for these is not there."""
        for group in selection.groups:
            inputs = tuple(name for name in group.stage.inputs if OPENING not in name)
            missing = expand_inputs(observer.root, inputs).missing
            if missing:
                maker = group.makers[group.stage.inputs.index(missing[0])]
                raise UsageError(f"stage '{group.stage.name}': input {missing[0]} is missing"
                                 + (f" after {maker}; run the pipeline first, without 'queue run'"
                                    if maker else ''))
        for group in selection.taken:
            group.expand()
            if len(group) and not os.path.lexists(marker_path(group.home, group.stage.name)):
                raise UsageError(f"stage '{group.stage.name}' is not done, and stages that the "
                                 f"queue feeds need it; run the pipeline first, without "
                                 f"'queue run'")

    def holds(self, root: str, permits: Permits, clock: Clock,
              holder: Mapping[str, object]) -> Holds:
        return EntryHolds(root, permits, clock, holder, self.feed.is_ours, self.stages)

    def scheduler(self, means: Means) -> FedScheduler:
        return FedScheduler(means, self.feed)

    def warnings(self, groups: Sequence[Group]) -> List[Warned]:
        return []
