"""Turn the stages of a definition into the tasks that are planned, locked, launched, recorded.

The tasks of one stage are a group: one for a plain stage, else one for each
job or item.  They are made when they are asked for, because a fan-out may have
a hundred thousand of them, and expanded when everything that can publish their
collection is done.
"""

from __future__ import annotations

import heapq
import os

from stagerunner.definition import Stage
from stagerunner.errors import DefinitionError
from stagerunner.graph import find_cycle
from stagerunner.items import Item
from stagerunner.items import expand
from stagerunner.items import filler
from stagerunner.items import former_item
from stagerunner.placeholders import OPENING
from stagerunner.placeholders import fixed_folder
from stagerunner.producers import Producers
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.retry import RetryPolicy
from stagerunner.spelling import encode
from stagerunner.state.names import AsideNames
from stagerunner.state.names import StateNames
from stagerunner.workspace import Workspace

if TYPE_CHECKING:
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple


class Task(NamedTuple):
    """One unit of work: a stage (filled in for a job or item) and its absolute output folder.

    `producers` names, for each declared input, the last earlier stage that can
    publish it (or nothing).  `home` is where the marker of the stage lies, also
    for a stage with many tasks.
    """

    name: str
    stage: Stage
    output_dir: str
    producers: Tuple[str, ...]
    home: str = ''
    job: str = ''
    item: Optional[Item] = None

    @property
    def is_member(self) -> bool:
        """True for one of the tasks of a fan-out: its success is kept in the stage's journal."""
        return bool(self.job) or self.item is not None

    @property
    def aside(self) -> str:
        """Where a task with declared files keeps progress, retry note and temporary files.

        No task can have a name with a tilde, so this is nobody's output folder.
        """
        return os.path.join(self.output_dir, f'.{self.name}~aside.partial')

    def names(self, root: str) -> StateNames:
        """Return where the state of this task lies."""
        return AsideNames(root, self.aside) if self.stage.has_declared_files else StateNames(root)


#: Stands for an entry of the queue that has come through.
_NOBODY = Item('', '', '', '', '')


class Collection:
    """The items of one entry of `items`: looked up once in a run, the same for all stages."""

    def __init__(self, workspace: Workspace, name: str):
        self.workspace = workspace
        self.name = name
        self.found: Optional[Tuple[Item, ...]] = None

    @property
    def is_queue(self) -> bool:
        """True when the items are entries of the queue, which come one by one (`Group.join`)."""
        return self.workspace.pipeline.items[self.name].kind == 'queue'

    def members(self) -> Tuple[Item, ...]:
        """Return the items as they were when somebody first asked."""
        if self.found is None:
            self.found = expand(self.workspace.root, self.name,
                                self.workspace.pipeline.items[self.name])
        return self.found


class Edges(NamedTuple):
    """Positions of the stages that a stage waits for.

    `needs` must be done as a whole before any of its tasks, of `pairs` the task
    for the same item before the task for that item.  Of `needs`, `data_needs`
    can publish inputs (the others stand in `dependsOn`), and `item_makers` what
    decides which items there are.
    """

    needs: Tuple[int, ...] = ()
    pairs: Tuple[int, ...] = ()
    data_needs: Tuple[int, ...] = ()
    item_makers: Tuple[int, ...] = ()


class Group:
    """All tasks of one stage, and what they wait for (as in `Edges`)."""

    def __init__(self, root: str, stage: Stage, producers: Producers,
                 collection: Optional[Collection], edges: Edges):
        self.root = root
        self.position = stage.position
        self.stage_name = stage.name
        self.stage = stage
        self.producers = producers
        self.collection = collection
        self.needs = edges.needs
        self.pairs = edges.pairs
        self.data_needs = edges.data_needs
        self.item_makers = edges.item_makers
        self.items: Optional[Sequence[Item]] = None
        self.makers = self._makers(stage)
        self.home = os.path.join(root, fixed_folder(stage.output_dir))
        self.fill = filler(stage)

    @property
    def is_fan_out(self) -> bool:
        """True when the tasks are jobs or items."""
        return self.collection is not None or bool(self.stage.jobs)

    @property
    def is_fed(self) -> bool:
        """True when the items are entries of the queue; a plain run has none of them."""
        return self.collection is not None and self.collection.is_queue

    def expand(self) -> None:
        """Find out which items there are."""
        if self.collection is not None:
            self.items = self.collection.members()

    def join(self, item: Item) -> int:
        """Let an entry of the queue join, and return its number."""
        if not isinstance(self.items, list):
            self.items = []
        self.items.append(item)
        return len(self.items) - 1

    def leave(self, number: int) -> None:
        """Forget an entry, whose tasks are all settled."""
        assert isinstance(self.items, list)
        self.items[number] = _NOBODY

    def retry_as(self, policy: RetryPolicy) -> None:
        """Judge failures by another policy than that of the stage."""
        self.stage = self.stage._replace(retry=policy)
        self.fill = filler(self.stage)

    def task_of(self, name: str) -> Optional[Task]:
        """Return the task that an entry of the queue had; None when its id was cut in `name`."""
        encoded = name[len(self.stage.name) + 1:-1]
        assert self.collection is not None
        item = former_item(self.root, self.collection.name, encoded)
        if item is None:
            return None
        stage = self.fill(item)
        return Task(name, stage, os.path.join(self.root, stage.output_dir), (), self.home,
                    item=item)

    def __len__(self) -> int:
        if self.collection is not None:
            return len(self.items or ())
        return len(self.stage.jobs) or 1

    def __iter__(self) -> Iterator[Task]:
        return (self.task(index) for index in range(len(self)))

    def name(self, index: int) -> str:
        """Return the name of one task."""
        if self.items is not None:
            return f'{self.stage.name}[{self.items[index].encoded}]'
        if self.stage.jobs:
            return f'{self.stage.name}[{encode(self.stage.jobs[index].name)}]'
        return self.stage.name

    def task(self, index: int) -> Task:
        """Return one task, in the order in which one worker runs them."""
        stage, item, job, makers = self.stage, None, '', self.makers
        if self.items is not None:
            item = self.items[index]
            stage = self.fill(item)
        elif stage.jobs:
            job, stage = stage.jobs[index]
            makers = self._makers(stage)
        return Task(self.name(index), stage, os.path.join(self.root, stage.output_dir), makers,
                    self.home, job, item)

    def _makers(self, stage: Stage) -> Tuple[str, ...]:
        """Return, for each input, the name of the last earlier stage that can publish it."""
        found = (self.producers.of(name, before=stage.position) for name in stage.inputs)
        return tuple(maker.name if maker else '' for maker in found)


