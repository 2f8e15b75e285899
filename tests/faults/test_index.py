"""With the index and without it every decision is the same, whatever was done in between.

Two workspaces are made alike and treated alike; one has its index, the other
never does.  What a run tells of its tasks must be equal, event for event.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional
from typing import Tuple

import pytest

from engine import Engine
from engine import copies
from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from faults.harness import SEED
from faults.harness import Tally
from faults.harness import sizes
from stagerunner.errors import DefinitionError
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.launch.job import Job
from stagerunner.outline import outline
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.run import execute
from stagerunner.session import Broadcast
from stagerunner.settings import Settings
from stagerunner.settings import load as load_settings
from stagerunner.standing import config_of
from stagerunner.standing import stand
from stagerunner.workspace import load
from support import Workspace

pytestmark = pytest.mark.skipif(os.name != 'posix', reason='stats are not believed there')

#: A file that a stage may write to although nobody declared that it does.
MEDDLED = 'data/input/meddled.txt'


class Twin:
    """One of the two: a workspace, and an engine on whose clock every file is an hour old."""

    def __init__(self, root: Path, *, has_index: bool):
        root.mkdir(parents=True)
        self.workspace = Workspace(root)
        self.has_index = has_index
        self.engine = Engine(self.workspace, FakeLauncher(FakeClock(now=time.time() + 3600)))
        self.engine.launcher.otherwise = Ending(does=self._work)
        #: Stages, and members of fan-outs, that were not looked at the long way.
        self.n_passed = self.n_called = 0
        self.old_index = b''

    def _work(self, job: Job) -> None:
        copies(job)
        if job.task.startswith('meddler'):
            with open(os.path.join(job.cwd, MEDDLED), 'a') as file:
                file.write('more\n')

    def run(self, workers: int, *, keeps_going: bool) -> List[Any]:
        """Run as the command does and return what was told, as far as it must be equal."""
        engine, root = self.engine, self.workspace.root
        definition = str(self.workspace.pipeline_file)
        self.engine.sink.events.clear()
        if not self.has_index and (root / 'state/index.json').exists():
            (root / 'state/index.json').unlink()
        config = config_of(definition, None)
        standing = stand(definition, config, engine.environment, engine.clock.now())
        try:
            settings = load_settings(config) if config else Settings()
            found = outline(standing, definition, settings) if standing else None
            workspace = found.workspace if found else load(definition, settings)
        except DefinitionError as error:
            return [str(error)]
        is_still = bool(standing and standing.known and not standing.changed())
        for number in range(8):
            engine.launcher.script[f'loser{number}'] = [Ending(exit_code=1)]
        counted = _Counted(self)
        code = execute(
            Request(workspace, 'r1', 0.0, engine.python, engine.python_version, workers=workers,
                    keeps_going=keeps_going, standing=standing,
                    groups=found.groups if found else ()),
            Parts(clock=engine.clock, stop=engine.stop, launcher=engine.launcher,
                  sinks=[engine.sink, counted], environment=engine.environment,
                  spread=lambda: 0.0, pid=1, host='here'))
        assert not is_still or not engine.sink.of(TaskStarted), 'a run without work did some'
        told = [_essence(event) for event in engine.sink.events]
        return [code, *(told if workers == 1 else sorted(told, key=repr))]

    def close(self) -> None:
        self.engine.close()


class _Counted(Broadcast):
    """Counts the skips that were told of at once."""

    def __init__(self, twin: Twin):
        super().__init__(())
        self.twin = twin

    def receive(self, event: Any) -> None:
        """Everything else is of no interest."""

    def receive_skips(self, event: TasksSkipped) -> None:
        if '[' in event.tasks[0]:
            self.twin.n_called += len(event.tasks)
        else:
            self.twin.n_passed += len(event.tasks)

    def idle(self) -> Optional[float]:
        return None

    def close(self) -> None:
        """Nothing is held."""


def _essence(event: Any) -> Tuple[Any, ...]:
    """Return an event without what two runs never have in common: times."""
    left_out = ('at', 'started_at', 'done_at', 'duration_s', 'log', 'tail', 'audit_head')
    return (type(event).__name__, *(value for name, value in zip(event._fields, event)
                                    if name not in left_out))


# -- what a workspace may look like --------------------------------------------------

PLAIN = 'import os, sys\n'
HELPED = 'import os, sys, helper, json\nfrom pack import part\n'


def make(workspace: Workspace, rng: random.Random, *, is_strict: bool) -> None:
    """Fill a workspace with stages of all kinds; with more than one worker of the good ones only.

    What a stage that fails or meddles means for others is a matter of time, where there is
    more than one worker.  So is the order of the members of a fan-out, with any number.
    """
    for name in ('a', 'b', 'c'):
        workspace.write(f'data/input/{name}.txt', f'{name}\n')
        workspace.write(f'data/folder/sub/{name}.txt', f'{name}\n')
        workspace.write(f'data/globbed/{name}.csv', f'{name}\n')
    workspace.write(MEDDLED, 'first\n')
    workspace.write('data/input/[x].txt', 'a name that is a pattern too\n')
    workspace.write('lib/elsewhere.py', '')
    workspace.write('bin/helper.py', 'X = 1\n')
    workspace.write('bin/pack/__init__.py', '')
    workspace.write('bin/pack/part.py', 'import csv\n')
    workspace.processor(PLAIN, 'bin/plain.py')
    workspace.processor(HELPED, 'bin/helped.py')
    workspace.processor('#!/bin/sh\n', 'bin/program')
    kinds = ['s'] * 6 + (['meddler', 'loser'] if is_strict else ['fan'] * 8)
    stages = [_stage(number, rng.choice(kinds), rng) for number in range(rng.randint(3, 7))]
    workspace.pipeline(*stages, items={'docs': {'glob': 'data/input/?.txt'}})


def _stage(number: int, kind: str, rng: random.Random) -> Dict[str, Any]:
    inputs = rng.choice([
        ['data/input/a.txt'], ['data/input/b.txt', 'data/input/c.txt'], ['data/folder'],
        ['data/globbed/*.csv'], ['data/input/[x].txt'], [MEDDLED], [], ['data/nothing/*.txt'],
        ['data/out0'], ['data/out0/a.txt'] if number else ['data/input/a.txt']])
    if number == 0:
        inputs = [['data/input/a.txt'], [MEDDLED]][rng.random() < 0.2] + ['data/input/a.txt']
    stage: Dict[str, Any] = {
        'name': f'{kind}{number}', 'inputs': inputs, 'retry': {'maxAttempts': 1},
        'processor': rng.choice(['bin/plain.py', 'bin/helped.py', 'bin/program']),
        'outputDir': f'data/out{number}' if number == 0 else rng.choice(
            [f'data/out{number}', f'data/deep/er/{number}', 'data/shared'])}
    if stage['outputDir'] == 'data/shared':
        stage['inputs'] = []
    if kind == 'fan' and number:
        stage.update(forEach='docs', inputs=rng.choice([
            ['{item.path}'], ['{item.path}', 'data/input/a.txt'], ['data/out0/{item.name}']]),
            outputDir=f'data/out{number}')
    if rng.random() < 0.1:
        stage['idempotency'] = {'enabled': False}
    if rng.random() < 0.1:
        stage['env'] = {'PYTHONPATH': 'lib'}
    if rng.random() < 0.1:
        stage['checkpoint'] = {'enabled': True}
    if rng.random() < 0.2:
        stage['stopOnFailure'] = False
    return stage


# -- what may happen to it between two runs ------------------------------------------

def _some(root: Path, rng: random.Random, pattern: str) -> Path:
    """Return a file that both twins have; one that does not exist where there is none."""
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern)
                   if not path.name.startswith('.work') and path.is_file())
    return root / (rng.choice(found) if found else 'data/input/new.txt')


def _rewrite(path: Path, content: bytes, *, keeps_time: bool = False) -> None:
    before = path.stat() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if before is not None and keeps_time:
        os.utime(str(path), ns=(before.st_atime_ns, before.st_mtime_ns))


def _scramble(path: Path, rng: random.Random) -> None:
    """Change a byte and put size and time back."""
    if path.is_file() and path.stat().st_size:
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1
        _rewrite(path, bytes(data), keeps_time=True)


def _link_away(path: Path, away: Path) -> None:
    """Move something elsewhere and lead there by a link."""
    if path.exists() and not path.is_symlink() and not away.exists():
        away.parent.mkdir(parents=True, exist_ok=True)
        os.rename(str(path), str(away))
        os.symlink(os.path.relpath(str(away), str(path.parent)), str(path))


Edit = Callable[[Twin, random.Random], Any]


def _path(name: str) -> Callable[[Twin], Path]:
    return lambda twin: twin.workspace.path(name)


def _on_some(pattern: str, change: Callable[[Path, random.Random], Any]) -> Edit:
    def edit(twin: Twin, rng: random.Random) -> None:
        path = _some(twin.workspace.root, rng, pattern)
        if path.exists():
            change(path, rng)
    return edit


def _definition(change: Callable[[Dict[str, Any]], Any]) -> Edit:
    def edit(twin: Twin, rng: random.Random) -> None:
        document = twin.workspace.json('pipeline.json')
        change(document)
        _rewrite(twin.workspace.pipeline_file, json.dumps(document).encode())
    return edit


def _index(change: Callable[[bytes, Twin, random.Random], bytes]) -> Edit:
    def edit(twin: Twin, rng: random.Random) -> None:
        state = random.Random(rng.random())
        path = twin.workspace.path('state/index.json')
        if twin.has_index and path.exists() and path.stat().st_size:
            found = path.read_bytes()
            path.write_bytes(change(found, twin, state))
            twin.old_index = found
    return edit


def _flip(found: bytes, twin: Twin, rng: random.Random) -> bytes:
    data = bytearray(found)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _search(path: str) -> Edit:
    def edit(twin: Twin, rng: random.Random) -> None:
        twin.engine.environment['PYTHONPATH'] = path
    return edit


def _make(name: str, content: str = '') -> Edit:
    return lambda twin, rng: twin.workspace.write(name, content)


def _remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def _link(name: str, away: str) -> Edit:
    return lambda twin, rng: _link_away(twin.workspace.path(name), twin.workspace.path(away))


def _swap(twin: Twin, rng: random.Random) -> None:
    one, other, spare = (twin.workspace.path(f'data/input/{name}') for name in
                         ('b.txt', 'c.txt', 'spare'))
    if one.exists() and other.exists():
        os.rename(str(one), str(spare))
        os.rename(str(other), str(one))
        os.rename(str(spare), str(other))


def _restore(path: Path, rng: random.Random) -> None:
    """Bring a file back from a copy, as a backup does: same bytes and time, another inode."""
    shutil.copy2(str(path), f'{path}.copy')
    os.replace(f'{path}.copy', str(path))


EDITS: Dict[str, Edit] = {
    'nothing': lambda twin, rng: None,
    'input edited': _on_some('data/input/*', lambda path, rng: _rewrite(
        path, path.read_bytes() + b'x')),
    'input edited, time kept': _on_some('data/input/*', _scramble),
    'input touched': _on_some('data/input/*', lambda path, rng: os.utime(str(path))),
    'input restored': _on_some('data/**/*', _restore),
    'input removed': _on_some('data/input/*', _remove),
    'input made a link': _on_some('data/input/*', lambda path, rng: _link_away(
        path, path.parent.parent / 'away' / path.name)),
    'link led elsewhere': _on_some('data/away/*', _scramble),
    'input folder made a link': _link('data/input', 'elsewhere/input'),
    'two inputs swapped': _swap,
    'helper edited': _make('bin/helper.py', 'X = 2\n'),
    'helper edited, time kept': _on_some('bin/pack/*.py', _scramble),
    'helper appears': _make('bin/json.py', 'Y = 1\n'),
    'helper appears in a package': _make('bin/pack/csv.py', ''),
    'package appears': _make('bin/csv/__init__.py', ''),
    'helper removed': _on_some('bin/*.py', lambda path, rng: path.name == 'helper.py'
                               and path.unlink()),
    'forbidden import': _make('bin/pack/part.py', 'import socket\n'),
    'module on the search path': _make('lib/helper.py', 'Z = 1\n'),
    'search path set': _search('lib'),
    'search path unset': _search(''),
    'search path made a link': _link('lib', 'elsewhere/lib'),
    'processor edited': _make('bin/plain.py', 'import os, sys, re\n'),
    'processor touched': _on_some('bin/*', lambda path, rng: os.utime(str(path))),
    'processors made a link': _link('bin', 'elsewhere/bin'),
    'program edited': _on_some('bin/program', _scramble),
    'output edited': _on_some('data/out*/*.txt', lambda path, rng: _rewrite(path, b'other')),
    'output edited, time kept': _on_some('data/out*/*', _scramble),
    'output removed': _on_some('data/[os]*/*', _remove),
    'output made a link': _on_some('data/out*/*.txt', lambda path, rng: _link_away(
        path, path.parent.parent / 'kept' / path.name)),
    'output folder made a link': _link('data/out1', 'elsewhere/out1'),
    'output folder made a link outside': lambda twin, rng: _link_away(
        twin.workspace.path('data/out0'), twin.workspace.root.parent / (
            twin.workspace.root.name + '-outside')),
    'deep folder made a link': _link('data/deep', 'elsewhere/deep'),
    'marker removed': _on_some('data/**/.*.done', _remove),
    'marker edited': _on_some('data/**/.*.done', _scramble),
    'marker of another': lambda twin, rng: [shutil.copy(
        str(_some(twin.workspace.root, random.Random(1), 'data/**/.*.done')), str(path))
        for path in [_some(twin.workspace.root, rng, 'data/**/.*.done')]
        if path.name.endswith('.done') and path != _some(
            twin.workspace.root, random.Random(1), 'data/**/.*.done')],
    'leftover': lambda twin, rng: [os.makedirs(str(path.parent / f'{path.name[:-5]}.partial/x'),
                                               exist_ok=True)
                                   for path in [_some(twin.workspace.root, rng,
                                                      'data/**/.*.done')]
                                   if path.name.endswith('.done')],
    'file in a globbed folder': lambda twin, rng: twin.workspace.write(
        f'data/globbed/{rng.randrange(9)}.csv', 'new\n'),
    'other file in a globbed folder': _make('data/globbed/x.txt', 'new\n'),
    'file named like a pattern': _make('data/globbed/*.csv', 'odd\n'),
    'file in a folder': _make('data/folder/sub/new.txt', 'new\n'),
    'file deep in a folder': _make('data/folder/sub/deep/new.txt', 'new\n'),
    'link in a folder': lambda twin, rng: _link_away(
        twin.workspace.path('data/folder/sub'), twin.workspace.path('data/sub')),
    'matches appear': _make('data/nothing/x.txt', 'new\n'),
    'pattern loses its namesake': _on_some('data/input/[[]x].txt', _remove),
    'match of a pattern appears': _make('data/input/x.txt', 'x\n'),
    'definition touched': lambda twin, rng: os.utime(str(twin.workspace.pipeline_file)),
    'param set': _definition(lambda document: document['stages'][0].setdefault(
        'params', {}).update(n=1)),
    'stage added': _definition(lambda document: document['stages'].append(
        {'name': f'more{len(document["stages"])}', 'processor': 'bin/plain.py',
         'outputDir': f'data/more{len(document["stages"])}'})),
    'stage removed': _definition(lambda document: document['stages'].pop()
                                 if len(document['stages']) > 1 else None),
    'defaults set': _definition(lambda document: document.update(defaults={'params': {'m': 1}})),
    'config appears': _make('pipeline_config.json', '{"retry_policy": {"enabled": false}}'),
    'config goes': _on_some('pipeline_config.json', _remove),
    'index damaged': _index(_flip),
    'index cut short': _index(lambda found, twin, rng: found[:rng.randrange(len(found))]),
    'index of another workspace': _index(lambda found, twin, rng: found.replace(
        b'bench', b'other')),
    'index of yesterday': _index(lambda found, twin, rng: twin.old_index or found),
    'index removed': _index(lambda found, twin, rng: b''),
    'records removed': _on_some('state/stage_*.json', _remove),
}


def tick(folder: Path) -> None:
    """Return when the file system's clock has gone on: what is written now has another time."""
    probe = folder / 'probe'
    probe.write_bytes(b'')
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        time.sleep(0.001)
        probe.write_bytes(b'')


