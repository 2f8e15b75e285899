"""A stage that prints without end costs the runner neither memory nor a full disk."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from faults.harness import REPORT
from faults.harness import Install
from faults.harness import leftovers
from faults.harness import real_interpreter
from faults.harness import run
from faults.harness import sizes
from support import Workspace

MIB = 1024 * 1024
HEAD, TAIL = 1 * MIB, 9 * MIB

#: Prints numbered lines of 64 bytes on stdout: what is missing can be told to the byte.
LINES = '''\
import os
import sys

for start in range(0, int(sys.argv[1]) * 16384, 1024):
    block = b''.join(b'%063d\\n' % number for number in range(start, start + 1024))
    sys.stdout.buffer.write(block)
'''

#: Prints all bytes there are, on both streams in turn, without a single line feed.
NOISE = '''\
import os
import sys

block = bytes(byte for byte in range(256) if byte != 10) * 257
for number in range(int(sys.argv[1]) * 16):
    os.write(1 + number % 2, block[:65535])
    os.write(2 - number % 2, block[-1:])
'''

#: Runs a command and tells the largest memory (in KiB) of any process in it: the runner's, or
#: that of a processor, which is smaller.  Started from here it would be that of the tests.
MEASURE = '''\
import os
import sys

pid = os.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print('status', status, 'peak', usage.ru_maxrss)
'''


@sizes(64, 300)
@pytest.mark.integration
@pytest.mark.parametrize('processor', [pytest.param(LINES, id='lines'),
                                       pytest.param(NOISE, id='noise')])
def test_a_flood_is_cut_and_the_runner_stays_small(processor: str, size: int, tmp_path: Path,
                                                   install: Install) -> None:
    """The first MiB and the last nine are kept; between them stands how much is missing."""
    if not sys.platform.startswith('linux'):
        pytest.skip('only Linux tells the peak in KiB')
    workspace = Workspace(tmp_path / 'w').simple(
        f'import sys\nsys.argv[1:] = ["{size}"]\n{processor}')

    done = run([real_interpreter(), '-S', '-c', MEASURE,
                *install.command(workspace, '--run-id', 'flood')], cwd=workspace.root)

    found = re.search(r'status (\d+) peak (\d+)', done.out)
    assert found and found.group(1) == '0', done
    peak_mib = int(found.group(2)) / 1024
    log = workspace.read_bytes('state/logs/flood/work.1.log')
    REPORT.append(f'flood: {size} MiB printed, peak {peak_mib:.0f} MiB, log {len(log)} bytes')
    assert peak_mib < 64
    cut = size * MIB - HEAD - TAIL
    assert log[HEAD:-TAIL] == b'\n... %d bytes cut ...\n' % cut
    assert not leftovers(workspace)
    if processor == LINES:
        n_head, n_tail, n_all = HEAD // 64, TAIL // 64, size * MIB // 64
        assert log[:HEAD] == b''.join(b'%063d\n' % number for number in range(n_head))
        assert log[-TAIL:] == b''.join(b'%063d\n' % number
                                       for number in range(n_all - n_tail, n_all))
