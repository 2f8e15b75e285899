"""Where ways out are tried: listeners, a process outside, and runs with and without the fence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Iterable
from typing import List
from typing import NamedTuple
from typing import Sequence
from typing import Set
from typing import Tuple

from stagerunner.imports import load_program
from stagerunner.offline import violations
from support import PATIENCE_S
from support import SOURCE
from support import Finished
from support import Workspace
from support import clean_environment
from support import processes_below
from support import run_process
from support import wait_until

HERE = Path(__file__).resolve().parent
WAYS = HERE / 'ways'

#: Every way out: the file of its script by its name.
ALL = {path.stem: path.name for path in sorted(WAYS.iterdir())
       if path.suffix in ('.py', '.sh') and not path.name.startswith('_')}

#: Ways that the scan of imports refuses: each is tried in a run of its own.
SCANNED = frozenset(name for name, file in ALL.items() if file.endswith('.py')
                    and violations(load_program(str(WAYS), file)))

_NOBODY_ID = 65534


class Identity(NamedTuple):
    """Who tries, by which interpreter, and in what world (the wishes of `enter.py`)."""

    python: str
    prefix: Tuple[str, ...] = ()
    wishes: Dict[str, Any] = {}

    @property
    def is_other(self) -> bool:
        """True for a user other than the one who runs the tests."""
        return bool(self.prefix)

    def refusing(self, *kinds: str) -> Identity:
        """Return the same user where kinds of system calls fail."""
        return self._replace(wishes={'refuse': kinds})


SELF = Identity(sys.executable)

#: Somebody without any right, and the interpreter that everybody can start.
NOBODY = Identity('/usr/bin/python3', (
    shutil.which('setpriv') or '', f'--reuid={_NOBODY_ID}', f'--regid={_NOBODY_ID}',
    '--clear-groups'))


class Tally(NamedTuple):
    """Which ways were tried and arrived, who came without a name, what was said."""

    tried: Set[str]
    arrived: Set[str]
    strangers: List[str]
    said: str
    runs: Tuple[Finished, ...] = ()


class Arena:
    """A folder that its user owns, with the runner, the ways, listeners and a bystander."""

    def __init__(self, identity: Identity):
        self.identity = identity
        self.folder = Path(tempfile.mkdtemp(prefix='arena-'))
        self.workspace = Workspace(self.folder / 'workspace')
        self.bin = self.workspace.root / 'bin'
        self.variables: Dict[str, str] = {}
        self._companions: List[subprocess.Popen] = []

    def __enter__(self) -> Arena:
        try:
            self._furnish()
            self.variables.update(self._start([sys.executable, HERE / 'recorder.py', self.folder]))
            self.variables.update(self._start([
                *self.identity.prefix, self.identity.python, self.folder / 'bystander.py',
                self.variables['WAY_TCP']]))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._companions:
            process.communicate(timeout=PATIENCE_S)
        shutil.rmtree(str(self.folder))

    # -- furniture ---------------------------------------------------------------

    def _furnish(self) -> None:
        """Put everything where the user can read it."""
        self.folder.chmod(0o755)
        without_caches = shutil.ignore_patterns('__pycache__')
        shutil.copytree(str(WAYS), str(self.bin), ignore=without_caches)
        shutil.copytree(str(SOURCE), str(self.folder / 'src'), ignore=without_caches)
        for name in ('bystander.py', 'enter.py'):
            shutil.copy(str(HERE / name), str(self.folder))
        for file in ALL.values():
            (self.bin / file).chmod(0o755)
        if shutil.which('cc'):
            subprocess.run(['cc', '-w', '-shared', '-fPIC', '-o', str(self.folder / 'preload.so'),
                            str(self.bin / '_startup' / 'preload.c')], check=True)
        self._give_user_packages()
        if self.identity.is_other:
            for folder, _, files in os.walk(str(self.folder)):
                for name in ('.', *files):
                    os.chown(os.path.join(folder, name), _NOBODY_ID, _NOBODY_ID)

    def _give_user_packages(self) -> None:
        """Put a `usercustomize` where the interpreter looks for one, if it does."""
        done = subprocess.run([self.identity.python, '-c', 'import site; print(site.USER_SITE)'],
                              stdout=subprocess.PIPE, check=True,
                              env=clean_environment(PYTHONUSERBASE=self._user_base))
        packages = Path(done.stdout.decode('utf-8').strip())
        if self.folder in packages.parents:
            packages.mkdir(parents=True)
            shutil.copy(str(WAYS / '_startup' / 'sitecustomize.py'),
                        str(packages / 'usercustomize.py'))

    @property
    def _user_base(self) -> str:
        return str(self.folder / 'base')

    def _start(self, command: Sequence[Any]) -> Dict[str, str]:
        """Start a companion and return the variables that it prints first."""
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   cwd=str(self.folder), env=clean_environment(is_measured=False))
        self._companions.append(process)
        return json.loads(process.stdout.readline())

    def env_of(self, way: str) -> Dict[str, str]:
        """Return the variables of a way: where the listeners are, and what makes it a way."""
        own = {
            'startup_inherited': {'PYTHONPATH': str(self.bin / '_startup')},
            'startup_of_user': {'PYTHONUSERBASE': self._user_base},
            'without_ctypes': {'PYTHONPATH': str(self.bin / '_shadow')},
            'preloaded': {'LD_PRELOAD': str(self.folder / 'preload.so')},
        }
        return dict(self.variables, WAY_NAME=way, WAY_PYTHON=self.identity.python,
                    WAY_FOLDER=str(self.bin), **own.get(way, {}))

    def entered(self, *command: Any, **env: str) -> List[str]:
        """Return a command in the world of the identity, with connections left open."""
        wishes = dict(self.identity.wishes, port=int(self.variables['WAY_TCP']), env=env)
        return [*self.identity.prefix, self.identity.python, str(self.folder / 'enter.py'),
                json.dumps(wishes), *(str(part) for part in command)]

    # -- trying ------------------------------------------------------------------

    def without_runner(self, ways: Iterable[str]) -> Tally:
        """Try ways as plain processes: the control."""
        said = []
        for way in ways:
            out = self.workspace.root / 'control' / way
            out.mkdir(parents=True)
            out.chmod(0o777)
            script = str(self.bin / ALL[way])
            command = [script] if script.endswith('.sh') else [self.identity.python, script]
            env = dict(self.env_of(way), PIPELINE_OUTPUT_DIR=str(out))
            done = run_process(*self.entered(*command, **env), cwd=self.workspace.root,
                               is_measured=False)
            said.append(f'{way}: {(done.out + done.err).strip()}')
        return self._tally('control', '\n'.join(said))

    def with_runner(self, ways: Iterable[str], *flags: str, **keys: Any) -> Tally:
        """Try ways as stages of a run; those that the scan refuses, each in one of its own."""
        groups = [[way for way in ways if way not in SCANNED]]
        groups += [[way] for way in ways if way in SCANNED]
        runs = tuple(self.run(group, *flags, **keys) for group in groups if group)
        return self._tally('data', '\n'.join(run.out + run.err for run in runs), runs)

    def run(self, ways: Sequence[str], *flags: str, **keys: Any) -> Finished:
        """Run a pipeline of ways, a stage each, under the id of its first one."""
        self.workspace.pipeline(*[
            dict({'name': way, 'processor': f'bin/{ALL[way]}', 'outputDir': f'data/{way}',
                  'env': self.env_of(way), 'retry': {'maxAttempts': 1},
                  'timeoutSec': PATIENCE_S}, **keys) for way in ways])
        return run_process(
            *self.entered(self.identity.python, self.folder / 'src' / 'pipeline_runner.py',
                          '--run-id', ways[0], *flags),
            cwd=self.workspace.root, is_measured=False, timeout_s=4 * PATIENCE_S)

    def _tally(self, folder: str, said: str, runs: Tuple[Finished, ...] = ()) -> Tally:
        """Ask who arrived, once nobody is left who still could."""
        wait_until(lambda: not processes_below(self.workspace.root), 'the end of all ways')
        recorder = self._companions[0]
        recorder.stdin.write(b'who?\n')
        recorder.stdin.flush()
        answer = json.loads(recorder.stdout.readline())
        return Tally({way for way in ALL if self.workspace.path(f'{folder}/{way}/tried').exists()},
                     set(answer['arrived']), answer['strangers'], said, runs)

    def isolation_of(self, run_id: str) -> Dict[str, Any]:
        """Return what the record of a run says about the fence."""
        return self.workspace.json(f'state/run_{run_id}.json')['isolation']
