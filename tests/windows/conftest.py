"""What the tests need to reach a Windows Python.

`WINDOWS_PYTHON` is the command that starts it: a path on Windows, on Linux
something like `wine …/python.exe` (with `WINEPREFIX` and so on in the
environment).  Without it all of these tests are skipped.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List

import pytest

from support import CHECKOUT
from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import clean_environment
from support import wait_until

#: The command that starts the Windows Python, in words; empty where there is none.
PYTHON = shlex.split(os.environ.get('WINDOWS_PYTHON', ''), posix=sys.platform != 'win32')

#: Keeps wine's services alive, which take seconds to start, until a file appears.
_KEEP_ALIVE = '''
import os, sys, time
open('up', 'w').close()
for _ in range(6000):
    if os.path.exists('end'):
        break
    time.sleep(0.1)
'''


class Windows:
    """A workspace on which the runner works under Windows.

    Paths below the current folder are the same on both sides of wine, and so
    are those that start with a slash.
    """

    def __init__(self, workspace: Workspace, shared: Path):
        self.workspace = workspace
        self.runner = shared / 'src' / 'pipeline_runner.py'
        self.env = {'PYTHONPYCACHEPREFIX': str(shared / 'pyc')}

    def environment(self, **extra: str) -> Dict[str, str]:
        """Return the variables of a process."""
        env = clean_environment(is_measured=False, **dict(self.env, **extra))
        for name in ('PYTHONUNBUFFERED', 'PYTHONDONTWRITEBYTECODE', 'PYTHONIOENCODING'):
            env.pop(name, None)
        return env

    def start(self, *args: Any, **extra: str) -> subprocess.Popen:
        """Start the Windows Python in the workspace."""
        return subprocess.Popen(
            [*PYTHON, *(str(arg) for arg in args)], cwd=str(self.workspace.root),
            env=self.environment(**extra), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)

    def start_run(self, *args: Any) -> subprocess.Popen:
        """Start a run of the workspace's pipeline."""
        return self.start(self.runner, '--pipeline', 'pipeline.json', *args)

    def end(self, process: subprocess.Popen) -> Finished:
        """Return how a process ended."""
        out, err = process.communicate(timeout=PATIENCE_S)
        return Finished(process.returncode, *(
            data.decode('utf-8', 'backslashreplace').replace('\r\n', '\n') for data in (out, err)))

    def run(self, *args: Any) -> Finished:
        """Run the workspace's pipeline to its end."""
        return self.end(self.start_run(*args))

    def python(self, code: str, *args: Any) -> Finished:
        """Run a few lines of Python to their end."""
        return self.end(self.start('-c', code, *args))


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Skip, with a reason, what cannot be tested here; all of it takes its time."""
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.fspath).startswith(here):
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.slow)
            if not PYTHON:
                item.add_marker(pytest.mark.skip(
                    reason='WINDOWS_PYTHON names no Windows Python to test with'))


@pytest.fixture(scope='session')
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a copy of the source, where the Windows Python may write its caches."""
    folder = Path(str(tmp_path_factory.mktemp('windows')))
    shutil.copytree(str(CHECKOUT / 'src'), str(folder / 'src'),
                    ignore=shutil.ignore_patterns('__pycache__'))
    if sys.platform == 'win32':
        yield folder
        return
    # No child of ours: the guards around each test end what a test leaves behind.
    # The first one starts the services, which would keep its pipes open.
    subprocess.run(['sh', '-c', '"$@" >/dev/null 2>&1 &', 'sh', *PYTHON, '-c', _KEEP_ALIVE],
                   cwd=str(folder), stdin=subprocess.DEVNULL, check=True)
    wait_until((folder / 'up').exists, 'the Windows Python')
    yield folder
    (folder / 'end').write_text('')


@pytest.fixture
def windows(workspace: Workspace, shared: Path) -> Windows:
    """Return the workspace under Windows."""
    return Windows(workspace, shared)
