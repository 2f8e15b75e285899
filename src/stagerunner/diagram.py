"""A pipeline as stages and what each of them waits for: what a drawing of it shows."""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.records import NamedTuple
from stagerunner.tasks import Group
from stagerunner.tasks import expand_known
from stagerunner.tasks import in_order
from stagerunner.tasks import make_groups
from stagerunner.workspace import Workspace

#: Why a stage waits for another one: it reads what that publishes, as a whole or item by item,
#: its items are found there, or it says so.
DATA, ITEMS, COLLECTION, DECLARED = 'data', 'items', 'collection', 'dependsOn'


class Need(NamedTuple):
    """A stage that is waited for, and all the reasons."""

    stage: str
    kinds: Tuple[str, ...]


class Node(NamedTuple):
    """A stage; `over` is what it fans out over: nothing, `jobs`, or the name of a collection.

    `tasks` is None where only a run will show how many there are.
    """

    stage: str
    processor: str
    output_dir: str
    needs: Tuple[Need, ...]
    over: str = ''
    tasks: Optional[int] = 1

    @property
    def size(self) -> str:
        """Say how many tasks a fan-out has; nothing for a plain stage.

        >>> Node('a', 'p', 'o', (), 'papers', 20).size, Node('a', 'p', 'o', (), 'jobs', 1).size
        ('papers: 20 items', '1 job')
        """
        if not self.over:
            return ''
        if self.tasks is None:
            return f'{self.over}: not known yet'
        noun = 'job' if self.over == 'jobs' else 'item'
        count = f'{self.tasks} {noun}{"" if self.tasks == 1 else "s"}'
        return count if noun == 'job' else f'{self.over}: {count}'


class Diagram(NamedTuple):
    """All stages of a pipeline, each after what it waits for."""

    pipeline: str
    nodes: Tuple[Node, ...]

    def needs(self) -> Dict[str, List[str]]:
        """Return the bare graph."""
        return {node.stage: [need.stage for need in node.needs] for node in self.nodes}


def make_diagram(workspace: Workspace) -> Diagram:
    """Return the diagram of a workspace; raises `DefinitionError` for rows that are faulty."""
    groups = make_groups(workspace)
    expand_known(groups)
    return Diagram(workspace.pipeline.name,
                   tuple(_node(group, groups) for group in in_order(groups)))


def _node(group: Group, groups: Sequence[Group]) -> Node:
    stage = group.stage
    over = '' if not group.is_fan_out else stage.for_each or 'jobs'
    is_known = not (stage.for_each and group.items is None)
    return Node(stage.name, stage.processor, stage.output_dir, tuple(
        Need(groups[position].stage.name, _kinds(group, position, groups))
        for position in sorted({*group.needs, *group.pairs})),
        over, len(group) if is_known else None)


def _kinds(group: Group, position: int, groups: Sequence[Group]) -> Tuple[str, ...]:
    found = [(position in group.data_needs, DATA), (position in group.pairs, ITEMS),
             (position in group.item_makers, COLLECTION),
             (groups[position].stage.name in group.stage.depends_on, DECLARED)]
    return tuple(kind for holds, kind in found if holds)


def to_json(node: Node) -> Dict[str, Any]:
    """Return a stage of a diagram as `graph --json` prints it."""
    return {'stage': node.stage, 'processor': node.processor, 'outputDir': node.output_dir,
            'needs': [{'stage': need.stage, 'kinds': list(need.kinds)} for need in node.needs],
            'over': node.over or None, 'tasks': node.tasks}
