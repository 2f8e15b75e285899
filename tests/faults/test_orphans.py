"""A stage whose runner was killed stays locked for as long as anything of it lives, no longer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from typing import List
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import kill
from faults.harness import kill_all
from faults.harness import kill_runner_alone
from faults.harness import need_linux
from faults.harness import sizes
from support import PATIENCE_S
from support import Workspace
from support import is_alive
from support import wait_until

#: Tells that it runs, and runs until it is let go.  It does not die with its parent, whatever
#: the parent arranged; as a `daemon` it is not even its child.
PROCESSOR = '''\
"""Append a line when started; wait for the file `go`."""
import ctypes
import os
import time

PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
started = time.monotonic()
processor = os.getpid()
shape = os.environ['SHAPE']
if shape == 'daemon' and not os.path.exists('go'):
    if os.fork():
        time.sleep(3600)
    os.setsid()
    if os.fork():
        os._exit(0)
with open('starts', 'a') as starts:
    starts.write('%d %d %.6f\\n' % (processor, os.getpid(), started))
while not os.path.exists('go'):
    time.sleep(0.002)
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as out:
    out.write('done')
'''


@sizes(2, 40)
@pytest.mark.integration
def test_no_run_starts_a_stage_beside_its_orphan(size: int, tmp_path: Path,
                                                 install: Install) -> None:
    """The orphan is the processor, or a daemon that is left when runner and processor died.

    The lock is proved from both sides: a run that waits briefly gives up while
    the orphan lives, one that waits long starts when it is gone.
    """
    need_linux()
    tally = Tally('orphans', SEED)
    slowest = 0.0
    for number in range(size):
        shape = ('child', 'daemon')[number % 2]
        workspace = Workspace(tmp_path / f'{number}').simple(PROCESSOR, env={'SHAPE': shape})
        with tally.trial(f'{shape} {number}') as trial:
            try:
                slowest = max(slowest, _leave_orphan(install, workspace, shape, trial))
            finally:
                kill_all(workspace)
    tally.notes['start_after_orphan_max'] = f'{slowest:.3f}s'
    tally.conclude()
    # On a machine under load a sample says nothing about seconds.
    assert slowest < 1 or size < 40


def _leave_orphan(install: Install, workspace: Workspace, shape: str, trial: Any) -> float:
    """Make an orphan, run beside it and after it; return how long the latter took to start."""
    first = install.start(workspace)
    processor, orphan, _ = wait_until(lambda: _starts(workspace), 'the start')[0]
    kill_runner_alone(first, processor)
    if shape == 'daemon':
        kill(processor)
        wait_until(lambda: not is_alive(processor), 'the end of the processor')
    assert is_alive(orphan), 'the orphan died with its runner'
    trial.fired()

    hasty = install.run(workspace, '--lock-timeout', '0.2')

    assert is_alive(orphan), 'the orphan ended too early to prove anything'
    assert (hasty.code, len(_starts(workspace))) == (4, 1), hasty
    assert "stage 'work' is busy" in hasty.err, hasty

    patient = install.start(workspace, '--lock-timeout', f'{PATIENCE_S}', '--run-id', 'patient')
    wait_until(workspace.path('state/run_patient.json').exists, 'the next run')
    assert is_alive(orphan) and len(_starts(workspace)) == 1
    workspace.write('go')
    wait_until(lambda: not is_alive(orphan), 'the end of the orphan')
    ended = time.monotonic()
    assert patient.wait(PATIENCE_S) == 0
    starts = _starts(workspace)
    assert len(starts) == 2 and workspace.read('data/work/out.txt') == 'done'
    return starts[1][2] - ended


def _starts(workspace: Workspace) -> List[Tuple[int, int, float]]:
    """Return (processor, whoever goes on, monotonic seconds) of every start."""
    try:
        lines = workspace.read('starts').splitlines(keepends=True)
    except FileNotFoundError:
        return []
    rows = [line.split() for line in lines if line.endswith('\n')]
    return [(int(processor), int(orphan), float(at)) for processor, orphan, at in rows]

