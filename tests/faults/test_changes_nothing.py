"""What only tells changes no name, byte, mode or time, whatever state it finds things in."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeLauncher
from faults.graphs import Graph
from faults.graphs import edits
from faults.graphs import work
from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import Trial
from faults.harness import environment
from faults.harness import run as run_process
from faults.harness import sizes
from support import SOURCE
from support import Finished
from support import Workspace

pytestmark = pytest.mark.integration

#: Holds the locks that it is told of until its stdin is closed.
HOLD = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.locks import try_lock
held = [try_lock(path) for path in sys.argv[2:]]
print(sum(lock is not None for lock in held), flush=True)
sys.stdin.read()
'''

GARBAGE = (b'', b'{', b'{"format": 1}', b'[]', b'null\n', b'\0' * 100, b'\xff\xfe',
           b'{"format": 99, "key": 5}\n')


class Scene:
    """A workspace that has run, or has not, and ways to bring it into disorder."""

    def __init__(self, root: Path, number: int):
        self.rng = random.Random(f'{SEED} changes nothing {number}')
        self.workspace = Workspace(root)
        self.graph = Graph(self.workspace, self.rng)
        self.graph.make()
        self.stages = [stage['name'] for stage in self.graph.stages]
        engine = Engine(self.workspace, FakeLauncher())
        engine.launcher.otherwise = Ending(does=work)
        if number % 4:
            assert engine.run(workers=2) == 0
            known = edits(self.graph)
            known[self.rng.choice(sorted(known))]()
        else:
            # A first run that fails: some is done, some is not.
            engine.launcher.will(self.stages[1], Ending(exit_code=65))
            engine.run()
        engine.close()

    def copy(self, root: Path) -> Scene:
        """Return the same in another folder, as independent as a first one."""
        twin = copy.copy(self)
        twin.workspace = Workspace(root)
        twin.rng = random.Random(f'{SEED} {root.name}')
        shutil.copytree(str(self.workspace.root), str(root))
        return twin

    def some(self, found: List[Any]) -> List[Any]:
        """Return one or more of these."""
        return self.rng.sample(found, self.rng.randint(1, len(found)))

    def kept(self) -> List[Path]:
        """Return the records, journals and markers."""
        return [path for path in sorted([*self.workspace.path('state').rglob('*'),
                                         *self.workspace.path('data').rglob('.*.done')])
                if path.is_file()]

    # -- disorder: each returns how many things it did ---------------------------------

    def clean(self) -> int:
        """Leave everything as it is."""
        return 1

    def corrupt(self) -> int:
        """Spoil records, journals and markers."""
        chosen = self.some(self.kept())
        for path in chosen:
            data = path.read_bytes()
            how = self.rng.randrange(4)
            if how == 0:
                path.unlink()
                path.mkdir()
            elif how == 1:
                path.write_bytes(data[:len(data) // 2])
            else:
                path.write_bytes(self.rng.choice(GARBAGE))
        return len(chosen)

    def leftovers(self) -> int:
        """Leave what killed runners and processors leave behind."""
        workspace, chosen = self.workspace, self.some(self.stages)
        for name in chosen:
            workspace.write(f'data/{name}/.{name}.partial/half.txt', 'half')
            workspace.write(f'data/{name}/{name}.txt.4711.tmp', 'half')
            workspace.write(f'state/stage_{name}.json.4711.tmp', '{')
            workspace.write(f'state/progress_{name}.json', '{"lineOffset": 50, "outputs": {}}')
            workspace.write(f'locks/{name}.lock.json.12.tmp', '')
        for journal in sorted(workspace.path('state').glob('*.jsonl')):
            data = journal.read_bytes()
            journal.write_bytes(data + data[:len(data) // 2 + 1] + b'{"torn')
        workspace.write('state/pipeline_checkpoint.json.journal', b'{"torn')
        workspace.write('state/run_dead.json', json.dumps(
            {'runId': 'dead', 'state': 'running', 'startedAt': 'then'}))
        return len(chosen)

    def missing(self) -> int:
        """Remove folders: what was made, and now and then what was given."""
        names = ['state', 'locks', *(f'data/{name}' for name in self.stages)]
        if self.rng.random() < 0.3:
            names += ['data/input', 'data/docs', 'bin']
        chosen = [path for path in map(self.workspace.path, self.some(names)) if path.exists()]
        for path in chosen:
            shutil.rmtree(str(path))
        return len(chosen) or 1

    def locked(self) -> int:
        """Do nothing here: the locks are taken by another process."""
        return 1


DISORDER = (Scene.clean, Scene.corrupt, Scene.locked, Scene.leftovers, Scene.missing)


def commands(scene: Scene) -> List[List[str]]:
    """Return all that only tells."""
    name = scene.rng.choice(scene.stages)
    return [['plan'], ['plan', '--json'], ['plan', '--check'],
            ['plan', '--resume-from', name], ['--dry-run'], ['--dry-run', '--json'],
            ['--dry-run', '--resume', '--max-workers', '3', '--log-file', 'told.log'],
            ['why', name], ['why', scene.stages[-1], '--json'],
            ['verify'], ['verify', name, '--json'], ['audit', 'verify'],
            ['trace', 'data/input/in.txt'], ['impact', 'bin/s0.py', '--json']]


@sizes(6, 50)
def test_telling_changes_nothing(size: int, tmp_path: Path,
                                 main: Callable[..., Finished]) -> None:
    """Each of so many workspaces, in each kind of disorder, is as it was after each command."""
    tally = Tally('changes-nothing', SEED)
    tally.notes.update(commands=0, refused=0)
    for number in range(size):
        first = Scene(tmp_path / f'{number}', number)
        for disorder in DISORDER:
            scene = first.copy(tmp_path / f'{number}{disorder.__name__}')
            with tally.trial(f'{number} {disorder.__name__}') as trial:
                if disorder is Scene.locked:
                    _while_locked(scene, trial, main, tally)
                else:
                    assert disorder(scene)
                    trial.fired()
                    _check(scene, main, tally)
    tally.conclude()


def _while_locked(scene: Scene, trial: Trial, main: Callable[..., Finished],
                  tally: Tally) -> None:
    locks = [str(scene.workspace.path(f'locks/{name}.lock')) for name in scene.stages]
    with subprocess.Popen([sys.executable, '-c', HOLD, str(SOURCE), *locks],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env=environment(), universal_newlines=True) as holder:
        assert holder.stdin and holder.stdout
        assert holder.stdout.readline() == f'{len(locks)}\n'
        trial.fired()
        _check(scene, main, tally)
        holder.stdin.close()


def _check(scene: Scene, main: Callable[..., Finished], tally: Tally) -> None:
    before = scene.workspace.tree()
    for command in commands(scene):
        # Flags alone are a run.
        name = [word for word in command[:2] if not word.startswith('-')]
        done = main(*name, '--pipeline', scene.workspace.pipeline_file, *command[len(name):])
        tally.notes['commands'] += 1
        tally.notes['refused'] += done.code == 2
        bad = (1,) if 'verify' in command else ()
        assert done.code in (0, 2, 5, 10, *bad), (command, done)
        assert 'Traceback' not in done.err and 'bug' not in done.err, (command, done)
        differ = changed(before, scene.workspace.tree())
        assert not differ, (command, differ, done)


def changed(before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
    """Return the names that came, went or are not what they were."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


