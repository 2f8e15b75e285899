"""What tests share: workspaces, the runner as a process, waiting for conditions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Mapping
from typing import NamedTuple
from typing import Optional
from typing import Tuple
from typing import Union

#: The checkout that is tested.
CHECKOUT = Path(__file__).resolve().parent.parent
SOURCE = CHECKOUT / 'src'
FRONT_DOOR = SOURCE / 'pipeline_runner.py'

#: No single thing that a test waits for takes longer, however loaded the machine is (seconds).
PATIENCE_S = 60.0

#: Variables by which a coverage run measures the processes that it starts.
_MEASURING = ('COVERAGE_', 'COV_CORE_')

#: A processor that copies its inputs.
COPY = '''\
"""Copy every input into the output folder."""
import os
import shutil
import sys

for path in sys.argv[1:]:
    shutil.copyfile(path, os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], os.path.basename(path)))
'''

#: A processor that turns lines into upper case and can be resumed.
UPPER = '''\
"""Turn the lines of all inputs into upper case."""
import sys
from stagerunner.processor import Progress

with Progress() as progress:
    result = progress.open('result.txt')
    for line in progress.lines(sys.argv[1:]):
        result.write(line.upper())
'''


class Finished(NamedTuple):
    """How a process ended: exit code (minus n: signal n) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> List[str]:
        """Return what it printed on stdout, by line."""
        return self.out.splitlines()


def clean_environment(*, is_measured: bool = True, **extra: str) -> Dict[str, str]:
    """Return the environment of this process without `PIPELINE_*`, plus `extra`.

    With `is_measured=False` a coverage run does not follow into the process:
    for tests that count what a bare runner does.
    """
    dropped = ('PIPELINE_', *(() if is_measured else _MEASURING))
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    env.update(extra)
    return env


def run_cli(*args: Any, cwd: Union[str, Path], env: Optional[Mapping[str, str]] = None,
            is_measured: bool = True, timeout_s: float = PATIENCE_S,
            python: str = sys.executable) -> Finished:
    """Run the front door as a real process with this interpreter and return how it ended.

    `env` are variables beside the inherited ones.
    """
    return run_process(python, FRONT_DOOR, *args, cwd=cwd, env=env, is_measured=is_measured,
                       timeout_s=timeout_s)


def run_process(*command: Any, cwd: Union[str, Path], env: Optional[Mapping[str, str]] = None,
                is_measured: bool = True, timeout_s: float = PATIENCE_S) -> Finished:
    """Run a program to its end and return how it ended; nothing is read from stdin."""
    done = subprocess.run(
        [str(part) for part in command], cwd=str(cwd), stdin=subprocess.DEVNULL,
        env=clean_environment(is_measured=is_measured, **(env or {})),
        capture_output=True, timeout=timeout_s)
    return Finished(done.returncode, done.stdout.decode('utf-8', 'backslashreplace'),
                    done.stderr.decode('utf-8', 'backslashreplace'))


def start_cli(*args: Any, cwd: Union[str, Path], env: Optional[Mapping[str, str]] = None,
              is_measured: bool = True, python: str = sys.executable,
              **options: Any) -> subprocess.Popen:
    """Start the front door and return its process; use it in a `with` and end it there."""
    command = [python, str(FRONT_DOOR), *(str(arg) for arg in args)]
    given = dict({'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE,
                  'stderr': subprocess.PIPE}, **options)
    return subprocess.Popen(command, cwd=str(cwd), env=clean_environment(
        is_measured=is_measured, **(env or {})), **given)


def stage(name: str = 'work', **keys: Any) -> Dict[str, Any]:
    """Return a stage as JSON has it; what is not said fits a `Workspace` of one stage."""
    return dict({'name': name, 'processor': 'bin/work.py', 'inputs': ['data/input/in.txt'],
                 'outputDir': f'data/{name}'}, **keys)


