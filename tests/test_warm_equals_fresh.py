"""A processor that is forked from a keeper behaves like one that is started by hand.

Every script of `corpus/` is run by `python script` and through a keeper, in the
same folder and the same environment; stdout, stderr, exit status and the files
that it leaves must be equal.  What cannot be equal is listed in `DIFFERS`.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

import pytest

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.environment import SOURCE_FOLDER
from stagerunner.imports import load_program
from stagerunner.launch.capture import Output
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.linux import LinuxLauncher
from support import PATIENCE_S
from support import clean_environment

CORPUS = Path(__file__).resolve().parent / 'corpus'

#: Sources that no file of a checkout keeps as they are, or that no checker reads.
ODD = {
    'odd_bom.py': b'\xef\xbb\xbf"""Begins with a mark."""\nprint(__doc__, "\xc3\xa4")\n',
    'odd_bom_cookie.py': b'\xef\xbb\xbf# coding: latin-1\nprint(1)\n',
    'odd_comments.py': b'# nothing\n\n# but comments',
    'odd_cookie.py': b'# -*- coding: latin-1 -*-\nprint(ascii("\xe4"), "\xe4".encode("utf-8"))\n1/0 # \xe4\n',
    'odd_cookie_unknown.py': b'# coding: no-such-thing\nprint(1)\n',
    'odd_crlf.py': b'"""Has other line ends."""\r\ntext = """a\r\nb"""\r\nprint(ascii(text))\r\n1/0\r\n',
    'odd_cr.py': b'print(1)\rprint(2)\r1/0\r',
    'odd_empty.py': b'',
    'odd_form_feed.py': b'print(1)\n\x0cprint(2)\n',
    'odd_indent.py': b'if True:\nprint(1)\n',
    'odd_long_line.py': b'x = [' + b'1, ' * 60000 + b']\nprint(len(x))\n',
    'odd_nested.py': b'x = ' + b'(' * 300 + b')' * 300 + b'\n',
    'odd_no_line_end.py': b'print(1)\nif True: print(2)',
    'odd_not_utf8.py': b'print(1)\nname = "\xe4\xf6"\nprint(name)\n',
    'odd_not_utf8_comment.py': b'print(1)\n# \xe4\n',
    'odd_nul.py': b'print(1)\n\x00print(2)\n',
    'odd_nul_inside.py': b'print(1)\nx = "a\x00b"\nprint(2)\n',
    'odd_return.py': b'print(1)\nreturn 3\n',
    'odd_syntax.py': b'"""Is no Python."""\nprint(1)\ndef f(:\n    pass\n',
    'odd_syntax_continued.py': b'x = (1,\n     2,\n\n\ny = 3\n',
    'odd_syntax_late.py': b'def f():\n    x = 1\n    global x\nnonlocal y\n',
    'odd_syntax_wide.py': 'grün = {"ä": "€"\nx = 1 ä ö\n'.encode('utf-8'),
    'odd_tabs.py': b'if True:\n\tx = 1\n        y = 2\n',
    'odd_unterminated.py': b'x = """never\nends\n',
    'odd_warning.py': b'x = "\\d"\nprint(x is "a", 1 is 1)\nassert (1, "always")\n',
}

#: Environments beside the usual one, and the scripts that could notice.
VARIANTS: Dict[str, Tuple[Dict[str, str], Tuple[str, ...]]] = {}

#: Scripts that behave otherwise, and why that cannot or need not be helped.
DIFFERS: Dict[str, str] = {}

ARGUMENTS = ('an argument', '', '-x', 'ä')


class Ended(NamedTuple):
    """All that is to be seen of a process that ended."""

    status: int
    out: bytes
    err: bytes
    files: Dict[str, bytes]


class Streams(Output):
    """What a job prints, apart."""

    def __init__(self, log_path: str):
        super().__init__(log_path)
        self.parts: Dict[bool, List[bytes]] = {False: [], True: []}

    def write(self, data: bytes, *, is_error: bool) -> None:
        self.parts[is_error].append(data)
        super().write(data, is_error=is_error)


