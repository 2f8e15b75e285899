"""After a power cut no half-written state is believed, and nothing that was told is undone."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import STAGES
from faults.harness import Install
from faults.harness import Tally
from faults.harness import environment
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import need_strace
from faults.harness import outputs
from faults.harness import real_interpreter
from faults.harness import run
from faults.harness import sizes
from faults.harness import spread
from faults.power import CALLS
from faults.power import EVERYTHING
from faults.power import STRACE
from faults.power import Crash
from faults.power import Recording
from faults.power import Tree
from faults.power import crashes
from faults.power import restore
from stagerunner.report.inspection import inspect
from stagerunner.state.names import StateNames
from support import Workspace

#: Starts a program of ours in which flushes of one kind do nothing: the harness must notice.
PLANTED = '''\
import os
import stat
import sys

sys.path.insert(0, sys.argv[1])
from stagerunner import files

plain_sync = files._sync
skipped = {'file': stat.S_ISREG, 'folder': stat.S_ISDIR}.get(sys.argv[2], lambda mode: False)
files._sync = lambda fd: None if skipped(os.fstat(fd).st_mode) else plain_sync(fd)
if sys.argv[2] == 'all':
    from stagerunner import isolation

    isolation.Kernel.sync_file_system = lambda self, fd: None
del sys.argv[:3]
'''

#: Writes a state file again and again and tells each version once it is written.
WRITER = PLANTED + '''
for version in range(1, 6):
    files.write_json('state.json', {'version': version, 'pad': 'x' * 60}, durable=True)
    os.write(1, b'ACK %d\\n' % version)
'''

#: Commits one task with the outputs that are named, over whatever there was, and tells it.
COMMITTER = PLANTED + '''
import hashlib
from stagerunner.commit import Batch, Finished
from stagerunner.flushing import Flusher
from stagerunner.harvest import describe_outputs
from stagerunner.state.marker import Marker, read_marker

version, *names = sys.argv
for name in names:
    path = os.path.join('out/.t.partial', name)
    files.make_folder(os.path.dirname(path))
    with open(path, 'w') as target:
        target.write('%s of %s' % (name, version))
made = describe_outputs('out/.t.partial', names)
marker = Marker('t', 'key %s' % version, 'run', 'now', 0.0, True, {}, made)
finished = Finished('t', 'out/.t.partial', 'out', marker, read_marker('out/.t.done', 't'))
batch = Batch([finished], Flusher(''))
batch.publish()
batch.settle()
assert not batch.errors
print('ACK', version)
'''

#: The front door itself.
RUNNER = PLANTED + '''
from stagerunner.cli import main
sys.exit(main(sys.argv[:]))
'''


def record(root: Path, install: Install, program: str, planted: str, *args: Any) -> Recording:
    """Run a program in `root` under strace and return what it changed there."""
    need_strace(CALLS)
    root.mkdir(exist_ok=True)
    recording = Recording(root)
    trace = Path(f'{root}.trace')
    done = run([*STRACE, '-o', trace, real_interpreter(), '-B', '-c', program,
                install.root / 'src', planted, *args], cwd=root, env=environment())
    assert done.code == 0, done
    return recording.read(trace)


def acked(crash: Crash) -> int:
    """Return the last number that was told."""
    return max([int(word) for word in crash.said.split() if word.isdigit()], default=0)


def count_bad(recording: Recording, check: Callable[[Crash], None]) -> Tuple[int, List[str]]:
    """Return the number of different states, and what is wrong with those that are bad."""
    seen = set()
    bad = []
    for n_ops in range(len(recording.ops) + 1):
        for crash in crashes(recording, n_ops):
            state = (tuple(sorted(crash.tree.items(), key=lambda entry: entry[0])), crash.said)
            if state not in seen:
                seen.add(state)
                try:
                    check(crash)
                except AssertionError as error:
                    bad.append(f'{crash.what}: {str(error)[:300]}')
    return len(seen), bad


# -- one file ---------------------------------------------------------------------------------

def check_versions(crash: Crash) -> None:
    """Assert that the state file is whole and as new as was told."""
    data = crash.tree.get('state.json')
    version = json.loads(data.decode('utf-8'))['version'] if data is not None else 0
    assert version >= acked(crash), f'version {version} after {crash.said!r}'


def check_unparsable_too(crash: Crash) -> None:
    """As above, with unparsable content as one more way to fail."""
    try:
        check_versions(crash)
    except ValueError as error:
        raise AssertionError('unparsable') from error


#: What is left out of the flushes, and whether the state survives without it.
PLANTED = pytest.mark.parametrize(('planted', 'is_safe'), [
    pytest.param('none', True, id='as-shipped'),
    pytest.param('file', False, id='planted-no-file-flush'),
    pytest.param('folder', False, id='planted-no-folder-flush')])


@pytest.mark.slow
@pytest.mark.integration
@PLANTED
def test_a_state_file_survives_a_power_cut(planted: str, is_safe: bool, tmp_path: Path,
                                           install: Install) -> None:
    """The planted bugs prove that the model bites: they survive every kill."""
    tally = Tally(f'power-loss write_json, planted: {planted}', SEED)
    recording = record(tmp_path / 'w', install, WRITER, planted)

    n_states, bad = count_bad(recording, check_unparsable_too)

    _conclude(tally, n_states, bad, is_safe)
    assert Recording(tmp_path / 'w').contents, 'the writer wrote nothing'


def _conclude(tally: Tally, n_states: int, bad: List[str], is_safe: bool) -> None:
    tally.n = tally.n_fired = n_states
    tally.n_ok = n_states - len(bad)
    if is_safe:
        tally.bad = bad
    else:
        tally.notes['caught'] = len(bad)
        assert bad, 'the planted bug was not noticed'
    tally.conclude()


# -- one commit ---------------------------------------------------------------------------------

def manifest_holds(tree: Tree, folder: str, marker: str) -> Optional[Dict[str, Any]]:
    """Return the marker when it is whole and all its outputs are as it says, else None."""
    data = tree.get(f'{folder}/{marker}')
    if data is None:
        return None
    try:
        found: Dict[str, Any] = json.loads(data.decode('utf-8'))
    except ValueError as error:
        raise AssertionError(f'{folder}/{marker} is unparsable') from error
    for output in found['outputs']:
        content = tree.get(f'{folder}/{output["path"]}')
        if content is None or hashlib.sha256(content).hexdigest() != output['sha256']:
            return None
    return found


def check_commit(crash: Crash) -> None:
    """Assert that a commit that was told has its marker and all of its outputs."""
    marker = manifest_holds(crash.tree, 'out', '.t.done')
    version = int(marker['key'].split()[1]) if marker else 0
    assert version >= acked(crash), f'version {version}'
    for name, data in crash.tree.items():
        if data is not None and name.startswith('out/') and not name.startswith('out/.t.'):
            whole = [f'{name[4:]} of {number}'.encode() for number in (1, 2)]
            assert data in whole, f'{name} is half-written'


@pytest.mark.slow
@pytest.mark.integration
@PLANTED
def test_a_commit_survives_a_power_cut(planted: str, is_safe: bool, tmp_path: Path,
                                       install: Install) -> None:
    """The first commit makes its folders, the second replaces and removes what the first made."""
    tally = Tally(f'power-loss commit, planted: {planted}', SEED)
    n_states, bad = 0, []
    for args in ((1, 'a.txt', 'sub/b.txt', 'old.txt'), (2, 'a.txt', 'sub/c.txt')):
        recording = record(tmp_path / 'w', install, COMMITTER, planted, *args)
        n_of_one, bad_of_one = count_bad(recording, check_commit)
        n_states += n_of_one
        bad += bad_of_one

    _conclude(tally, n_states, bad, is_safe)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('planted', 'is_safe'), [
    pytest.param('none', True, id='as-shipped'),
    pytest.param('all', False, id='planted-no-flush-of-all')])
def test_a_commit_of_many_files_survives_a_power_cut(planted: str, is_safe: bool,
                                                     tmp_path: Path, install: Install) -> None:
    """So many that the file system is flushed as a whole, which is in the trace."""
    tally = Tally(f'power-loss commit of many, planted: {planted}', SEED)
    names = [f'{letter}.txt' for letter in 'abcdefgh']
    n_states, bad = 0, []
    for version in (1, 2):
        recording = record(tmp_path / 'w', install, COMMITTER, planted, version, *names)
        assert planted == 'all' or any(
            (op.kind, op.inode) == ('sync', EVERYTHING) for op in recording.ops)
        n_of_one, bad_of_one = count_bad(recording, check_commit)
        n_states += n_of_one
        bad += bad_of_one

    _conclude(tally, n_states, bad, is_safe)


# -- a whole run ----------------------------------------------------------------------------------

class Story(NamedTuple):
    """A traced run, and what it must lead to."""

    recording: Recording
    old: Dict[str, bytes]
    new: Dict[str, bytes]
    keys: Dict[str, str]


MARKERS = {'stage_copy': ('data/work', '.stage_copy.done'),
           'stage_upper': ('data/output', '.stage_upper.done')}


def tell_story(tmp_path: Path, install: Install, planted: str, *, has_past: bool) -> Story:
    """Trace a run of the demo, fresh or after a success with an older input."""
    workspace = make_demo(tmp_path / 'w', install, make_text(90, seed=1), interval=20)
    if has_past:
        assert install.run(workspace).code == 0
    old = outputs(workspace)
    workspace.write('data/input/sample.txt', make_text(110, seed=2))
    recording = record(workspace.root, install, RUNNER, planted, '--run-id', 'r')
    keys = {stage: workspace.json(f'{folder}/{marker}')['key']
            for stage, (folder, marker) in MARKERS.items()}
    new = outputs(workspace)
    # The model must end where the program ended, or it proves nothing.
    ended = next(crashes(recording, len(recording.ops))).tree
    assert {name: data for name, data in ended.items() if data is not None} == \
        workspace.contents('.')
    return Story(recording, old, new, keys)


def is_owned(name: str) -> bool:
    """True for a file that the runner decides by: never to be found in pieces."""
    return name.startswith(('state/run_', 'state/checkpoint_', 'state/progress_')) \
        and name.endswith('.json') or name in {'/'.join(place) for place in MARKERS.values()}


def believed(story: Story, tree: Tree) -> Dict[str, bool]:
    """Return, for each stage, whether its marker and outputs say that today's work is done."""
    return {stage: (manifest_holds(tree, *MARKERS[stage]) or {}).get('key') == key
            for stage, key in story.keys.items()}