class Workspace:
    """A folder with a pipeline, made quickly and looked into easily."""

    def __init__(self, root: Path):
        self.root = root

    @property
    def pipeline_file(self) -> Path:
        """The definition."""
        return self.root / 'pipeline.json'

    def path(self, name: str) -> Path:
        """Return the path of a file by its name below the root."""
        return self.root / name

    def write(self, name: str, content: Union[str, bytes] = '') -> Path:
        """Make a file, and the folders above it, without changing line ends."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode('utf-8'))
        return path

    def processor(self, text: str = COPY, name: str = 'bin/work.py') -> str:
        """Write a processor and return its name; a program gets its execute bit."""
        path = self.write(name, text)
        if not name.endswith('.py'):
            path.chmod(0o755)
        return name

    def pipeline(self, *stages: Dict[str, Any], **top: Any) -> Path:
        """Write `pipeline.json`: the stages, and top-level keys beside them."""
        document = dict({'name': 'test', 'stages': list(stages)}, **top)
        return self.write('pipeline.json', json.dumps(document))

    def simple(self, text: str = COPY, content: Union[str, bytes] = 'one\ntwo\n',
               **keys: Any) -> Workspace:
        """Make the smallest whole workspace: one stage `work`, one input, one processor."""
        self.processor(text)
        self.write('data/input/in.txt', content)
        self.pipeline(stage(**keys))
        return self

    def read(self, name: str) -> str:
        """Return the text of a file."""
        return self.read_bytes(name).decode('utf-8')

    def read_bytes(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return (self.root / name).read_bytes()

    def json(self, name: str) -> Any:
        """Return the decoded content of a JSON file."""
        return json.loads(self.read(name))

    def run(self, *args: Any, **options: Any) -> Finished:
        """Run the pipeline as a real process; options as `run_cli`."""
        options.setdefault('cwd', self.root)
        return run_cli('--pipeline', self.pipeline_file, *args, **options)

    def start(self, *args: Any, **options: Any) -> subprocess.Popen:
        """Start a run and return its process; options as `start_cli`."""
        options.setdefault('cwd', self.root)
        return start_cli('--pipeline', self.pipeline_file, *args, **options)

    def tree(self, name: str = '.') -> Dict[str, Tuple[str, int, int, bytes]]:
        """Return kind, mode, mtime and bytes of everything below a folder, by relative name."""
        return {str(path.relative_to(self.root)): _entry(path)
                for path in sorted((self.root / name).rglob('*'))}

    def contents(self, name: str) -> Dict[str, bytes]:
        """Return the bytes of all regular files below a folder, by name relative to it."""
        top = self.root / name
        return {str(path.relative_to(top)): path.read_bytes()
                for path in sorted(top.rglob('*')) if path.is_file() and not path.is_symlink()}


def _entry(path: Path) -> Tuple[str, int, int, bytes]:
    found = path.lstat()
    if path.is_symlink():
        return 'link', found.st_mode, found.st_mtime_ns, os.fsencode(os.readlink(str(path)))
    if path.is_file():
        return 'file', found.st_mode, found.st_mtime_ns, path.read_bytes()
    return 'folder' if path.is_dir() else 'other', found.st_mode, found.st_mtime_ns, b''


def wait_until(condition: Callable[[], Any], what: str = 'the condition',
               timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true answer of `condition`, asked again and again."""
    until = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < until, f'{what} did not come true within {timeout_s:g}s'
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """True while a process runs; one that ended and waits to be reaped is not alive (Linux)."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_below(folder: Path) -> List[int]:
    """Return the live processes whose working directory lies in `folder` (Linux)."""
    inside = os.path.realpath(str(folder))
    found = []
    for name in os.listdir('/proc') if os.path.isdir('/proc/self') else ():
        if name.isdigit() and int(name) != os.getpid():
            try:
                cwd = os.readlink(f'/proc/{name}/cwd')
            except OSError:
                continue
            if (cwd + os.sep).startswith(inside + os.sep):
                found.append(int(name))
    return found
