"""A flush that fails while the next stage is at work already: nothing of that stage is seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import leftovers
from faults.harness import need_strace
from faults.harness import sizes
from faults.harness import spread
from faults.harness import unparsable
from support import Workspace

STAGES = 'abcd'


def make_chain(root: Path) -> Workspace:
    """Make a chain of stages, each of which copies what the one before it made."""
    workspace = Workspace(root)
    workspace.write('data/in.txt', 'text')
    workspace.processor()
    sources = ['data/in.txt', *(f'out/{name}/in.txt' for name in STAGES)]
    workspace.pipeline(*({'name': name, 'processor': 'bin/work.py', 'inputs': [source],
                          'outputDir': f'out/{name}'} for name, source in zip(STAGES, sources)))
    return workspace


def flushes(trace: Path) -> List[Tuple[int, str]]:
    """Return number and path of each flush of an output folder, or of something in it."""
    found = []
    lines = [line for line in trace.read_text(errors='replace').splitlines()
             if line.startswith('fsync(')]
    for number, line in enumerate(lines, 1):
        path = re.search(r'/out(/[^>]*)?>', line)
        if path:
            found.append((number, path.group(1) or ''))
    return found


@sizes(3, 100)
@pytest.mark.slow
@pytest.mark.parametrize('error', ['EIO', 'ENOSPC'])
def test_a_chain_ends_where_a_flush_fails_and_is_whole_after_the_next_run(
        error: str, size: int, tmp_path: Path, install: Install) -> None:
    """The names of a stage are flushed while the processor of the next one runs."""
    need_strace('fsync')
    tally = Tally(f'failing flush {error}', SEED)
    trace = tmp_path / 'trace'
    command = ['strace', '-y', '-qq', '-o', str(trace), '-e', 'trace=fsync']
    clean = make_chain(tmp_path / 'clean')
    assert install.run(clean, prefix=command).code == 0
    points = flushes(trace)
    assert {path for _, path in points} >= {'/a', '/b', '/c', '/d'}
    for number, path in spread(points, size):
        with tally.trial(f'{number} {path}') as trial:
            workspace = make_chain(tmp_path / str(number))
            done = install.run(workspace, prefix=[*command, '-e',
                                                  f'inject=fsync:error={error}:when={number}'])
            if '(INJECTED)' in trace.read_text(errors='replace'):
                trial.fired()
            check_end(workspace, done.lines, done.code)
            assert install.run(workspace).code == 0
            assert workspace.contents('out/d')['in.txt'] == b'text'
            assert not leftovers(workspace)
    tally.conclude()


def check_end(workspace: Workspace, lines: List[str], code: int) -> None:
    """Assert that stages are done up to the one that failed, and that later ones never were."""
    told = [line.split()[:2] for line in lines if re.match(r'\[(RUN|DONE|FAIL)\]', line)]
    told = [[word, name.rstrip(':')] for word, name in told]
    n_done = len([word for word, _ in told if word == '[DONE]'])
    story = [[word, name] for name in STAGES[:n_done] for word in ('[RUN]', '[DONE]')]
    failed = STAGES[n_done]
    assert code == 5
    assert told == [*story, ['[RUN]', failed], ['[FAIL]', failed]]
    for name in STAGES[n_done + 1:]:
        assert not (workspace.root / f'out/{name}').exists() or not workspace.contents(
            f'out/{name}')
    assert not leftovers(workspace) and not unparsable(workspace)