def check_run(story: Story, crash: Crash) -> None:
    """Assert what must hold on the disk itself, before anybody runs again."""
    for name, data in crash.tree.items():
        if data is not None and is_owned(name):
            try:
                json.loads(data.decode('utf-8'))
            except ValueError as error:
                raise AssertionError(f'{name} is unparsable') from error
    for name, data in story.new.items():
        seen = crash.tree.get(name, story.old.get(name))
        assert seen in (None, data, story.old.get(name)), f'{name} is neither old nor new'
        assert name not in story.old or name in crash.tree, f'{name} is gone'
    beliefs = believed(story, crash.tree)
    for stage in STAGES:
        assert beliefs[stage] or f'[DONE] {stage}' not in crash.said, f'{stage} was told, and lost'
    for earlier, later in zip(STAGES, STAGES[1:]):
        # The later one is at work already while the names of the earlier one are flushed.
        assert beliefs[earlier] or not beliefs[later], f'{later} is durable before {earlier}'
    if 'Run r state: completed' in crash.said:
        ended = json.loads((crash.tree.get('state/run_r.json') or b'{}').decode('utf-8'))
        assert ended.get('state') == 'completed', ended
    if 'link result.txt' not in crash.what:
        # Else it was cut out of one folder and not pasted into the other: done again from line 0.
        check_resumable(story, crash.tree)


