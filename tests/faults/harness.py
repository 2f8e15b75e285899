"""What the fault campaigns share: sizes and figures, a copy of the runner to run, ways to kill it.

A campaign is one test with two sizes: a sample that belongs to every test run,
and the full number, which runs with `-m campaign`.  What it found is told at
the end of the test run in one line: how many faults were tried, how many are
proved to have happened (`fired`), how many were survived.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Set

import pytest

from support import CHECKOUT
from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import clean_environment
from support import is_alive
from support import processes_below
from support import wait_until

#: Random faults start from here; a failure is repeated with the same number.
SEED = int(os.environ.get('STAGERUNNER_TEST_SEED', '20251114'))

#: One line per campaign; the end of the test run prints them.
REPORT: List[str] = []

#: A campaign ends when so many trials went wrong: more would tell nothing new.
_MOST_BAD = 20

STAGES = ('stage_copy', 'stage_upper')
RESULT = 'data/output/result.txt'
COPIED = 'data/work/sample.txt'


def sizes(sample: int, full: int) -> Any:
    """Return the mark that gives a test its argument `size`: a sample always, all when asked."""
    return pytest.mark.parametrize('size', [
        pytest.param(sample, id='sample', marks=pytest.mark.slow),
        pytest.param(full, id='full', marks=[pytest.mark.slow, pytest.mark.campaign])])


class Trial:
    """One fault: it counts when it is proved to have happened."""

    def __init__(self) -> None:
        self.has_fired = False

    def fired(self) -> None:
        """Note that the fault happened."""
        self.has_fired = True


class Tally:
    """Counts trials; `conclude` reports them, and fails when one was bad or never fired."""

    def __init__(self, name: str, seed: int):
        self.name = name
        self.seed = seed
        self.n = self.n_fired = self.n_ok = 0
        self.bad: List[str] = []
        self.notes: Dict[str, Any] = {}
        self.began = time.monotonic()

    @contextmanager
    def trial(self, what: str) -> Iterator[Trial]:
        """Count what happens in this block; a failed assertion makes it a bad trial."""
        trial = Trial()
        self.n += 1
        try:
            yield trial
            self.n_ok += 1
        except AssertionError as error:
            self.bad.append(f'{what}: {str(error)[:1000]}')
            if len(self.bad) >= _MOST_BAD:
                self.conclude()
        finally:
            self.n_fired += trial.has_fired

    def conclude(self) -> None:
        """Report, and fail unless every trial fired and was survived."""
        notes = ''.join(f' {key}={value}' for key, value in self.notes.items())
        REPORT.append(f'{self.name}: n={self.n} fired={self.n_fired} ok={self.n_ok} '
                      f'bad={len(self.bad)}{notes} seed={self.seed} '
                      f'{time.monotonic() - self.began:.1f}s')
        print(REPORT[-1])
        assert not self.bad, f'{len(self.bad)} of {self.n} are bad, seed {self.seed}:\n' + \
            '\n'.join(self.bad[:5])
        assert self.n_fired == self.n, f'{self.n - self.n_fired} of {self.n} never happened'


# -- the runner --------------------------------------------------------------------

class Install(NamedTuple):
    """A compiled copy of the runner and the demo: edits of the checkout do not reach it."""

    root: Path

    @property
    def front_door(self) -> Path:
        """The script to run."""
        return self.root / 'src' / 'pipeline_runner.py'

    def command(self, workspace: Workspace, *args: Any) -> List[str]:
        """Return the command line of a run."""
        return [real_interpreter(), '-B', str(self.front_door),
                '--pipeline', str(workspace.pipeline_file), *(str(arg) for arg in args)]

    def start(self, workspace: Workspace, *args: Any, **options: Any) -> subprocess.Popen:
        """Start a run; its output goes to files, so that nobody has to read it."""
        given: Dict[str, Any] = dict({
            'cwd': str(workspace.root), 'stdin': subprocess.DEVNULL,
            'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL,
            'env': environment()}, **options)
        return subprocess.Popen(self.command(workspace, *args), **given)

    def run(self, workspace: Workspace, *args: Any, prefix: Sequence[str] = (),
            env: Optional[Dict[str, str]] = None) -> Finished:
        """Run to the end; `prefix` is what the command line is started by (strace, unshare)."""
        return run([*prefix, *self.command(workspace, *args)], cwd=workspace.root, env=env)


def make_install(root: Path) -> Install:
    """Copy what is shipped to `root` and compile it, so that no run has to."""
    import compileall

    for name in ('src', 'bin'):
        shutil.copytree(str(CHECKOUT / name), str(root / name),
                        ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(str(CHECKOUT / 'pipeline.json'), str(root))
    assert compileall.compile_dir(str(root / 'src'), quiet=1)
    return Install(root)


def real_interpreter() -> str:
    """Return the interpreter itself, not a wrapper: calls are counted per process."""
    return os.path.abspath(sys.executable)


def environment(**extra: str) -> Dict[str, str]:
    """Return an environment in which a bare runner does what it does for users."""
    env = clean_environment(is_measured=False, **extra)
    for name in ('PYTHONUNBUFFERED', 'PYTHONDONTWRITEBYTECODE'):
        env.pop(name, None)
    return env


def run(command: Sequence[Any], *, cwd: Any, env: Optional[Dict[str, str]] = None,
        timeout_s: float = 2 * PATIENCE_S) -> Finished:
    """Run a program to its end; what takes longer than `timeout_s` hangs."""
    done = subprocess.run([str(part) for part in command], cwd=str(cwd), timeout=timeout_s,
                          stdin=subprocess.DEVNULL, env=env or environment(),
                          capture_output=True)
    return Finished(done.returncode, done.stdout.decode('utf-8', 'backslashreplace'),
                    done.stderr.decode('utf-8', 'backslashreplace'))


# -- the demo ----------------------------------------------------------------------

def make_demo(root: Path, install: Install, text: bytes, *, interval: int = 50,
              upper: str = 'bin/stage_upper.py') -> Workspace:
    """Make a workspace with the shipped pipeline and processors over a text of one's own."""
    workspace = Workspace(root)
    shutil.copytree(str(install.root / 'bin'), str(root / 'bin'))
    workspace.write('data/input/sample.txt', text)
    definition = json.loads((install.root / 'pipeline.json').read_text(encoding='utf-8'))
    definition['stages'][1]['checkpoint']['lineInterval'] = interval
    definition['stages'][1]['processor'] = upper
    workspace.write('pipeline.json', json.dumps(definition, indent=2))
    return workspace


