"""The short way through a run: plain stages that stand as last verified need no second look.

What the long way finds out about the others is noted for the next run.
"""

from __future__ import annotations

from stagerunner.facts import Facts
from stagerunner.records import TYPE_CHECKING
from stagerunner.register import Register
from stagerunner.standing import Standing
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Callable


class Shortcut:
    """Answers which stages can be passed; `skip` is told of each, with its key and time."""

    def __init__(self, standing: Standing, register: Register,
                 skip: Callable[[str, str, str], None]):
        self.standing = standing
        self.register = register
        self.skip = skip

    def passes(self, group: Group) -> bool:
        """True, and told, for a stage that the long way would skip as it did before."""
        known = self.standing.known
        if known is None or not self.stands(group):
            return False
        self.skip(group.stage_name, known.keys[group.position], known.done_at[group.position])
        return True

    def stands(self, group: Group) -> bool:
        """True for a stage that would be passed, as far as one can tell by now."""
        return self.standing.is_unchanged(group.position)

    def disturb(self) -> None:
        """A processor is or was at work: nothing that was seen before is believed."""
        self.standing.disturb()

    def note(self, task: Task, facts: Facts) -> None:
        """The long way was gone, and it led to a skip."""
        self.register.note(task, facts)

    def forget(self, task: Task) -> None:
        """The long way was gone, and there is work to do."""
        self.register.forget(task)