@sizes(6, 200)
def test_a_run_with_the_index_decides_as_one_without(tmp_path, size):
    tally = Tally('index', SEED)
    n_passed = n_called = n_runs = 0
    seen = set()
    for number in range(size):
        seed = SEED + number
        with tally.trial(f'seed {seed}') as trial:
            rng = random.Random(seed)
            workers = rng.choice([1, 1, 2])
            twins = [Twin(tmp_path / f'{number}-{name}', has_index=name == 'with')
                     for name in ('with', 'without')]
            try:
                said: List[str] = []
                for twin in twins:
                    make(twin.workspace, random.Random(seed), is_strict=workers == 1)
                for step in range(10):
                    edits = [rng.choice(list(EDITS)) for _ in range(rng.choice([0, 1, 1, 2]))
                             if step > 1]
                    seen.update(edits)
                    said += ['run', *edits]
                    state = rng.random()
                    tick(tmp_path)
                    for twin in twins:
                        for edit in edits:
                            EDITS[edit](twin, random.Random(state))
                    tick(tmp_path)
                    keeps_going = workers > 1 or rng.random() < 0.3
                    told = [twin.run(workers, keeps_going=keeps_going) for twin in twins]
                    n_runs += 1
                    assert told[0] == told[1], f'{said}: {told[0]} but {told[1]}'
                n_passed += twins[0].n_passed
                n_called += twins[0].n_called
                trial.fired()
            finally:
                for twin in twins:
                    twin.close()
                    # What a run has hashed for one stage it knows for the members of another.
                    assert twin.has_index or not twin.n_passed
    tally.notes.update(runs=n_runs, passed=n_passed, called=n_called,
                       edits=f'{len(seen)}/{len(EDITS)}')
    tally.conclude()
    assert n_passed > 2 * size and n_called > size
