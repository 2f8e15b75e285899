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
from contextlib import contextmanager
from pathlib import Path
from typing import Callable
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
from stagerunner.imports import load_program
from stagerunner.launch.capture import Output
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.linux import LinuxLauncher
from stagerunner.launch.nursery import Begun
from stagerunner.launch.nursery import begin_early
from stagerunner.searchpath import python_path
from support import PATIENCE_S
from support import clean_environment

CORPUS = Path(__file__).resolve().parent / 'corpus'

#: Sources that no file of a checkout keeps as they are, or that no checker reads.
ODD = {
    'odd_bom.py': b'\xef\xbb\xbf"""Begins with a mark."""\nprint(__doc__, "\xc3\xa4")\n',
    'odd_bom_cookie.py': b'\xef\xbb\xbf# coding: latin-1\nprint(1)\n',
    'odd_comments.py': b'# nothing\n\n# but comments',
    'odd_cookie.py': b'# coding: latin-1\nprint(ascii("\xe4"), "\xe4".encode())\n1/0 # \xe4\n',
    'odd_cookie_unknown.py': b'# coding: no-such-thing\nprint(1)\n',
    'odd_crlf.py': b'"""Has other line ends."""\r\nx = """a\r\nb"""\r\nprint(ascii(x))\r\n1/0\r\n',
    'odd_cr.py': b'print(1)\rprint(2)\r1/0\r',
    'odd_empty.py': b'',
    'odd_form_feed.py': b'print(1)\n\x0cprint(2)\n',
    'odd_indent.py': b'if True:\nprint(1)\n',
    'odd_long_line.py': b'x = [' + b'1, ' * 6000 + b']\nprint(len(x))\n',
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
    'odd_syntax_wide.py': 'grün = {"ä": "€"\nx = 1 ä ö\n'.encode(),
    'odd_tabs.py': b'if True:\n\tx = 1\n        y = 2\n',
    'odd_unterminated.py': b'x = """never\nends\n',
    'odd_warning.py': b'x = "\\d"\nprint(x is "a", 1 is 1)\nassert (1, "always")\n',
}