class Bench:
    """A folder where one script after the other is run, each time as if it were the first."""

    def __init__(self, folder: Path, python: str = sys.executable, *, is_fenced: bool = True):
        self.folder = folder
        self.root = folder / 'workspace'
        self.python = python
        self.is_fenced = is_fenced
        inherited = clean_environment(is_measured=False)
        self.env = {name: inherited[name] for name in ('PATH', 'HOME', 'LANG') if name in inherited}
        self.env.update(CORPUS='a b\nc', EMPTY='', PYTHONPATH=SOURCE_FOLDER)

    def plain(self, script: str) -> Ended:
        """Run a script as a person does."""
        self._prepare(script)
        done = subprocess.run([self.python, f'bin/{script}', *ARGUMENTS], cwd=str(self.root),
                              env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              start_new_session=True, timeout=PATIENCE_S)
        return Ended(done.returncode, done.stdout, done.stderr, self._files())

    def launched(self, launcher: Launcher, script: str) -> Ended:
        """Run a script as a stage."""
        self._prepare(script)
        program = load_program(str(self.root), f'bin/{script}', [str(self.root)])
        log = str(self.folder / 'log')
        job = Job(script, (f'bin/{script}', *ARGUMENTS), self.env, str(self.root), log,
                  self.python, tuple((source.absolute, source.digest)
                                     for source in program.sources),
                  timeout_s=PATIENCE_S, is_fenced=self.is_fenced)
        refused = launcher.start(job)
        assert refused is None, refused
        streams = Streams(log)
        launcher.running[script].output = streams  # type: ignore[attr-defined]
        ended = wait_for_end(launcher)
        assert not ended.stopped, ended
        return Ended(ended.exit_code, b''.join(streams.parts[False]),
                     b''.join(streams.parts[True]), self._files())

    def _prepare(self, script: str) -> None:
        shutil.rmtree(str(self.root), ignore_errors=True)
        shutil.copytree(str(CORPUS / 'lib'), str(self.root / 'bin'),
                        ignore=shutil.ignore_patterns('__pycache__'))
        target = self.root / 'bin' / script
        if script in ODD:
            target.write_bytes(ODD[script])
        else:
            shutil.copyfile(str(CORPUS / script), str(target))

    def _files(self) -> Dict[str, bytes]:
        """Return what is there now; of caches of compiled code the runner makes other ones."""
        return {str(path.relative_to(self.root)): path.read_bytes()
                for path in self.root.rglob('*')
                if path.is_file() and path.parent.name != '__pycache__'}


def wait_for_end(launcher: Launcher) -> Exit:
    """Return how the only running job ended."""
    while True:
        for ended in launcher.wait(PATIENCE_S):
            return ended


def compare(name: str, fresh: Ended, other: Ended) -> Iterator[str]:
    """Yield how the second end differs from the first one."""
    if fresh.status != other.status:
        yield f'{name}: exit status {fresh.status}, {other.status}'
    for stream in ('out', 'err'):
        yield from compare_bytes(f'{name}: std{stream}', getattr(fresh, stream),
                                 getattr(other, stream))
    for path in sorted({*fresh.files, *other.files}):
        yield from compare_bytes(f'{name}: {path}', fresh.files.get(path),
                                 other.files.get(path))


def compare_bytes(what: str, fresh: Optional[bytes], other: Optional[bytes]) -> Iterator[str]:
    """Yield where two texts differ; addresses differ from start to start."""
    fresh, other = (data and re.sub(rb'0x[0-9a-f]{8,}', b'0x..', data) for data in (fresh, other))
    if fresh != other:
        texts = [(data if data is not None else b'missing').decode('utf-8', 'backslashreplace').splitlines()
                 for data in (fresh, other)]
        lines = difflib.unified_diff(*texts, 'fresh', 'launched', n=0, lineterm='')
        yield '\n'.join([what, *(f'    {line[:2000]}' for line in list(lines)[2:40])])


def scripts() -> List[str]:
    """Return the names of all scripts."""
    return sorted([path.name for path in CORPUS.glob('*.py')] + list(ODD))


def differences(bench: Bench, names: Iterable[str], *, is_warm: bool) -> List[str]:
    """Return how the scripts behave otherwise when they are launched."""
    stop = Stop()
    launcher = LinuxLauncher(Clock(), stop, is_warm=is_warm)
    try:
        found = []
        for name in names:
            found += compare(name, bench.plain(name), bench.launched(launcher, name))
        return found
    finally:
        launcher.close()
        stop.close()
        reap()


def reap() -> None:
    """Take note of the ends of orphans: a launcher makes its process adopt them."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def test_x(tmp_path: Path) -> None:
    """Temporary."""
    found = differences(Bench(tmp_path), scripts(), is_warm=os.environ['X_WARM'] == '1')
    assert not found, '\n'.join(found)
