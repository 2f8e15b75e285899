"""A broken definition is refused in full, politely, quickly, and before anything is touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Tuple

import pytest

from faults.definitions import MUTATIONS
from faults.definitions import Mutant
from faults.definitions import is_valid
from faults.definitions import make_files
from faults.definitions import mutants
from faults.definitions import random_document
from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import environment
from faults.harness import sizes
from stagerunner.errors import DefinitionError
from stagerunner.workspace import load
from support import PATIENCE_S
from support import Finished
from support import Workspace

#: No definition may make the runner use more than this (bytes).
MEMORY = 512 << 20


def check(mutant: Mutant, done: Finished, *, is_accepted: bool) -> None:
    """Assert that the exit code is right and that what was printed is fit for people."""
    shown = f'{done} for {mutant.data[:2000]!r}'
    assert done.code in ((0, 1) if is_accepted else (2,)), shown
    assert 'Traceback' not in done.err and 'bug' not in done.err, shown
    if is_accepted:
        return
    assert done.out == '', shown
    lines = done.err.split('\n')
    assert lines.pop() == '' and lines, shown
    assert len(lines) == len(set(lines)), shown
    for line in lines:
        assert line.startswith('pipeline.json: ') and line.isprintable(), shown
    assert mutant.n_lines in (None, len(lines)), f'{mutant.n_lines} expected: {shown}'


@sizes(8, 1000)
@pytest.mark.integration
def test_a_broken_definition_is_refused_by_a_real_process(size: int, tmp_path: Path,
                                                          install: Install) -> None:
    """Exit code 2, a line per fault, not a byte, name, mode or time of the tree changed."""
    tally = Tally('fuzz-definition processes', SEED)
    rng = random.Random(f'{SEED} processes')
    tally.notes.update(refused=0, accepted=0)
    slowest = 0.0
    kinds: Dict[str, int] = Counter()
    workspace = make_files(tmp_path / 'w')
    for number, mutant in enumerate(islice(mutants(rng), size)):
        workspace.write('pipeline.json', mutant.data)
        is_accepted = is_valid(mutant.data, workspace.root)
        before = workspace.tree()
        with tally.trial(f'{number} {mutant.kind}') as trial:
            trial.fired()
            kinds[mutant.kind] += 1
            done, seconds = _run_limited(install, workspace)
            slowest = max(slowest, seconds if done.code == 2 else 0)
            check(mutant, done, is_accepted=is_accepted)
            assert done.code != 2 or workspace.tree() == before
        tally.notes['accepted' if is_accepted else 'refused'] += 1
        if is_accepted:
            shutil.rmtree(str(workspace.root))
            workspace = make_files(tmp_path / 'w')
    tally.notes['slowest_cpu'] = f'{slowest:.2f}s'
    tally.conclude()
    assert slowest < 1
    assert size < 1000 or set(kinds) >= set(MUTATIONS), kinds


def _run_limited(install: Install, workspace: Workspace) -> Tuple[Finished, float]:
    """Run with little memory; return how it ended and how many seconds of CPU it took."""
    resource = pytest.importorskip('resource')

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(install.command(workspace), cwd=str(workspace.root), preexec_fn=limit,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S,
                          env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Finished(done.returncode, done.stdout.decode('utf-8'),
                    done.stderr.decode('utf-8')), seconds


@sizes(150, 10_000)
@pytest.mark.integration
def test_a_broken_definition_is_refused(size: int, tmp_path: Path,
                                        main: Callable[..., Finished]) -> None:
    """Within this process, many more of them; what is valid is only loaded here."""
    tally = Tally('fuzz-definition in-process', SEED)
    rng = random.Random(f'{SEED} in-process')
    tally.notes.update(refused=0, accepted=0)
    workspace = make_files(tmp_path / 'w')
    before = None
    for number, mutant in enumerate(islice(mutants(rng), size)):
        workspace.pipeline_file.write_bytes(mutant.data)
        with tally.trial(f'{number} {mutant.kind}') as trial:
            trial.fired()
            if is_valid(mutant.data, workspace.root):
                tally.notes['accepted'] += 1
                _load(workspace, mutant)
            else:
                tally.notes['refused'] += 1
                done = main('--pipeline', workspace.pipeline_file)
                check(mutant, done, is_accepted=False)
            # The definition itself is new each time; everything else stays as it was made.
            tree = {name: entry for name, entry in workspace.tree().items()
                    if name != 'pipeline.json'}
            before = before or tree
            assert tree == before
    tally.conclude()


def _load(workspace: Workspace, mutant: Mutant) -> None:
    try:
        load(str(workspace.pipeline_file))
    except DefinitionError as error:
        # Whether an interpreter can be started is not a matter of the definition alone.
        raise AssertionError(f'{error} for {mutant.data[:2000]!r}') from error


@sizes(50, 2000)
@pytest.mark.integration
def test_a_valid_definition_is_accepted(size: int, tmp_path: Path) -> None:
    """A checker that refuses everything would pass all tests but this one."""
    tally = Tally('valid definitions', SEED)
    rng = random.Random(f'{SEED} valid')
    workspace = make_files(tmp_path / 'w')
    for number in range(size):
        document = random_document(rng)
        with tally.trial(str(number)) as trial:
            trial.fired()
            workspace.write('pipeline.json', json.dumps(document))
            _load(workspace, Mutant(json.dumps(document).encode('utf-8'), 'valid'))
            assert is_valid(workspace.read_bytes('pipeline.json'), workspace.root), document
    tally.conclude()


#: Valid, though a hasty checker might think otherwise: keys of a stage, or of the top.
LOOK_ALIKES: List[Dict[str, Any]] = [
    {'name': 'con1'}, {'name': 'nul-x'}, {'name': 'com10'}, {'name': '0'}, {'name': 'a..b'},
    {'name': 'A' * 100}, {'name': 'done'}, {'name': 'x.partial'}, {'name': 'state'},
    {'name': 'aux_1'}, {'name': 'lpt0'}, {'name': 'x.json'}, {'name': 'a.lock'},
    {'outputDir': 'states'}, {'outputDir': 'data/state'}, {'outputDir': 'srcs'},
    {'outputDir': 'bin2'}, {'outputDir': '...'}, {'outputDir': 'a..b/..c'},
    {'outputDir': './x/./y//'}, {'outputDir': 'data/input'}, {'outputDir': '~'},
    {'outputDir': '$HOME'}, {'outputDir': 'é/日本'}, {'outputDir': 'x' * 255},
    {'outputDir': 'locksmith'}, {'outputDir': 'data/bin'}, {'outputDir': 'CON'},
    {'inputs': ['data/input/x.txt', 'data/input/x.txt']}, {'inputs': ['/etc']},
    {'inputs': ['data/input/odd [name].txt']}, {'inputs': ['no-such-*']}, {'inputs': ['./data']},
    {'inputs': ['data/input/../input/x.txt'.replace('../input/', '')]}, {'inputs': ['bin/a.py']},
    {'inputs': ['data/**/*.txt']}, {'inputs': ['pipeline.json']}, {'inputs': []},
    {'env': {'PIPELINE': 'x', '_': '', 'PATHS': 'a\nb'}}, {'env': {'XPIPELINE_Y': ' '}},
    {'params': {'NaN': 'NaN', 'x': None, '': [], 'deep': {'a': {'b': {'c': {}}}}}},
    {'params': {'big': 2 ** 200, 'small': 1e-300, 'text': '\u0000\u202e'}},
    {'retry': {'jitter': 0, 'factor': 0, 'baseDelaySec': 0}}, {'retry': {'maxAttempts': 1.0}},
    {'timeoutSec': 30.5, 'graceSec': 0}, {'checkpoint': {'lineInterval': 1e3}},
    {'idempotency': {}}, {'outputs': ['*.txt', '*']}, {'outputs': ['./stage.txt']}]


@pytest.mark.integration
@pytest.mark.slow
def test_valid_look_alikes_are_accepted(tmp_path: Path) -> None:
    for keys in LOOK_ALIKES:
        workspace = make_files(tmp_path / 'w')
        stage = dict({'name': 'stage', 'processor': 'bin/a.py', 'outputDir': 'out'}, **keys)
        workspace.pipeline(stage)

        _load(workspace, Mutant(workspace.read_bytes('pipeline.json'), 'look-alike'))
        assert is_valid(workspace.read_bytes('pipeline.json'), workspace.root), keys


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize('keys', LOOK_ALIKES[::16], ids=str)
def test_valid_look_alikes_run(keys: Dict[str, Any], tmp_path: Path,
                               main: Callable[..., Finished]) -> None:
    workspace = make_files(tmp_path / 'w')
    workspace.pipeline(dict({'name': 'stage', 'processor': 'bin/a.py', 'outputDir': 'out'},
                            **keys))

    done = main('--pipeline', workspace.pipeline_file)

    assert done.code == 0, done


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize('shape', ['missing', 'folder', 'pipe', 'device', 'dangling link',
                                   'link loop', 'huge', 'file above'])
def test_a_definition_that_is_no_file_is_refused(shape: str, tmp_path: Path,
                                                 install: Install) -> None:
    """As a process of its own: nobody waits for a pipe, or reads a device to its end."""
    if os.name != 'posix':
        pytest.skip('needs pipes and links')
    workspace = make_files(tmp_path / 'w')
    path = workspace.pipeline_file
    if shape == 'folder':
        path.mkdir()
    elif shape == 'pipe':
        os.mkfifo(str(path))
    elif shape in ('device', 'dangling link', 'link loop'):
        path.symlink_to({'device': '/dev/zero', 'dangling link': 'nowhere',
                         'link loop': 'pipeline.json'}[shape])
    elif shape == 'huge':
        with open(str(path), 'wb') as target:
            target.truncate(17 << 20)
    if shape == 'file above':
        workspace = Workspace(workspace.path('a-file'))
        done = install.run(Workspace(tmp_path / 'w'), '--pipeline', workspace.pipeline_file)
    else:
        done = install.run(workspace)

    assert done.code == 2 and len(done.err.splitlines()) == 1, done
    assert 'pipeline.json: ' in done.err
