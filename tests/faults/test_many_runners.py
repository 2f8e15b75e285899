"""Eight runners at once: each stage is executed once, everybody succeeds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import check_skips
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import outputs
from faults.harness import sizes
from faults.harness import unparsable
from support import PATIENCE_S

N_RUNNERS = 8

#: Put before the shipped processors: one line in a file for each time they are executed.
COUNTED = '''\
import os as _os
_count = _os.open(_os.path.join(_os.environ['PIPELINE_ROOT'], 'executed'),
                  _os.O_WRONLY | _os.O_CREAT | _os.O_APPEND, 0o666)
_os.write(_count, _os.environ['PIPELINE_STAGE_NAME'].encode('ascii') + b'\\n')
_os.close(_count)
'''


@sizes(1, 20)
@pytest.mark.integration
@pytest.mark.parametrize('keep_runs', [pytest.param(200, id='keep-all'),
                                       pytest.param(3, id='keep-3')])
def test_of_eight_runners_one_does_the_work(keep_runs: int, size: int, tmp_path: Path,
                                            install: Install) -> None:
    """With few records kept, eight runners also clean up behind each other at once."""
    tally = Tally(f'many-runners keepRuns={keep_runs}', SEED)
    workspace = make_demo(tmp_path / 'w', install, b'')
    for name in ('bin/stage_copy.py', 'bin/stage_upper.py'):
        workspace.write(name, COUNTED + workspace.read(name))
    definition = workspace.json('pipeline.json')
    workspace.pipeline(*definition['stages'], keepRuns=keep_runs)
    for number in range(size):
        text = make_text(500, seed=number)
        workspace.write('data/input/sample.txt', text)
        workspace.write('executed')
        with tally.trial(f'round {number}') as trial:
            runners = [install.start(workspace, '--lock-timeout', f'{PATIENCE_S}',
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                       for _ in range(N_RUNNERS)]
            ended = [(runner.communicate(timeout=PATIENCE_S), runner.returncode)
                     for runner in runners]
            trial.fired()
            executed = workspace.read('executed').split()
            assert sorted(executed) == ['stage_copy', 'stage_upper'], executed
            assert [code for _, code in ended] == [0] * N_RUNNERS, ended
            assert outputs(workspace) == {'data/work/sample.txt': text,
                                          'data/output/result.txt':
                                          text.decode('utf-8').upper().encode('utf-8')}
            assert not unparsable(workspace) and not leftovers(workspace)
            check_skips(install, workspace)
    tally.conclude()
