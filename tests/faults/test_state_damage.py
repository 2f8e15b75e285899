"""Damaged, forged and replaced state files never crash a run, hang it, or make it skip wrongly."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Tuple

import pytest

from faults.harness import COPIED
from faults.harness import RESULT
from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import check_skips
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import outputs
from faults.harness import sizes
from faults.harness import spread
from stagerunner.fingerprint import Input
from stagerunner.fingerprint import snapshot_of
from stagerunner.fingerprint import stats_of
from support import Finished
from support import Workspace

COPY_MARKER = 'data/work/.stage_copy.done'
UPPER_MARKER = 'data/output/.stage_upper.done'
MARKERS = (COPY_MARKER, UPPER_MARKER)
PARTIAL = 'data/output/.stage_upper.partial'
PROGRESS = 'state/progress_stage_upper.json'
BINDING = 'state/checkpoint_stage_upper.json'
RECORDS = ('state/index.json', 'state/run_r1.json', 'state/metrics_r1.json',
           'state/stage_stage_copy.json', 'state/stage_stage_upper.json',
           'state/pipeline_checkpoint.json', PROGRESS, BINDING)
LOCKS = ('locks/stage_copy.lock', 'locks/stage_upper.lock', 'locks/.run/r1.lock')
NOTES = tuple(f'{lock}.json' for lock in LOCKS)

#: The last line that the stopped stage committed.
COMMITTED = 150


class Templates(NamedTuple):
    """Workspaces to damage: one where all is done, one where the second stage was stopped."""

    done: Path
    stopped: Path
    old_text: bytes


@pytest.fixture(scope='module')
def templates(tmp_path_factory: pytest.TempPathFactory, install: Install) -> Templates:
    """Make both, and show that the stopped one resumes as long as nobody damages it."""
    text = make_text(230)
    folder = Path(str(tmp_path_factory.mktemp('templates')))
    done = make_demo(folder / 'done', install, text)
    assert install.run(done, '--run-id', 'r1').code == 0
    stopped = _copy(done.root, folder / 'stopped')
    result = stopped.read_bytes(RESULT)
    length = len(b''.join(result.splitlines(keepends=True)[:COMMITTED]))
    stopped.path(RESULT).unlink()
    stopped.path(UPPER_MARKER).unlink()
    stopped.write(f'{PARTIAL}/result.txt', result[:length] + b'not committed')
    source = len(b''.join(text.split(b'\n')[:COMMITTED])) + COMMITTED
    stopped.write(PROGRESS, json.dumps({'lineOffset': COMMITTED, 'position': [0, source],
                                        'outputs': {'result.txt': length}}))
    stopped.write(BINDING, json.dumps(dict(stopped.json(BINDING), finished=False)))
    control = _copy_stopped(stopped.root, folder / 'control')
    resumed = install.run(control)
    assert f'[RESUME] stage_upper at line {COMMITTED}' in resumed.lines, resumed
    assert control.read_bytes(RESULT) == result
    return Templates(done.root, stopped.root, text)


def _copy(source: Path, target: Path) -> Workspace:
    shutil.copytree(str(source), str(target), symlinks=True)
    return Workspace(target)


def _copy_stopped(source: Path, target: Path) -> Workspace:
    """Copy the stopped one, and bind its progress to the stat that its input has as a copy."""
    workspace = _copy(source, target)
    entry = Input(COPIED, '', snapshot_of(str(workspace.root), COPIED))
    workspace.write(BINDING, json.dumps(dict(workspace.json(BINDING), inputs=stats_of([entry]))))
    return workspace


def upper(text: bytes) -> bytes:
    """Return what the demo makes of a text."""
    return text.decode('utf-8').upper().encode('utf-8')


# -- bytes ---------------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1:]


DAMAGES: Dict[str, Damage] = {
    'truncated': lambda data, rng: data[:rng.randrange(len(data))],
    'flipped': _flip,
    'zeroed': lambda data, rng: bytes(len(data)),
    'zeroed tail': lambda data, rng: data[:rng.randrange(len(data))].ljust(len(data), b'\0'),
    'empty': lambda data, rng: b'',
    'doubled': lambda data, rng: data + data,
    'garbage': lambda data, rng: bytes(rng.randrange(256) for _ in range(64)),
    'other JSON': lambda data, rng: rng.choice([
        b'null', b'[]', b'{}', b'"x"', b'1e400', b'[' * 200, b'{"a": 1, "a": 2}',
        b'{"format": 1}', b'{"format": 2}', b'\xef\xbb\xbf{}', b'{"lineOffset": -1}',
        b'{"lineOffset": 1e3, "outputs": {}}', b'{"lineOffset": 7, "outputs": null}'])}


def is_json(data: bytes) -> bool:
    """True for what parses at all."""
    try:
        json.loads(data.decode('utf-8'))
    except (ValueError, RecursionError):
        return False
    return True


def is_newer(data: bytes) -> bool:
    """True for a marker that says it is of a format to come: no damage, as far as can be seen."""
    if not is_json(data):
        return False
    value = json.loads(data.decode('utf-8'))
    version = value.get('format') if isinstance(value, dict) else None
    return isinstance(version, int) and version > 1


class Spoiled(NamedTuple):
    """A damaged workspace: which file, what is in it now, and what a right run ends with."""

    workspace: Workspace
    name: str
    data: bytes
    text: bytes


def _spoil(templates: Templates, root: Path, damage: str, rng: random.Random) -> Spoiled:
    """Damage one file, and now and then edit an input or an output so that a skip is wrong."""
    is_stopped = rng.random() < 0.4
    workspace = (_copy_stopped(templates.stopped, root) if is_stopped
                 else _copy(templates.done, root))
    names = (PROGRESS, BINDING, COPY_MARKER) if is_stopped else (*MARKERS, *MARKERS, *RECORDS)
    name = rng.choice(names)
    data = DAMAGES[damage](workspace.read_bytes(name), rng)
    while name == PROGRESS and is_json(data):
        # A lie in good JSON: nothing but the processor itself could tell.
        data = DAMAGES['truncated'](workspace.read_bytes(name), rng)
    workspace.write(name, data)
    text = templates.old_text
    edit = rng.choice(['nothing', 'input', 'output'])
    if edit == 'input':
        text = text[::-1].replace(b'\xc3', b'').decode('utf-8', 'ignore').encode('utf-8')
        workspace.write('data/input/sample.txt', text)
    elif edit == 'output':
        workspace.write('data/work/sample.txt', b'edited by hand')
    return Spoiled(workspace, name, data, text)


@sizes(len(DAMAGES), 2000)
@pytest.mark.integration
def test_damaged_bytes_cost_work_and_nothing_else(size: int, tmp_path: Path, install: Install,
                                                  templates: Templates,
                                                  main: Callable[..., Finished]) -> None:
    """Within this process: a hang would be seen by whoever waits for the tests."""
    rng = random.Random(f'{SEED} damage')
    tally = Tally('state-damage bytes', SEED)
    tally.notes['quarantined'] = 0
    for number in range(size):
        damage = list(DAMAGES)[number % len(DAMAGES)]
        spoiled = _spoil(templates, tmp_path / 'spoiled', damage, rng)
        workspace = spoiled.workspace
        with tally.trial(f'{number}: {damage} {spoiled.name}') as trial:
            trial.fired()
            done = main('--pipeline', workspace.pipeline_file, '--run-id', 'r1')
            if spoiled.name in MARKERS and is_newer(spoiled.data):
                assert done.code == 5 and 'use the newer runner that wrote it' in done.err, done
                assert workspace.read_bytes(spoiled.name) == spoiled.data
                workspace.path(spoiled.name).unlink()
                done = main('--pipeline', workspace.pipeline_file, '--run-id', 'r1')
            _check_run(workspace, done, spoiled.text)
            if spoiled.name in MARKERS and not is_json(spoiled.data):
                aside = f'{spoiled.name}.corrupt-1'
                assert workspace.read_bytes(aside) == spoiled.data
                assert f'{spoiled.name}: ' in done.err, done
                tally.notes['quarantined'] += 1
            again = main('--pipeline', workspace.pipeline_file, '--run-id', 'r2')
            assert again.code == 0 and again.err == '', again
            assert again.out.count('[SKIP]') == 2, again
        shutil.rmtree(str(workspace.root))
    tally.conclude()


def _check_run(workspace: Workspace, done: Finished, text: bytes) -> None:
    assert done.code == 0, done
    assert outputs(workspace) == {'data/work/sample.txt': text, RESULT: upper(text)}
    assert not leftovers(workspace), leftovers(workspace)
    assert 'Traceback' not in done.err and 'bug' not in done.err, done


# -- forged markers --------------------------------------------------------------------

def _set(*path: Any) -> Callable[[Any], None]:
    """Return what puts the last argument at the place that the others name."""
    *keys, last, value = path

    def change(marker: Any) -> None:
        for key in keys:
            marker = marker[key]
        marker[last] = value
    return change


FORGERIES: List[Tuple[str, Callable[[Any], None]]] = [
    (f'{" ".join(str(key) for key in path[:-1])} = {str(path[-1])[:20]}', _set(*path))
    for path in [
        ('outputs', 0, 'path', 'a\0b'), ('durationSec', 'x'), ('durationSec', None),
        ('format', '1'), ('format', True), ('task', 'stage_copy'), ('task', None),
        ('key', None), ('key', 1), ('runId', []), ('doneAt', {}), ('staged', 'x'),
        ('outputs', None), ('outputs', {}), ('outputs', [None]), ('outputs', ['result.txt']),
        ('outputs', []), ('outputs', 0, 'path', ''),
        ('outputs', 0, 'path', '.'), ('outputs', 0, 'path', 'x' * 300),
        ('outputs', 0, 'path', '../work/sample.txt'), ('outputs', 0, 'path', '/etc/passwd'),
        ('outputs', 0, 'path', 'result.txt/x'), ('outputs', 0, 'path', ['result.txt']),
        ('outputs', 0, 'size', 10 ** 400), ('outputs', 0, 'size', True),
        ('outputs', 0, 'size', -1), ('outputs', 0, 'sha256', None),
        ('outputs', 0, 'sha256', ''), ('outputs', 0, 'link', 'a\0b'),
        ('outputs', 0, 'link', '/etc/passwd'), ('outputs', 0, 'link', 5),
        ('parts', None), ('parts', []), ('parts', [['a', 'b']]), ('parts', {}),
        ('parts', 'inputs', None), ('parts', 'inputs', [1, 2]), ('parts', 'inputs', [[], {}]),
        ('parts', 'inputs', [[['x'], 'y']]), ('parts', 'helpers', 5),
        ('parts', 'helpers', [['a']]), ('parts', 'processor', None),
        ('parts', 'processor', ['a', 'b', 'c']), ('parts', 'params', []),
        ('parts', 'params', {'x': {'y': [1]}}), ('parts', 'env', 'text'),
        ('parts', 'options', None), ('parts', 'python', {}),
        ('parts', 'python', '2.7'), ('durationSec', 10 ** 400)]]


@sizes(4, 1000)
@pytest.mark.integration
@pytest.mark.parametrize('is_other_key', [pytest.param(False, id='same-key'),
                                          pytest.param(True, id='other-key')])
def test_forged_markers_are_seen_through(is_other_key: bool, size: int, tmp_path: Path,
                                         templates: Templates,
                                         main: Callable[..., Finished]) -> None:
    """With the right key the manifest is looked at, with another one what changed."""
    tally = Tally(f'forged markers, {"another" if is_other_key else "the same"} key', SEED)
    for what, forge in spread(FORGERIES, size):
        workspace = _copy(templates.done, tmp_path / 'forged')
        marker = workspace.json(UPPER_MARKER)
        forge(marker)
        if is_other_key and isinstance(marker['key'], str):
            marker['key'] = 'f' * 64
        workspace.write(UPPER_MARKER, json.dumps(marker))
        with tally.trial(what) as trial:
            trial.fired()
            done = main('--pipeline', workspace.pipeline_file, '--run-id', 'r1')
            _check_run(workspace, done, templates.old_text)
            again = main('--pipeline', workspace.pipeline_file, '--run-id', 'r2')
            assert again.err == '' and again.out.count('[SKIP]') == 2, again
        shutil.rmtree(str(workspace.root))
    tally.conclude()


@pytest.mark.slow
@pytest.mark.integration
def test_swapped_markers_are_seen_through(tmp_path: Path, templates: Templates,
                                          main: Callable[..., Finished]) -> None:
    workspace = _copy(templates.done, tmp_path / 'swapped')
    for name, data in zip(MARKERS, [workspace.read_bytes(name) for name in reversed(MARKERS)]):
        workspace.write(name, data)

    done = main('--pipeline', workspace.pipeline_file, '--run-id', 'r1')

    assert '[SKIP]' not in done.out and 'belongs to' in done.err
    _check_run(workspace, done, templates.old_text)


# -- shapes ------------------------------------------------------------------------------

def _folder(path: Path, victim: Path) -> None:
    path.mkdir()
    (path / 'inside').write_text('x')


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(str(path))


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent / 'nowhere')


def _loop(path: Path, victim: Path) -> None:
    path.symlink_to(path.name)


def _hard_link(path: Path, victim: Path) -> None:
    os.link(str(victim), str(path))


def _link_to_folder(path: Path, victim: Path) -> None:
    path.symlink_to(victim.parent)


def _sparse(path: Path, victim: Path) -> None:
    with open(str(path), 'wb') as target:
        target.truncate(17 << 20)


def _unreadable(path: Path, victim: Path) -> None:
    path.write_bytes(b'{}')
    path.chmod(0)


def _garbage(path: Path, victim: Path) -> None:
    path.write_bytes(b'\0\xff{"pid": 1')


def _note_of_init(path: Path, victim: Path) -> None:
    path.write_text(json.dumps({'pid': 1, 'host': 'here', 'since': 'ever', 'runId': 'r0'}))


SHAPES: List[Callable[[Path, Path], None]] = [
    _folder, _pipe, _link, _dangling, _loop, _hard_link, _link_to_folder, _sparse, _unreadable,
    _garbage, _note_of_init]


def all_shapes() -> Iterator[Tuple[str, Callable[[Path, Path], None]]]:
    """Yield every file of the runner with everything that can stand in its place."""
    for name in (*MARKERS, *RECORDS, *LOCKS, *NOTES):
        for shape in SHAPES:
            if shape is not _unreadable or name not in LOCKS:
                yield name, shape


@sizes(4, 1000)
@pytest.mark.integration
def test_whatever_stands_in_place_of_a_file_is_set_aside(size: int, tmp_path: Path,
                                                         install: Install,
                                                         templates: Templates) -> None:
    """As processes of their own: a pipe must not be waited for, a link not be followed."""
    if os.name != 'posix':
        pytest.skip('needs pipes and links')
    tally = Tally('state-damage shapes', SEED)
    cases = list(all_shapes())
    random.Random(f'{SEED} shapes').shuffle(cases)
    for name, shape in cases[:size]:
        is_stopped = name in (PROGRESS, BINDING)
        workspace = (_copy_stopped(templates.stopped, tmp_path / 'shaped') if is_stopped
                     else _copy(templates.done, tmp_path / 'shaped'))
        victim = tmp_path / 'outside' / 'victim'
        victim.parent.mkdir()
        victim.write_text('{"mine": true}')
        _put_in_place(workspace.path(name), shape, victim)
        before = _looks_of(victim.parent)
        with tally.trial(f'{shape.__name__} in place of {name}') as trial:
            trial.fired()
            done = install.run(workspace, '--run-id', 'r1', '--lock-timeout', '0')
            _check_run(workspace, done, templates.old_text)
            assert _looks_of(victim.parent) == before, 'what the link led to changed'
            check_skips(install, workspace)
        shutil.rmtree(str(workspace.root))
        shutil.rmtree(str(victim.parent))
    tally.conclude()


def _put_in_place(path: Path, shape: Callable[[Path, Path], None], victim: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.unlink()
    shape(path, victim)


def _looks_of(folder: Path) -> Dict[str, Tuple[bytes, int, int]]:
    """Return bytes, mode and mtime of the files in a folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('shape', [
    _link_to_folder, _pipe, *(pytest.param(shape, marks=pytest.mark.campaign)
                              for shape in (_link, _dangling, _garbage))])