def make_groups(workspace: Workspace) -> List[Group]:
    """Return the groups of a workspace in the order in which one worker runs them."""
    stages = workspace.pipeline.stages
    producers = Producers(stages)
    positions = {stage.name: stage.position for stage in stages}
    collections: Dict[str, Collection] = {}
    groups = []
    fed = {stage.position for stage in stages
           if stage.for_each and workspace.pipeline.items[stage.for_each].kind == 'queue'}
    for stage in stages:
        collection = None
        if stage.for_each:
            collection = collections.setdefault(stage.for_each,
                                                Collection(workspace, stage.for_each))
        edges = _edges(workspace, stage, producers,
                       {positions[name] for name in stage.depends_on})
        if stage.position in fed:
            edges = _entry_by_entry(edges, fed)
        groups.append(Group(workspace.root, stage, producers, collection, edges))
    in_order(groups)
    return groups


def in_order(groups: Sequence[Group]) -> List[Group]:
    """Return groups as declared, but each after what it needs.

    Raises `DefinitionError` when some wait for one another.
    """
    positions = [group.position for group in groups]
    if positions == sorted(positions) and all(
            position < group.position for group in groups
            for position in (*group.needs, *group.pairs)):
        # As nearly always: nothing waits for what is declared after it.
        return list(groups)
    by_position = {group.position: group for group in groups}
    waits = dict.fromkeys(by_position, 0)
    followers: Dict[int, List[int]] = {}
    for group in groups:
        for position in {*group.needs, *group.pairs} & waits.keys():
            waits[group.position] += 1
            followers.setdefault(position, []).append(group.position)
    free = sorted(position for position, count in waits.items() if not count)
    found: List[Group] = []
    while free:
        position = heapq.heappop(free)
        found.append(by_position[position])
        for follower in followers.get(position, ()):
            waits[follower] -= 1
            if not waits[follower]:
                heapq.heappush(free, follower)
    if len(found) < len(groups):
        stuck = [group for group in groups if waits[group.position]]
        names = {group.position: group.stage_name for group in stuck}
        cycle = find_cycle({group.stage_name: [
            names[position] for position in (*group.needs, *group.pairs) if position in names]
            for group in stuck})
        raise DefinitionError((f'pipeline.json: stages form a cycle: {" -> ".join(cycle)}',))
    return found


def expand_known(groups: Sequence[Group]) -> None:
    """Find out all items that no stage decides; raises `DefinitionError` before anything runs."""
    for group in groups:
        if not group.item_makers:
            group.expand()


def make_tasks(workspace: Workspace) -> List[Task]:
    """Return all tasks that can be known before anything has run."""
    found: List[Task] = []
    for group in make_groups(workspace):
        group.expand()
        found += group
    return found


def _edges(workspace: Workspace, stage: Stage, producers: Producers,
           declared: Set[int]) -> Edges:
    """Find out what a stage waits for.

    An input that names something of its item comes from that item's task, in a
    stage that fans out over the same collection.
    """
    data: Set[int] = set()
    pairs: Set[int] = set()
    makers: Set[int] = set()
    inputs = {name for unit in (stage, *(job.stage for job in stage.jobs))
              for name in unit.inputs}
    for name in inputs:
        for maker in producers.all_of(name, before=stage.position):
            is_pair = stage.for_each and maker.for_each == stage.for_each and OPENING in name
            (pairs if is_pair else data).add(maker.position)
    if stage.for_each:
        entry = workspace.pipeline.items[stage.for_each]
        if entry.kind in ('glob', 'jsonl') and isinstance(entry.source, str):
            makers = {maker.position
                      for maker in producers.all_of(entry.source, before=stage.position)}
    needs = data | makers | declared
    return Edges(tuple(sorted(needs)), tuple(sorted(pairs - needs)),
                 tuple(sorted(data | (pairs & needs))), tuple(sorted(makers)))


def _entry_by_entry(edges: Edges, fed: Set[int]) -> Edges:
    """Of stages that the queue feeds, one never waits for the whole of another: it has no end."""
    needs = set(edges.needs)
    return Edges(tuple(sorted(needs - fed)), tuple(sorted({*edges.pairs, *(needs & fed)})),
                 tuple(sorted(set(edges.data_needs) - fed)), edges.item_makers)