def check_resumable(story: Story, tree: Tree) -> None:
    """Assert that lines which a processor committed are there to go on from."""
    progress, binding = (json.loads((tree.get(f'state/{name}_stage_upper.json') or b'null')
                                    .decode('utf-8')) for name in ('progress', 'checkpoint'))
    if not progress or not binding or binding['finished'] \
            or binding['key'] != story.keys['stage_upper']:
        return
    partial = tree.get('data/output/.stage_upper.partial/result.txt')
    committed = progress['outputs']['result.txt']
    was_moved = tree.get('data/output/result.txt') == story.new['data/output/result.txt']
    assert was_moved or len(partial or b'') >= committed, f'{committed} committed bytes are gone'


def check_next_run(story: Story, crash: Crash, install: Install, root: Path) -> None:
    """Assert that a real run skips what was told, and makes the rest as it must be."""
    restore(crash.tree, root)
    workspace = Workspace(root)
    names = StateNames(str(root))
    assert not inspect(names).findings, (inspect(names), crash.what)
    done = install.run(workspace, '--run-id', 'next')
    assert done.code == 0, done
    assert outputs(workspace) == story.new
    assert not leftovers(workspace), leftovers(workspace)
    beliefs = believed(story, crash.tree)
    for stage in STAGES:
        skipped = f'[SKIP] {stage} (idempotent key matched)' in done.lines
        assert skipped or f'[DONE] {stage}' not in crash.said, f'{stage} was told: {done}'
        assert skipped <= beliefs[stage], f'{stage} was skipped: {done}'
    again = install.run(workspace)
    assert again.err == '' and again.out.count('[SKIP]') == 2, again
    assert not inspect(names).findings, (inspect(names), crash.what)
    shutil.rmtree(str(root))