def make_text(n_lines: int, seed: int = 1) -> bytes:
    """Return lines of all kinds: empty, long, not ASCII; the last one has no line feed."""
    import random

    rng = random.Random(seed)
    words = ['alpha', 'Beta', 'gamma', 'straße', 'naïve', 'x' * 40, '', '12', 'mixed Case']
    lines = [' '.join(rng.choice(words) for _ in range(rng.randrange(6)))
             for _ in range(n_lines)]
    return '\n'.join(f'{number} {line}' if number % 7 else line
                     for number, line in enumerate(lines, 1)).encode('utf-8')


def outputs(workspace: Workspace) -> Dict[str, bytes]:
    """Return what people see in the output folders: neither markers nor private folders."""
    return {f'{folder}/{name}': data
            for folder in ('data/work', 'data/output')
            for name, data in workspace.contents(folder).items()
            if not name.startswith('.')}


def leftovers(workspace: Workspace) -> List[str]:
    """Return temporary files and private folders, of which a finished run leaves none."""
    return [str(path.relative_to(workspace.root)) for path in workspace.root.rglob('*')
            if path.name.endswith(('.tmp', '.partial', '.ordered'))]


def unparsable(workspace: Workspace) -> List[str]:
    """Return JSON files of the runner (notes of locks too) that are not whole."""
    found = []
    for path in sorted(workspace.root.rglob('*')):
        is_ours = path.name.endswith(('.json', '.done')) and path.is_file()
        if is_ours and '.corrupt-' not in path.name:
            try:
                json.loads(path.read_text(encoding='utf-8'))
            except ValueError as error:
                found.append(f'{path.relative_to(workspace.root)}: {error}')
    return found


def check_skips(install: Install, workspace: Workspace) -> None:
    """Assert that one more run has nothing to do, to say or to repair."""
    before = settled(workspace)
    again = install.run(workspace)
    assert again.code == 0, again
    assert [line for line in again.lines if line.startswith('[')] == [
        f'[SKIP] {name} (idempotent key matched)' for name in STAGES], again
    assert again.err == '', again
    assert settled(workspace) == before


def settled(workspace: Workspace) -> Dict[str, Any]:
    """Return the tree without what every run writes: its own records and derived files."""
    return {name: (kind, mode, data) for name, (kind, mode, _, data) in workspace.tree().items()
            if not name.startswith(('state/run_', 'state/metrics_', 'state/audit_',
                                    'state/index.json', 'state/pipeline_checkpoint.json',
                                    'locks/.run'))}


# -- killing -----------------------------------------------------------------------

def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def kill_all(workspace: Workspace) -> None:
    """Kill everything that works in a workspace, until nothing does."""
    def is_empty() -> bool:
        for pid in processes_below(workspace.root):
            kill(pid)
        return not processes_below(workspace.root)

    wait_until(is_empty, 'the end of all processes')


def parent_of(pid: int) -> int:
    """Return the parent of a process, 0 when it is gone (Linux)."""
    try:
        return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def kill_runner_alone(process: subprocess.Popen, processor: int) -> None:
    """Kill a runner and whatever stands between it and a processor, but not the processor."""
    chain: Set[int] = {process.pid}
    above = parent_of(processor)
    while above > 1 and above != process.pid and above != os.getpid():
        chain.add(above)
        above = parent_of(above)
    for pid in chain:
        os.kill(pid, signal.SIGSTOP)
    for pid in chain:
        kill(pid)
    process.wait(PATIENCE_S)
    wait_until(lambda: not any(is_alive(pid) for pid in chain), 'the end of the runner')


# -- strace ------------------------------------------------------------------------

def need_strace(syscalls: str = 'fsync') -> None:
    """Skip a test, saying why, where calls cannot be traced."""
    if not sys.platform.startswith('linux'):
        pytest.skip('strace is for Linux')
    found = shutil.which('strace')
    if not found:
        pytest.skip('strace is not installed')
    probe = subprocess.run([found, '-qq', '-o', os.devnull, '-e', f'trace={syscalls}', 'true'],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
    if probe.returncode:
        pytest.skip('strace cannot trace here: '
                    + probe.stdout.decode('utf-8', 'replace').strip()[:200])


def need_linux() -> None:
    """Skip a test that looks into /proc."""
    if not os.path.isdir('/proc/self/fd'):
        pytest.skip('needs /proc')


def spread(points: Sequence[Any], size: int) -> List[Any]:
    """Return at most `size` points, evenly spread over all of them, the ends included."""
    if size >= len(points):
        return list(points)
    if size == 1:
        return [points[0]]
    return [points[round(index * (len(points) - 1) / (size - 1))] for index in range(size)]


Check = Callable[[], None]
