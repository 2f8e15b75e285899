"""The next stage of a sequence, begun while the one before is still on its way to the disk.

The outputs of the one before can be read by then, and its flush and all that is
told of it take about as long as a short processor.  What is to be told of the
next one is held back until it has its turn, so that the story is that of a
sequence; where it has none (the flush failed, the run was asked to end),
nothing is told, because nothing was published.
"""

from __future__ import annotations

import os

from stagerunner.events import Event
from stagerunner.events import Warned
from stagerunner.fingerprint import Digests
from stagerunner.records import TYPE_CHECKING
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Callable
    from typing import List
    from typing import Optional


class HeadStart:
    """Knows which stage is expected and which was begun; passes on events, or holds them back."""

    def __init__(self, emit: Callable[[Event], None]):
        self._emit = emit
        #: The stage that comes next if what is at work ends well.
        self.group: Optional[Group] = None
        #: The name of the task that was begun and has not had its turn.
        self.begun = ''
        self._is_holding = False
        self._held: List[Event] = []

    def emit(self, event: Event) -> None:
        """Pass an event on, or keep it until its task has its turn."""
        if self._is_holding:
            self._held.append(event)
        else:
            self._emit(event)

    def next_group(self, digests: Digests) -> Optional[Group]:
        """Return the stage that is expected, if nothing speaks against beginning with it.

        It must do no harm to have begun in vain, wait for no permit, and not
        keep the one before waiting for what has to be read of its inputs.
        """
        group, self.group = self.group, None
        if group is None:
            return None
        stage = group.stage
        if not stage.is_idempotent or stage.limits or stage.quota or not digests.are_at_hand(
                os.path.join(group.root, name) for name in (stage.processor, *stage.inputs)):
            return None
        return group

    def hold_back(self, task: Task) -> None:
        """Hold back what is told from now on, of a task that is begun before its turn."""
        self.begun, self._is_holding = task.name, True

    def go_on(self) -> None:
        """Pass on again what is told from now on."""
        self._is_holding = False

    def tell(self) -> None:
        """The task that was begun has its turn: tell of it."""
        self.begun, held, self._held = '', self._held, []
        for event in held:
            self._emit(event)

    def forget(self) -> None:
        """The task has no turn: tell only what is so whatever becomes of it."""
        self._held = [event for event in self._held if isinstance(event, Warned)]
        self.tell()