#: Environments beside the usual one, and scripts that could notice.  None: without the variable.
VARIANTS: Dict[str, Tuple[Dict[str, Optional[str]], str]] = {
    'no locale': ({'LANG': None}, 'see_streams see_environment see_environment_in_c see_locale'),
    'C locale': ({'LC_ALL': 'C'}, 'see_streams see_environment see_locale out_undecodable'),
    'C locale as it was': ({'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
                           'see_streams see_argv code_iso_text out_undecodable error_odd_text'),
    'stream encoding': ({'PYTHONIOENCODING': 'latin-1:replace'}, 'see_streams out_undecodable'),
    'UTF-8 mode': ({'PYTHONUTF8': '1', 'LANG': 'C'}, 'see_streams see_flags code_iso_text'),
    'unbuffered': ({'PYTHONUNBUFFERED': '1'}, 'see_streams out_order out_closed_below'),
    'optimised': ({'PYTHONOPTIMIZE': '2'}, 'see_flags see_argv error_assertion odd_warning'),
    'development': ({'PYTHONDEVMODE': '1'}, 'see_warnings see_flags exit_open_files '
                                             'exit_number exit_abort'),
    'warnings': ({'PYTHONWARNINGS': 'error'}, 'see_warnings code_compile_warning odd_warning'),
    'more warnings': ({'PYTHONWARNINGS': 'always,ignore::UserWarning'}, 'see_warnings'),
    'hash seed': ({'PYTHONHASHSEED': '5'}, 'see_hash see_flags'),
    'inspection': ({'PYTHONINSPECT': '1'}, 'exit_text exit_number error_plain see_flags '
                   'error_hook_leaves odd_syntax'),
    'safe path': ({'PYTHONSAFEPATH': '1'}, 'see_path see_flags error_import'),
    'relative path': ({'PYTHONPATH': 'bin/pack::bin'}, 'see_path code_package'),
    'own folders': ({'PYTHONPATH': '/no/such', 'PYTHONNOUSERSITE': '1'}, 'see_path see_flags'),
    'home': ({'HOME': '/no/such/home'}, 'see_path see_environment'),
    'no home': ({'HOME': None}, 'see_path see_environment'),
    'zone': ({'TZ': 'Pacific/Chatham'}, 'see_locale'),
    'fault handler': ({'PYTHONFAULTHANDLER': '1'}, 'code_faulthandler see_signals'),
    'customised': ({'PYTHONPATH': '{folder}/site'}, 'see_modules exit_text exit_finalizers'),
    'no compiled code': ({'PYTHONDONTWRITEBYTECODE': '1'}, 'see_flags code_helper_twice'),
    'allocator': ({'PYTHONMALLOC': 'malloc', 'MALLOC_ARENA_MAX': '1'}, 'exit_finalizers'),
    'debugging allocator': ({'PYTHONMALLOC': 'debug'}, 'exit_finalizers'),
    'names that are not text': ({'ODD\udcff': '\udcfe', 'LINES': 'a\nb'}, 'see_environment'),
}

#: What an interpreter does beside running a script, by which it is asked for.
START_UP_CODE = 'import atexit\nprint("customised")\natexit.register(print, "to the end")\n'

#: Scripts that behave otherwise, and why that cannot or need not be helped.
DIFFERS = {
    'differ_stack.py': 'one frame of the runner is at the bottom of the stack',
    'differ_exit_tuple.py': 'interpreters up to 3.11 have another code for `sys.exit((3,))` where '
                            'nothing caught the exception on its way',
    'differ_collector.py': 'what the keeper made is kept out of the garbage collector, so that '
                           'its pages stay shared',
    'differ_subclasses.py': 'classes of the keeper are still known to their parents',
    'differ_start_environment.py': 'a fork has the start of its keeper',
    'differ_hash_seed.py': 'hashes are random, but those of processors of one keeper are equal',
    'differ_changed_helper.py': 'a helper whose bytes were not checked is not run, by decision',
    'differ_caches.py': 'helpers are compiled from their checked bytes, by decision',
    'differ_privileges.py': 'the fence takes privileges, by decision',
}

#: Scripts that differ in one variant only, and why that cannot or need not be helped.
DIFFERS_IN = {
    ('development', 'see_modules_later.py'): 'codecs are looked up there to check their names, '
                                             'and what one was found in is not loaded again',
    ('customised', 'code_pool_spawn.py'): 'the words of its processes come in any order',
    ('customised', 'code_pool_forkserver.py'): 'the words of its processes come in any order',
    ('inspection', 'code_pool_spawn.py'): 'it ends its processes, some of them in mid-sentence',
}

#: Variants in which whole stacks are told, to the bottom, where one frame is the runner's
#: (see `differ_stack.py`).
TO_THE_BOTTOM = ('development', 'fault handler')

#: That frame, as it stands in a stack.
BOTTOM = re.compile(rb'  File "[^"\n]*/launch/(?:seed|boot)\.py", line \d+,? in <module>\n'
                    rb'(?:    exec\(_code, vars\(_script\)\)\n)?')

#: Variants that every test run tries; the campaign tries all.
VARIANTS_OF_SAMPLE = ('C locale as it was', 'unbuffered', 'development', 'warnings', 'inspection',
                      'relative path', 'customised', 'names that are not text')

#: They start interpreters of their own, which takes long.
SLOWEST = ('code_pool_spawn.py', 'code_pool_forkserver.py', 'code_process_queue.py')

#: What the names of the scripts begin with.
THEMES = ('see_', 'code_', 'out_', 'error_', 'exit_', 'odd_')

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

    def __init__(self, folder: Path, *, variant: str = '', is_fenced: bool = True,
                 python: str = sys.executable):
        self.folder = folder
        self.root = folder / 'workspace'
        self.variant = variant
        self.python = python
        self.is_fenced = is_fenced
        (folder / 'site').mkdir(parents=True, exist_ok=True)
        (folder / 'site' / 'sitecustomize.py').write_text(START_UP_CODE)
        self.env = self._environment(VARIANTS[variant][0] if variant else {})

    def _environment(self, changes: Dict[str, Optional[str]]) -> Dict[str, str]:
        """Return an environment as the runner makes it."""
        inherited = clean_environment(is_measured=False)
        env = {name: inherited[name] for name in ('PATH', 'HOME') if name in inherited}
        env.update(LANG='C.UTF-8', CORPUS='a b\nc', EMPTY='', PIPELINE_RUN_ID='r1')
        for name, value in changes.items():
            env.pop(name, None)
            if value is not None:
                env[name] = value.replace('{folder}', str(self.folder))
        self.inherited = env
        return dict(env, PYTHONPATH=python_path(env.get('PYTHONPATH')))

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
        program = load_program(str(self.root), f'bin/{script}')
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
        errors = b''.join(streams.parts[True])
        if self.variant in TO_THE_BOTTOM:
            errors = BOTTOM.sub(b'', errors)
        return Ended(ended.exit_code, b''.join(streams.parts[False]), errors, self._files())

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
        """Return what is there now, but for compiled code (see `differ_caches.py`)."""
        return {str(path.relative_to(self.root)): path.read_bytes()
                for path in self.root.rglob('*')
                if path.is_file() and path.parent.name != '__pycache__'}


@contextmanager
def launching(*, is_warm: bool, workers: int = 1,
              begun: Optional[Begun] = None) -> Iterator[LinuxLauncher]:
    """Give a launcher, and leave nothing of it behind."""
    stop = Stop()
    launcher = LinuxLauncher(Clock(), stop, is_warm=is_warm, begun=begun)
    launcher.expect(workers)
    try:
        yield launcher
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
        texts = [(data if data is not None else b'missing').decode(
            'utf-8', 'backslashreplace').splitlines() for data in (fresh, other)]
        lines = difflib.unified_diff(*texts, 'fresh', 'launched', n=0, lineterm='')
        yield '\n'.join([what, *(f'    {line[:2000]}' for line in list(lines)[2:40])])


def scripts(*themes: str) -> List[str]:
    """Return the names of all scripts that must be equal, or of those of some themes."""
    names = sorted([path.name for path in CORPUS.glob('*.py')] + list(ODD))
    return [name for name in names if name not in DIFFERS
            and (not themes or name.startswith(themes))]


def sample(theme: str) -> List[str]:
    """Return a third of the scripts of a theme, always the same ones."""
    return [name for name in scripts(theme) if name not in SLOWEST][::3]


def differences(bench: Bench, names: Iterable[str], *, is_warm: bool,
                workers: int = 1) -> List[str]:
    """Return how the scripts behave otherwise when they are launched, all by one launcher."""
    begun = begin_early(bench.inherited) if workers > 1 else None
    with launching(is_warm=is_warm, workers=workers, begun=begun) as launcher:
        return [difference for name in names if (bench.variant, name) not in DIFFERS_IN
                for difference in
                compare(name, bench.plain(name), bench.launched(launcher, name))]


def test_the_corpus_is_large() -> None:
    """There are more scripts than the 50 that the plan asks for, and their files are all used."""
    assert len(scripts()) >= 120
    assert set(DIFFERS) == {path.name for path in CORPUS.glob('differ_*.py')}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.every_python
@pytest.mark.parametrize('choose', [
    pytest.param(sample, id='sample'),
    pytest.param(scripts, id='full', marks=pytest.mark.campaign)])
@pytest.mark.parametrize('theme', THEMES)
def test_a_warm_processor_equals_a_fresh_one(tmp_path: Path, theme: str,
                                             choose: Callable[[str], List[str]]) -> None:
    """All scripts of a theme run in forks of one keeper, one after the other.

    With several workers that is itself a fork of one that has no jobs; here that was begun early.
    """
    found = differences(Bench(tmp_path), choose(theme), is_warm=True, workers=4)

    assert not found, '\n'.join(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('variant', [
    pytest.param(name, marks=[] if name in VARIANTS_OF_SAMPLE else [pytest.mark.campaign])
    for name in VARIANTS])
def test_a_warm_processor_equals_a_fresh_one_in_any_environment(tmp_path: Path,
                                                                variant: str) -> None:
    """Variables that an interpreter heeds when it starts do not come too late."""
    names = [f'{name}.py' for name in VARIANTS[variant][1].split()]

    found = differences(Bench(tmp_path, variant=variant), names, is_warm=True)

    assert not found, '\n'.join(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('theme', 'choose'), [
    pytest.param('odd_', sample, id='sample'),
    *(pytest.param(theme, scripts, id=theme, marks=pytest.mark.campaign) for theme in THEMES)])
def test_a_processor_that_is_executed_equals_one_that_is_started_by_hand(
        tmp_path: Path, theme: str, choose: Callable[[str], List[str]]) -> None:
    """The launcher `spawn`: from a keeper as well, but by a new interpreter."""
    found = differences(Bench(tmp_path), choose(theme), is_warm=False)

    assert not found, '\n'.join(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.campaign
@pytest.mark.parametrize('variant', list(VARIANTS))
@pytest.mark.parametrize('is_warm', [True, False], ids=['warm', 'spawn'])
def test_all_scripts_are_equal_in_all_environments(tmp_path: Path, variant: str,
                                                   is_warm: bool) -> None:
    """Whatever the variables are, also those that seem to have nothing to do with a script."""
    found = differences(Bench(tmp_path, variant=variant), scripts(), is_warm=is_warm)

    assert not found, '\n'.join(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.campaign
@pytest.mark.parametrize('minor', range(7, 15))
def test_a_runner_of_another_version_makes_no_difference(tmp_path: Path, minor: int) -> None:
    """The interpreter of the processors is the one that the definition names."""
    bench = Bench(tmp_path, python=find_interpreter(minor), is_fenced=False)

    found = differences(bench, scripts(), is_warm=True)

    assert not found, '\n'.join(found)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('choose', [
    pytest.param(lambda: ['see_modules.py', 'see_threads.py'], id='sample'),
    pytest.param(scripts, id='full', marks=pytest.mark.campaign)])
def test_what_an_interpreter_loads_at_its_start_is_as_fresh(tmp_path: Path,
                                                            choose: Callable[[], List[str]]
                                                            ) -> None:
    """A fork of an interpreter that has `threading` from its start on, as some have.

    Its main thread had the number of the keeper.
    """
    python = make_environment(tmp_path / 'environment', at_start='import threading')
    bench = Bench(tmp_path, python=python, is_fenced=False)

    found = differences(bench, choose(), is_warm=True)

    assert not found, '\n'.join(found)


def make_environment(folder: Path, *, at_start: str) -> str:
    """Make a virtual environment with a line of code for each start; return its interpreter."""
    packages = folder / 'lib' / f'python3.{sys.version_info[1]}' / 'site-packages'
    packages.mkdir(parents=True)
    (packages / 'start.pth').write_text(at_start + '\n')
    (folder / 'bin').mkdir()
    (folder / 'bin' / 'python').symlink_to(os.path.realpath(sys.executable))
    (folder / 'pyvenv.cfg').write_text(
        f'home = {os.path.dirname(os.path.realpath(sys.executable))}\n')
    return str(folder / 'bin' / 'python')


def find_interpreter(minor: int) -> str:
    """Return the path of an interpreter, not of a wrapper that finds one."""
    found = shutil.which(f'python3.{minor}')
    if found:
        asked = subprocess.run([found, '-c', 'import sys; print(sys.executable)'],
                               capture_output=True)
        if asked.returncode == 0:
            return asked.stdout.decode().strip()
    pytest.skip(f'no Python 3.{minor} here')


@pytest.mark.slow
@pytest.mark.integration
def test_what_is_said_to_differ_does(tmp_path: Path) -> None:
    """The list of what differs is complete and has nothing in it that was mended."""
    expected = set(DIFFERS) - ({'differ_exit_tuple.py'} if sys.version_info >= (3, 12) else set())

    found = differences(Bench(tmp_path), sorted(DIFFERS), is_warm=True)

    assert {difference.partition(':')[0] for difference in found} >= expected


@pytest.mark.slow
@pytest.mark.integration
def test_an_interpreter_that_is_to_tell_of_its_start_is_started(tmp_path: Path) -> None:
    """What a fork would not repeat is not forked: each of two processors tells."""
    bench = Bench(tmp_path)
    bench.env['PYTHONPROFILEIMPORTTIME'] = '1'

    with launching(is_warm=True) as launcher:
        told = [bench.launched(launcher, 'odd_empty.py').err for _ in range(2)]

    assert all(b'import time:' in err for err in told)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('is_warm', [True, False], ids=['warm', 'spawn'])
def test_a_script_that_is_no_python_is_refused_without_ctypes_too(tmp_path: Path,
                                                                  is_warm: bool) -> None:
    """Many interpreters are built without it; then the words may differ, but not the outcome."""
    (tmp_path / 'poor').mkdir()
    (tmp_path / 'poor' / 'ctypes.py').write_text('raise ImportError("not built")\n')
    bench = Bench(tmp_path, is_fenced=False)
    bench.env['PYTHONPATH'] = python_path(str(tmp_path / 'poor'))

    with launching(is_warm=is_warm) as launcher:
        ends = {name: bench.launched(launcher, name) for name in (
            'odd_syntax.py', 'odd_not_utf8_comment.py', 'odd_nul.py')}

    for name, ended in ends.items():
        assert ended.status == 1 or name == 'odd_not_utf8_comment.py'
        assert b'Error' in ended.err or ended.status == 0
        assert b'stagerunner' not in ended.err


@pytest.mark.slow
@pytest.mark.integration
def test_processors_of_one_keeper_share_the_seed_of_hashes(tmp_path: Path) -> None:
    """The seed is drawn when an interpreter starts: once per keeper, not once for all."""
    bench = Bench(tmp_path)
    seen = []
    for _ in range(2):
        with launching(is_warm=True) as launcher:
            seen.append([bench.launched(launcher, 'differ_hash_seed.py').out for _ in range(2)])

    assert seen[0][0] == seen[0][1] and seen[1][0] == seen[1][1]
    assert seen[0] != seen[1]