def test_a_private_folder_that_is_none_is_not_resumed_in(shape: Any, tmp_path: Path,
                                                         install: Install,
                                                         templates: Templates) -> None:
    """What it leads to has a file of the right name and length: still nobody's partial output."""
    workspace = _copy_stopped(templates.stopped, tmp_path / 'w')
    victim = tmp_path / 'outside' / 'result.txt'
    victim.parent.mkdir()
    shutil.copy(str(workspace.path(f'{PARTIAL}/result.txt')), str(victim))
    (victim.parent / 'other').write_text('mine')
    shutil.rmtree(str(workspace.path(PARTIAL)))
    shape(workspace.path(PARTIAL), victim)
    before = _looks_of(victim.parent)

    done = install.run(workspace, '--run-id', 'r1')

    _check_run(workspace, done, templates.old_text)
    assert _looks_of(victim.parent) == before
    check_skips(install, workspace)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('name', ['state', 'locks', 'state/logs', 'locks/.run'])
def test_a_file_in_place_of_a_folder_is_told_in_one_line(name: str, tmp_path: Path,
                                                         install: Install,
                                                         templates: Templates) -> None:
    """Nobody guesses what a person meant by it: the run is refused, or does without logs."""
    workspace = _copy(templates.done, tmp_path / 'w')
    shutil.rmtree(str(workspace.path(name)), ignore_errors=True)
    workspace.write(name, 'in the way')

    done = install.run(workspace, '--run-id', 'r1')

    assert done.code in (0, 5), done
    assert len(done.err.splitlines()) == (1 if done.code else 0), done
    assert workspace.read(name) == 'in the way'
