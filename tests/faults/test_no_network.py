"""The runner opens no network socket and loads nothing that could."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.harness import Install
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import need_strace
from faults.harness import real_interpreter
from faults.harness import run
from support import UPPER

#: Runs the command line within this process and tells what is loaded then.
LOADED = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.cli import main
code = main(sys.argv[2:])
print('loaded:', ' '.join(sorted(sys.modules)), file=sys.stderr)
raise SystemExit(code)
'''

#: What reaches a network, or starts threads and processes that could (design, network).
FORBIDDEN = {'socket', '_ssl', 'ssl', 'http', 'asyncio', 'multiprocessing', 'urllib.request'}


@pytest.mark.slow
@pytest.mark.integration
def test_a_whole_demo_run_opens_no_network_socket(tmp_path: Path, install: Install) -> None:
    """Runner, whatever it starts, and processors; the control shows that the trace sees one."""
    need_strace('socket')
    workspace = make_demo(tmp_path / 'w', install, make_text(500))
    trace = tmp_path / 'trace'
    strace = ['strace', '-f', '-qq', '-o', trace, '-e', 'trace=socket']

    first = install.run(workspace, prefix=[str(part) for part in strace])
    demo = trace.read_text(encoding='utf-8', errors='replace')
    control = run([*strace, real_interpreter(), '-c', 'import socket; socket.socket()'],
                  cwd=tmp_path)

    assert first.code == 0 and '[DONE] stage_upper' in first.out, first
    assert 'AF_INET' not in demo, demo
    assert control.code == 0 and 'AF_INET' in trace.read_text(encoding='utf-8')


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('upper', [pytest.param(UPPER, id='success'),
                                   pytest.param('raise SystemExit("no")', id='failure')])
def test_the_runner_loads_no_network_module(upper: str, tmp_path: Path,
                                            install: Install) -> None:
    """Asked at the end of a run that launched processors; coverage would load `socket` itself."""
    workspace = make_demo(tmp_path / 'w', install, make_text(100))
    workspace.write('bin/stage_upper.py', upper)
    definition = workspace.json('pipeline.json')
    workspace.pipeline(*definition['stages'], defaults={'retry': {'maxAttempts': 1}})

    done = run([real_interpreter(), '-c', LOADED, install.root / 'src',
                '--pipeline', workspace.pipeline_file], cwd=workspace.root)

    loaded = set(done.err.rpartition('loaded: ')[2].split())
    assert 'stagerunner.launch.job' in loaded, done
    assert not loaded & FORBIDDEN
