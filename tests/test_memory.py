"""What a run keeps in memory of an item that is done: a little, and of what it does nothing more.

Of a hundred thousand items each kilobyte would be a hundred megabytes.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import List

import pytest

from engine import Engine
from engine import copies
from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from stagerunner.events import Event
from stagerunner.events import Sink
from stagerunner.events import TaskDone
from support import Workspace
from support import stage

pytestmark = [pytest.mark.unit, pytest.mark.slow]

#: Looked at between the first and the last of these items.
FIRST, LAST = 100, 200

#: Digests of two files, the line of the journal, the entry of the checkpoint file.
MOST_BYTES = 1200


class Meter(Sink):
    """Measures when so many items are done; the tests' own records do not count."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.n_done = 0
        self.used: List[int] = []

    def receive(self, event: Event) -> None:
        self.engine.sink.events.clear()
        self.engine.launcher.jobs.clear()
        if isinstance(event, TaskDone):
            self.n_done += 1
            if self.n_done in (FIRST, LAST):
                gc.collect()
                self.used.append(tracemalloc.get_traced_memory()[0])

    @property
    def bytes_per_item(self) -> float:
        return (self.used[1] - self.used[0]) / (LAST - FIRST)


@pytest.fixture
def engine(workspace: Workspace):
    workspace.processor('')
    for number in range(LAST):
        workspace.write(f'data/in/{number:06}.txt', f'text of {number}')
    workspace.pipeline(stage('each', forEach='docs', inputs=['{item.path}'],
                             outputDir='data/out'), items={'docs': {'glob': 'data/in/*'}})
    # Later than any file is written: all digests are noted.
    made = Engine(workspace, FakeLauncher(FakeClock(now=4e9)))
    made.launcher.otherwise = Ending(does=copies, after_s=0.001)
    tracemalloc.start()
    yield made
    tracemalloc.stop()
    made.close()


def test_a_finished_item_leaves_little_in_memory(engine):
    meter = Meter(engine)

    assert engine.run(sinks=[meter]) == 0

    assert 0 < meter.bytes_per_item < MOST_BYTES