@pytest.mark.slow
@pytest.mark.parametrize('command', [['plan'], ['--dry-run'], ['why', 's0']], ids=' '.join)
def test_a_real_process_leaves_no_bytecode_either(tmp_path: Path, install: Install,
                                                  command: List[str]) -> None:
    """As users start it: without `-B`, and with helper modules that could be compiled."""
    scene = Scene(tmp_path / 'w', 1)
    workspace = scene.workspace
    workspace.write('bin/helper.py', 'x = 1\n')
    workspace.processor('import helper\n', 'bin/s0.py')
    before = workspace.tree()

    done = run_process([sys.executable, install.front_door, *command], cwd=workspace.root)

    assert done.code == 0 and 's0' in done.out, done
    assert changed(before, workspace.tree()) == []


def test_a_change_would_be_seen(workspace: Workspace) -> None:
    """Of name, bytes, mode and time each."""
    for name in ('bytes', 'mode', 'time', 'gone'):
        workspace.write(name, 'x')
    before = workspace.tree()
    path = workspace.path('bytes')
    found = path.stat()
    path.write_text('y')
    _set_time(path, found.st_mtime_ns)
    workspace.path('mode').chmod(0o400)
    _set_time(workspace.path('time'), 5)
    workspace.path('gone').rename(workspace.path('come'))

    assert changed(before, workspace.tree()) == ['bytes', 'come', 'gone', 'mode', 'time']


def _set_time(path: Path, mtime_ns: int) -> None:
    os.utime(str(path), ns=(mtime_ns, mtime_ns))
