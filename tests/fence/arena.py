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
from support import wait_until

HERE = Path(__file__).resolve().parent
WAYS = HERE / 'ways'

#: The interpreter that any user of this system can start.
PYTHON_OF_ALL = '/usr/bin/python3'

NOBODY_ID = 65534

#: Every way out, by the name of its script.
ALL = {path.stem: path.name for path in sorted(WAYS.iterdir())
       if path.suffix in ('.py', '.sh') and not path.name.startswith('_')}

#: Ways that stay within this machine; the fence does not promise to stop them.
DOCUMENTED = frozenset(['abstract_socket', 'path_socket'])

#: Ways that the scan of imports refuses: tried in a run of their own.
SCANNED = frozenset(name for name, file in ALL.items() if file.endswith('.py')
                    and violations(load_program(str(WAYS), file)))


class Identity(NamedTuple):
    """Who tries, and by which interpreter; `wishes` are those of `enter.py`."""

    python: str
    prefix: Tuple[str, ...] = ()
    wishes: Dict[str, Any] = {}

    @property
    def is_other(self) -> bool:
        """True for a user other than the one who runs the tests."""
        return bool(self.prefix)


SELF = Identity(sys.executable)

NOBODY = Identity(PYTHON_OF_ALL, ('setpriv', f'--reuid={NOBODY_ID}', f'--regid={NOBODY_ID}',
                                  '--clear-groups'))


class Tally(NamedTuple):
    """Which ways were tried, which of them arrived, and how many came without a name."""

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
        self.processes: List[subprocess.Popen] = []

    def __enter__(self) -> Arena:
        try:
            self._furnish()
            self.variables = self._start([sys.executable, HERE / 'recorder.py', self.folder])
            self.recorder = self.processes[0]
            self.variables.update(self._start([
                *self.identity.prefix, self.identity.python, self.folder / 'bystander.py',
                self.variables['WAY_TCP']]))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait(PATIENCE_S)
            process.stdout.close()
        shutil.rmtree(str(self.folder))

    def _furnish(self) -> None:
        """Put everything where the user can read it."""
        bin_folder = self.workspace.root / 'bin'
        shutil.copytree(str(WAYS), str(bin_folder), ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copytree(str(SOURCE), str(self.folder / 'src'),
                        ignore=shutil.ignore_patterns('__pycache__'))
        for name in ('bystander.py', 'enter.py'):
            shutil.copy(str(HERE / name), str(self.folder))
        for name, file in ALL.items():
            (bin_folder / file).chmod(0o755)
        # Where a user's own packages lie, for the interpreter that will look for them.
        done = subprocess.run([self.identity.python, '-c', 'import site; print(site.USER_SITE)'],
                              stdout=subprocess.PIPE, check=True,
                              env=dict(clean_environment(), **self._user_base()))
        packages = done.stdout.decode().strip()
        if packages.startswith(str(self.folder)):
            shutil.copytree(str(WAYS / '_startup'), packages)
            os.rename(os.path.join(packages, 'sitecustomize.py'),
                      os.path.join(packages, 'usercustomize.py'))
        if self.identity.is_other:
            for folder, _, files in os.walk(str(self.folder)):
                for name in ('.', *files):
                    os.chown(os.path.join(folder, name), NOBODY_ID, NOBODY_ID)

    def _user_base(self) -> Dict[str, str]:
        return {'PYTHONUSERBASE': str(self.folder / 'base')}

    def _start(self, command: Sequence[Any]) -> Dict[str, str]:
        """Start a companion and return the variables that it prints first."""
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, cwd=str(self.folder),
                                   env=clean_environment(is_measured=False))
        self.processes.append(process)
        return json.loads(process.stdout.readline())

    def env_of(self, way: str) -> Dict[str, str]:
        """Return the variables that a way needs, none of them the runner's."""
        given = dict(self.variables, WAY_NAME=way, WAY_PYTHON=self.identity.python,
                     WAY_FOLDER=str(self.workspace.root / 'bin'))
        if way == 'startup_inherited':
            given['PYTHONPATH'] = str(self.workspace.root / 'bin' / '_startup')
        elif way == 'startup_of_user':
            given.update(self._user_base())
        return given

    def entered(self, *command: Any) -> List[str]:
        """Return a command in the world that the identity lives in, connections left open."""
        wishes = dict(self.identity.wishes, port=int(self.variables['WAY_TCP']))
        return [*self.identity.prefix, self.identity.python, str(self.folder / 'enter.py'),
                json.dumps(wishes), *(str(part) for part in command)]

    # -- trying ------------------------------------------------------------------

    def without_runner(self, ways: Iterable[str]) -> Tally:
        """Try ways as plain processes: the control."""
        said = []
        for way in ways:
            out = self.workspace.root / 'control' / way
            out.mkdir(parents=True)
            out.parent.chmod(0o777)
            out.chmod(0o777)
            script = str(self.workspace.root / 'bin' / ALL[way])
            command = [script] if script.endswith('.sh') else [self._interpreter(), script]
            done = subprocess.run(
                self.entered(*command), cwd=str(self.workspace.root), timeout=PATIENCE_S,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=dict(clean_environment(is_measured=False), PIPELINE_OUTPUT_DIR=str(out),
                         **self.env_of(way)))
            said.append('%s: %s' % (way, done.stdout.decode('utf-8', 'replace').strip()))
        return self._tally('control/%s/tried', '\n'.join(said))

    def with_runner(self, ways: Iterable[str], *flags: str, **keys: Any) -> Tally:
        """Try ways as stages of a run, those that the scan refuses one by one."""
        ways = list(ways)
        passing = [way for way in ways if way not in SCANNED]
        groups = ([passing] if passing else []) + [[way] for way in ways if way in SCANNED]
        runs = tuple(self.run(group, *flags, **keys) for group in groups)
        return self._tally('data/%s/tried', '\n'.join(run.out + run.err for run in runs), runs)

    def run(self, ways: Sequence[str], *flags: str, **keys: Any) -> Finished:
        """Run a pipeline of ways and return how it ended."""
        self.workspace.pipeline(*[
            dict({'name': way, 'processor': f'bin/{ALL[way]}', 'outputDir': f'data/{way}',
                  'env': self.env_of(way), 'retry': {'maxAttempts': 1},
                  'timeoutSec': PATIENCE_S}, **keys) for way in ways])
        done = subprocess.run(
            self.entered(self._interpreter(), self.folder / 'src' / 'pipeline_runner.py',
                         *flags), cwd=str(self.workspace.root), timeout=4 * PATIENCE_S,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment(is_measured=False))
        return Finished(done.returncode, done.stdout.decode('utf-8', 'backslashreplace'),
                        done.stderr.decode('utf-8', 'backslashreplace'))

    def _interpreter(self) -> str:
        return self.identity.python

    def _tally(self, tried: str, said: str, runs: Tuple[Finished, ...] = ()) -> Tally:
        """Ask who arrived, once nobody is left who could."""
        wait_until(lambda: not processes_below(self.workspace.root), 'the end of all ways')
        self.recorder.stdin.write(b'?\n')
        self.recorder.stdin.flush()
        answer = json.loads(self.recorder.stdout.readline())
        return Tally({way for way in ALL if self.workspace.path(tried % way).exists()},
                     set(answer['arrived']), answer['strangers'], said, runs)

    def record(self) -> Dict[str, Any]:
        """Return the record of the only run."""
        found, = (self.workspace.root / 'state').glob('run_*.json')
        return json.loads(found.read_text('utf-8'))
