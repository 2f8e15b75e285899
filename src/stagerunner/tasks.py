"""Turn the stages of a definition into the tasks that are planned, locked, launched, recorded."""

from __future__ import annotations

import os
from typing import List
from typing import NamedTuple
from typing import Tuple

from stagerunner.definition import Stage
from stagerunner.state.names import AsideNames
from stagerunner.state.names import StateNames
from stagerunner.workspace import Producers
from stagerunner.workspace import Workspace


class Task(NamedTuple):
    """One unit of work: a stage, and its output folder as an absolute path.

    `producers` names, for each declared input, the earlier stage whose output
    folder it lies in (or nothing).
    """

    name: str
    stage: Stage
    output_dir: str
    producers: Tuple[str, ...]

    @property
    def aside(self) -> str:
        """Where a task with declared files keeps progress, retry note and temporary files.

        No task can have a name with a tilde, so this is nobody's output folder.
        """
        return os.path.join(self.output_dir, f'.{self.name}~aside.partial')

    def names(self, root: str) -> StateNames:
        """Return where the state of this task lies."""
        return AsideNames(root, self.aside) if self.stage.has_declared_files else StateNames(root)


def make_tasks(workspace: Workspace) -> List[Task]:
    """Return the tasks of a workspace in the order in which one worker runs them."""
    producers = Producers(workspace.pipeline)
    return [_task(stage, workspace.root, producers) for stage in workspace.pipeline.stages]


def _task(stage: Stage, root: str, producers: Producers) -> Task:
    makers = (producers.of(name, before=stage.position) for name in stage.inputs)
    return Task(stage.name, stage, os.path.join(root, stage.output_dir),
                tuple(maker.name if maker else '' for maker in makers))