def chosen(story: Story, size: int) -> Iterator[Crash]:
    """Yield states that differ, of all prefixes or of some that are spread over the run."""
    seen = set()
    for n_ops in spread(range(len(story.recording.ops) + 1), size):
        for crash in crashes(story.recording, n_ops):
            state = hash((tuple(sorted(crash.tree.items(), key=lambda entry: entry[0])),
                          crash.said))
            if state not in seen:
                seen.add(state)
                yield crash


@sizes(7, 100_000)
@pytest.mark.integration
@pytest.mark.parametrize('has_past', [pytest.param(False, id='fresh'),
                                      pytest.param(True, id='after-success')])
def test_a_run_survives_a_power_cut(has_past: bool, size: int, tmp_path: Path,
                                    install: Install) -> None:
    """All states are judged by their bytes; a random part of them by a real run as well."""
    n_runs = 2 if size == 7 else 400
    past = 'after a success' if has_past else 'fresh'
    story = tell_story(tmp_path, install, 'none', has_past=has_past)
    tally = Tally(f'power-loss demo {past}', SEED)
    states = []
    for crash in chosen(story, size):
        with tally.trial(crash.what) as trial:
            trial.fired()
            check_run(story, crash)
        states.append(crash)
    tally.notes['changes'] = len(story.recording.ops)
    tally.conclude()
    tally = Tally(f'power-loss demo {past}, real runs', SEED)
    for crash in random.Random(SEED).sample(states, min(n_runs, len(states))):
        with tally.trial(crash.what) as trial:
            trial.fired()
            check_next_run(story, crash, install, tmp_path / 'after')
        shutil.rmtree(str(tmp_path / 'after'), ignore_errors=True)
    tally.conclude()


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('planted', [
    'file', pytest.param('folder', marks=pytest.mark.campaign)])
def test_a_runner_that_does_not_flush_is_caught(planted: str, tmp_path: Path,
                                                install: Install) -> None:
    """The harness itself: what a flush less costs shows at once."""
    story = tell_story(tmp_path, install, planted, has_past=False)
    bad = []
    for crash in chosen(story, 40):
        try:
            check_run(story, crash)
        except AssertionError as error:
            bad.append(str(error))
    assert bad
