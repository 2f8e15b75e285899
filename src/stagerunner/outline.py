"""The groups of a definition most of which stands: only what does not is read and checked.

The definition is, byte for byte, one that was read and checked as a whole
before: its names and edges are in the index.  A stage is made from its JSON
when somebody asks for it; with a thousand of them, one is asked for.
"""

from __future__ import annotations

import json
import os

from stagerunner.definition import Pipeline
from stagerunner.definition import Stage
from stagerunner.definition import stage_at
from stagerunner.files import MAX_JSON_BYTES
from stagerunner.files import read_bytes
from stagerunner.placeholders import fixed_folder
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.settings import Settings
from stagerunner.standing import Standing
from stagerunner.tasks import Group
from stagerunner.tasks import Task
from stagerunner.workspace import Workspace
from stagerunner.workspace import has_fault

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: Where more than this share of the stages has to be looked at, all are read.
_SHARE = 0.25


class Outline(Group):
    """A plain stage of which only the name is known, and what it waits for, until it is needed."""

    def __init__(self, root: str, position: int, name: str, edges: Sequence[Any],
                 stages: Stages):
        # Not that of a group: all but these is found out late.
        self.root = root
        self.position = position
        self.stage_name = name
        self.needs, self.data_needs, self.makers = map(tuple, edges)
        self.stages = stages
        self.pairs = self.item_makers = ()
        self.collection = self.items = None

    @property
    def stage(self) -> Stage:  # type: ignore[override]
        """The stage, made from its JSON."""
        return self.stages.at(self.position)

    @property
    def home(self) -> str:  # type: ignore[override]
        """Where its marker lies."""
        return os.path.join(self.root, fixed_folder(self.stage.output_dir))

    @property
    def is_fan_out(self) -> bool:
        return False

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return self.stage_name

    def task(self, index: int) -> Task:
        stage = self.stage
        return Task(stage.name, stage, os.path.join(self.root, stage.output_dir), self.makers,
                    self.home)


class Stages:
    """The stages of a decoded definition, each made once and late."""

    def __init__(self, document: Any, settings: Settings):
        self.document = document
        self.settings = settings
        self.made: dict = {}  # type: ignore[type-arg]

    def at(self, position: int) -> Stage:
        """Return one stage."""
        found: Optional[Stage] = self.made.get(position)
        if found is None:
            found = self.made[position] = stage_at(
                self.document, position, self.settings.base, self.settings.per_stage)
        return found


class Outlined(NamedTuple):
    """A workspace whose pipeline shows no stages, and the groups that stand for them."""

    workspace: Workspace
    groups: Tuple[Group, ...]


def outline(standing: Standing, path: str, settings: Settings) -> Optional[Outlined]:
    """Return the groups of the definition at `path`, None where it has to be read as a whole.

    That is so where too much has changed, where a stage fans out, where a
    stage that does not stand could be refused, and where there are hooks.
    """
    known = standing.known
    if known is None or None in known.edges:
        return None
    name, version, keep_runs, has_hooks = known.pipeline
    if has_hooks:
        return None
    changed = standing.may_be_refused()
    if len(changed) > len(known.names) * _SHARE:
        return None
    data = read_bytes(path, MAX_JSON_BYTES)
    if not standing.is_of(os.stat(path)):
        return None
    # Known to be strict already.
    stages = Stages(json.loads(data), settings)
    if any(has_fault(standing.root, stages.at(position)) for position in changed):
        return None
    groups: List[Group] = [Outline(standing.root, position, stage_name, edges, stages)
                           for position, (stage_name, edges)
                           in enumerate(zip(known.names, known.edges))]
    return Outlined(Workspace(standing.root, Pipeline(name, version, (), None, keep_runs)),
                    tuple(groups))
