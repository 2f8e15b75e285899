"""Tests of `stagerunner.launch` with real processes, and of `boot` beside plain Python."""

from __future__ import annotations

import glob
import hashlib
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Tuple

import pytest

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.errors import DefinitionError
from stagerunner.errors import UsageError
from stagerunner.launch.job import INTERRUPTED
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.posix import PosixLauncher
from stagerunner.launch.posix import ProcessGroup
from stagerunner.launch.system import interpreter_version
from stagerunner.launch.system import make_launcher
from stagerunner.launch.watch import BOOT
from support import PATIENCE_S
from support import SOURCE
from support import clean_environment
from support import is_alive
from support import wait_until

pytestmark = [pytest.mark.integration,
              pytest.mark.skipif(os.name != 'posix', reason='tests/windows has its own')]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Yard:
    """A launcher, and a folder in which it starts things."""

    def __init__(self, root: Path):
        self.root = root
        self.stop = Stop()
        self.launcher = PosixLauncher(Clock(), self.stop)

    def close(self) -> None:
        self.launcher.selector.close()
        self.stop.close()

    def job(self, text: str, name: str = 'bin/job.sh', task: str = 'job', **fields: Any) -> Job:
        """Write a script and return the job that runs it: a program, or Python by its name."""
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        is_python = name.endswith('.py')
        given: Dict[str, Any] = {
            'task': task, 'argv': (name,), 'env': clean_environment(PYTHONPATH=str(SOURCE)),
            'cwd': str(self.root), 'log_path': str(self.root / f'logs/{task}.log'),
            'python': sys.executable if is_python else None,
            'pinned': ((str(path), sha(path)),)}
        return Job(**dict(given, **fields))

    def start(self, text: str, **fields: Any) -> None:
        assert self.launcher.start(self.job(text, **fields)) is None

    def ends(self, count: int = 1) -> List[Exit]:
        """Return how so many jobs ended."""
        found: List[Exit] = []
        until = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < until:
            found += self.launcher.wait(1.0)
        return found

    def run(self, text: str, **fields: Any) -> Exit:
        """Start a script and return how it ended."""
        self.start(text, **fields)
        ended, = self.ends()
        return ended

    def log(self, task: str = 'job') -> bytes:
        return (self.root / f'logs/{task}.log').read_bytes()

    def await_file(self, name: str) -> str:
        """Return what a script wrote into a file as soon as it did."""
        path = self.root / name
        wait_until(lambda: path.exists() and path.read_text(), f'{name}')
        return path.read_text()


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.close()


SH = '#!/bin/sh\n'


# -- the end ----------------------------------------

@pytest.mark.parametrize('text, code', [
    ('exit 0', 0), ('exit 75', 75), ('exit 65', 65), ('exit 255', 255), ('kill -9 $$', -9),
    ('kill -SEGV $$', -11)])
def test_a_job_ends_with_its_code_or_the_signal_that_killed_it(yard, text, code):
    ended = yard.run(SH + text)

    assert (ended.task, ended.exit_code, ended.stopped, ended.start_error) == ('job', code, '', '')
    assert 0 < ended.duration_s < PATIENCE_S


def test_both_streams_are_one_log_and_stderr_is_kept_apart(yard):
    ended = yard.run(SH + 'echo a; echo b >&2; echo c')

    assert sorted(yard.log().split()) == [b'a', b'b', b'c']
    assert ended.log_path.endswith('logs/job.log') and ended.printed_bytes == 6
    assert ended.stderr_lines == ('b',) and sorted(ended.tail) == ['a', 'b', 'c']


def test_silence_makes_no_log(yard):
    assert yard.run(SH).log_path == ''
    assert not (yard.root / 'logs').exists()


def test_what_is_no_text_is_kept_byte_for_byte_and_shown_escaped(yard):
    ended = yard.run(SH + r"printf '\377\000\033[2J' >&2; printf 'no newline' >&2")

    assert yard.log() == b'\xff\0\x1b[2Jno newline'
    assert ended.stderr_lines == ('\\xff\0\x1b[2Jno newline',)


def test_more_than_a_pipe_holds_arrives_whole(yard):
    ended = yard.run(SH + 'head -c 3000000 /dev/zero; echo end >&2')

    assert ended.printed_bytes == 3000004 == len(yard.log())
    assert ended.stderr_lines == ('end',)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the size of a pipe is fixed')
def test_what_was_printed_before_the_end_arrives_whole_although_one_read_cannot_take_it(yard):
    yard.start('import fcntl, os\n'
               'fcntl.fcntl(1, 1031, 1 << 20)\n'
               'os.write(1, b"x" * (1 << 20))\n', name='bin/floods.py')
    pid = yard.launcher.running['job'].process.pid
    wait_until(lambda: not is_alive(pid), 'the end of the job')

    assert yard.ends()[0].printed_bytes == 1 << 20


def test_only_the_last_lines_are_kept_at_hand(yard):
    ended = yard.run(SH + 'for i in $(seq 1000); do echo $i; done')

    assert ended.tail == tuple(str(number) for number in range(981, 1001))


def test_a_job_that_closes_its_streams_is_waited_for(yard):
    ended = yard.run(SH + 'exec >&- 2>&-; sleep 0.05; exit 7')

    assert ended.exit_code == 7


def test_one_wait_serves_several_jobs(yard):
    for number in range(3):
        yard.start(f'{SH}exit {number}', task=f'job{number}', name=f'bin/{number}.sh')

    assert sorted((ended.task, ended.exit_code) for ended in yard.ends(3)) == [
        ('job0', 0), ('job1', 1), ('job2', 2)]


# -- what it is given ----------------------------------------

LOOKS = '''\
import os, sys
print(sys.argv, repr(sys.stdin.read()), os.getcwd())
print(os.getsid(0) == os.getpid() == os.getpgrp())
print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')
             if os.path.exists('/proc/self/fd/' + fd)))
print([name for name in os.environ if name.startswith('STAGERUNNER')], os.environ['MINE'])
'''


def test_a_job_has_its_arguments_no_stdin_a_session_of_its_own_and_only_the_lock(yard):
    lock = os.open(str(yard.root / 'lock'), os.O_CREAT | os.O_RDWR)
    yard.run(LOOKS, name='bin/looks.py', argv=('bin/looks.py', 'a b', 'c'), inherited=(lock,),
             env=dict(clean_environment(is_measured=False), MINE='x'))
    os.close(lock)

    assert yard.log().decode().splitlines() == [
        f"['bin/looks.py', 'a b', 'c'] '' {yard.root}", 'True', str([0, 1, 2, lock]), '[] x']


def test_a_program_is_found_in_the_workspace_not_on_the_path(yard):
    assert yard.run(SH + 'exit 9', name='true').exit_code == 9


# -- what cannot be started ----------------------------------------

@pytest.mark.parametrize('text, fields, code, said', [
    pytest.param(SH, {'argv': ('bin/none',)}, 127, 'no such file or directory', id='missing'),
    pytest.param('#!/no/such/shell\n', {}, 127, 'no such file or directory',
                 id='missing interpreter'),
    pytest.param('exit 0\n', {}, 127, 'exec format error', id='no interpreter'),
    pytest.param(SH, {'argv': ('bin',)}, 126, 'permission denied', id='a folder'),
    pytest.param(SH, {'argv': ('bin/job.sh', 'x' * 3_000_000)}, 127, 'argument list too long',
                 id='too long'),
    pytest.param(SH, {'argv': ('bin/job.sh', 'a\0b')}, 127, 'embedded null byte', id='NUL'),
    pytest.param('', {'python': '/no/such/python'}, 127, 'no such file or directory',
                 id='no Python'),
])
def test_what_cannot_be_started_says_so_at_once(yard, text, fields, code, said):
    ended = yard.launcher.start(yard.job(text, **fields))

    assert ended.exit_code == code and said in ended.start_error
    assert yard.launcher.running == {}


def test_a_program_without_the_right_to_execute_says_what_to_do(yard):
    job = yard.job(SH)
    (yard.root / 'bin/job.sh').chmod(0o644)

    ended = yard.launcher.start(job)

    assert (ended.exit_code, ended.start_error) == (
        126, 'permission denied; make it executable (chmod +x)')


# -- being stopped ----------------------------------------

POLITE = SH + 'trap "echo asked; exit 0" TERM\necho up > up\nwhile :; do sleep 0.01; done'
DEAF = SH + 'trap "" TERM\necho $$ > up\nwhile :; do sleep 0.01; done'


@pytest.mark.parametrize('text, code, stopped', [
    pytest.param(POLITE, 0, TIMED_OUT, id='asked'),
    pytest.param(DEAF, -9, TIMED_OUT, id='killed when it does not listen'),
    pytest.param(SH + 'sleep 0.05; exit 3', 3, '', id='in time')])
def test_a_job_has_so_much_time(yard, text, code, stopped):
    limit = {} if not stopped else {'timeout_s': 0.1, 'grace_s': 0.1}

    ended = yard.run(text, **(limit or {'timeout_s': PATIENCE_S}))

    assert (ended.exit_code, ended.stopped) == (code, stopped)


@pytest.mark.parametrize('text, at_once, code', [
    (POLITE, False, 0), (POLITE, True, -9), (DEAF, False, -9), (DEAF, True, -9)],
    ids=['polite asked', 'polite killed', 'deaf asked', 'deaf killed'])
def test_jobs_are_asked_to_end_and_killed_after_their_grace_or_at_once(yard, text, at_once, code):
    yard.start(text, grace_s=PATIENCE_S if at_once else 0.1)
    yard.await_file('up')

    yard.launcher.stop_all(INTERRUPTED, at_once=at_once)
    ended, = yard.ends()

    assert (ended.exit_code, ended.stopped) == (code, INTERRUPTED)


def test_some_jobs_can_be_asked_to_end_while_others_go_on(yard):
    for name in ('one', 'other'):
        yard.start(POLITE.replace('up > up', f'up > {name}'), name=f'bin/{name}.sh', task=name)
        yard.await_file(name)

    yard.launcher.stop_all(INTERRUPTED, only=['one'])

    assert [ended.task for ended in yard.ends()] == ['one']
    assert list(yard.launcher.running) == ['other']
    yard.launcher.stop_all(INTERRUPTED, at_once=True)
    assert [ended.task for ended in yard.ends()] == ['other']


def test_a_second_request_kills_what_was_only_asked(yard):
    yard.start(DEAF, grace_s=PATIENCE_S)
    yard.await_file('up')

    yard.launcher.stop_all(INTERRUPTED)
    yard.launcher.stop_all(INTERRUPTED, at_once=True)
    yard.launcher.stop_all(INTERRUPTED)

    assert yard.ends()[0].exit_code == -9


def test_the_first_reason_to_stop_is_the_one_that_is_told(yard):
    yard.start(DEAF, timeout_s=0.01, grace_s=PATIENCE_S)
    yard.await_file('up')
    while not next(iter(yard.launcher.running.values())).stopped:
        assert yard.launcher.wait(0.01) == []

    yard.launcher.stop_all(INTERRUPTED, at_once=True)

    assert yard.ends()[0].stopped == TIMED_OUT


def test_a_request_to_stop_wakes_whoever_waits(yard):
    yard.start(POLITE)
    yard.await_file('up')
    yard.stop.request(signal.SIGTERM)
    began = time.monotonic()

    assert yard.launcher.wait(PATIENCE_S) == []
    assert time.monotonic() - began < PATIENCE_S / 2

    yard.launcher.stop_all(INTERRUPTED)
    yard.ends()


# -- what is left behind ----------------------------------------

def test_what_a_job_leaves_running_is_killed_before_anybody_looks(yard):
    """A child that goes on writing would change an output after it was hashed."""
    yard.run(SH + '(trap "" TERM HUP; while :; do echo x >> out; sleep 0.001; done) &\n'
                  'echo $! > child\nuntil [ -s out ]; do :; done')

    child = int((yard.root / 'child').read_text())
    wait_until(lambda: not is_alive(child), 'the end of the child')
    size = (yard.root / 'out').stat().st_size
    time.sleep(0.02)
    assert (yard.root / 'out').stat().st_size == size


def test_the_whole_group_is_stopped(yard):
    yard.start(SH + '(trap "" TERM; while :; do sleep 0.01; done) &\necho $! > child\nwait',
               timeout_s=0.2, grace_s=0.1)
    child = int(yard.await_file('child'))

    assert yard.ends()[0].stopped == TIMED_OUT
    wait_until(lambda: not is_alive(child), 'the end of the child')


def test_a_child_that_escaped_with_the_pipes_does_not_hold_up_the_end(yard):
    text = ('import os, time\n'
            'if os.fork() == 0:\n'
            '    os.setsid()\n'
            '    open("child", "w").write(str(os.getpid()))\n'
            '    while not os.path.exists("release"):\n'
            '        time.sleep(0.005)\n'
            '    os._exit(0)\n'
            'while not os.path.exists("child"):\n'
            '    time.sleep(0.001)\n'
            'print("done", flush=True)\n'
            'os._exit(0)\n')

    ended = yard.run(text, name='bin/escapes.py')

    assert ended.exit_code == 0 and yard.log() == b'done\n'
    assert is_alive(int(yard.await_file('child')))
    (yard.root / 'release').write_text('')
    wait_until(lambda: not is_alive(int((yard.root / 'child').read_text())))


# -- what systems lack ----------------------------------------

@pytest.mark.parametrize('missing', [('pidfd_open',), ('waitid',), ('pidfd_open', 'waitid')],
                         ids='-'.join)
def test_ends_are_seen_without_what_a_system_may_lack(yard, monkeypatch, missing):
    """No pidfd before Linux 5.3, no waitid on macOS."""
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)

    ended = yard.run(SH + 'echo a; exec >&- 2>&-; sleep 0.03; exit 3')

    assert (ended.exit_code, yard.log()) == (3, b'a\n')
    assert yard.run(DEAF, timeout_s=0.05, grace_s=0.05).exit_code == -9


def test_without_a_pidfd_nobody_sleeps_through_an_end(yard, monkeypatch):
    monkeypatch.delattr(os, 'pidfd_open', raising=False)
    yard.start(SH + 'exec >&- 2>&-; echo up > up; sleep 0.05')
    yard.await_file('up')
    began = time.monotonic()

    while not yard.launcher.wait(PATIENCE_S):
        pass

    assert time.monotonic() - began < PATIENCE_S / 2


def test_a_kernel_that_refuses_a_pidfd_is_one_without(yard, monkeypatch):
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr(os, 'pidfd_open', refuse, raising=False)

    assert yard.run(SH + 'exit 3').exit_code == 3


def test_a_wake_up_without_news_is_nothing(yard):
    yard.start(POLITE)
    running = yard.launcher.running['job']

    watched = [*running.pipes, *running.events()]
    assert all(running.read(descriptor) for descriptor in watched)

    yard.launcher.stop_all(INTERRUPTED, at_once=True)
    yard.ends()


def test_a_group_that_is_gone_already_is_no_error():
    """On macOS a group of which only the unreaped leader is left refuses signals, too."""
    with subprocess.Popen(['true'], start_new_session=True) as process:
        process.wait()

    ProcessGroup(process).kill()


@pytest.mark.parametrize('platform, name, launcher', [
    pytest.param('linux', 'posix', 'LinuxLauncher', id='Linux'),
    pytest.param('darwin', 'posix', 'PosixLauncher', id='macOS'),
    pytest.param('win32', 'nt', 'WindowsLauncher', id='Windows'),
])
def test_each_system_has_its_launcher(monkeypatch, platform, name, launcher):
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'platform', platform)
        patch.setattr(os, 'name', name)
        made = make_launcher(Clock(), Stop())
    assert type(made).__name__ == launcher


def test_without_proc_processors_are_children_of_the_runner(monkeypatch):
    """Bug: in a bare chroot every stage failed with `cannot be started: no such file`."""
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.setattr(os.path, 'exists', lambda path: not path.startswith('/proc'))

    launcher = make_launcher(Clock(), Stop())

    assert type(launcher).__name__ == 'PosixLauncher'
    assert launcher.fence(None, {}).why == 'there is no /proc here'
    with pytest.raises(UsageError, match='with /proc'):
        make_launcher(Clock(), Stop(), 'warm')


# -- which Python ----------------------------------------

OWN_VERSION = '%d.%d' % sys.version_info[:2]


def test_processors_run_under_the_runners_own_python_unless_told_otherwise(tmp_path):
    assert interpreter_version(None, str(tmp_path), 'p.json') == (sys.executable, OWN_VERSION)


@pytest.mark.parametrize('python', [
    pytest.param(sys.executable, id='absolute'), pytest.param('tools/python', id='relative'),
    pytest.param('named-python', id='on the path')])
def test_another_python_is_asked_for_its_version(tmp_path, monkeypatch, python):
    (tmp_path / 'tools').mkdir()
    for name in ('tools/python', 'named-python'):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')

    path, version = interpreter_version(python, str(tmp_path), 'p.json')

    assert version == OWN_VERSION
    assert path == (str(tmp_path / python) if python == 'tools/python' else python)


@pytest.mark.parametrize('text', [
    None, 'exit 1', 'echo 2.7', 'echo Python 3.9', '', r"printf '\377'", 'kill -9 $$'],
    ids=['missing', 'fails', 'too old', 'chatty', 'silent', 'binary', 'killed'])
def test_what_is_no_python_3_is_refused(tmp_path, text):
    """A program that prints anything at all, or nothing, once passed for an interpreter."""
    if text is not None:
        (tmp_path / 'py').write_text(SH + text)
        (tmp_path / 'py').chmod(0o755)

    with pytest.raises(DefinitionError) as refused:
        interpreter_version('./py', str(tmp_path), 'p.json')

    assert str(refused.value) == ("p.json: python: './py' cannot be used as an interpreter; "
                                  'name a Python 3 or leave the key out')


# -- boot beside plain Python ----------------------------------------

#: What may tell `python boot.py script` from `python script`; one claim per script.
SCRIPTS: Dict[str, Any] = {
    'arguments': 'import sys\nprint(sys.argv, __name__, __file__, sys.path[0], sys.flags)\n',
    'globals': 'print(sorted(globals()), __package__, __spec__, __doc__, __builtins__)\n'
               'print(__loader__.name, __loader__.path)\n'
               'import sys\nprint(sys.modules["__main__"].__dict__ is globals())\n',
    'docstring': '"""Doc."""\nprint(__doc__, __annotations__)\n',
    'future': 'from __future__ import annotations\nx: 1/0 = 2\nprint(__annotations__["x"])\n',
    'code': 'import sys\nframe = sys._getframe()\n'
            'print(frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno)\n',
    'exit number': 'import sys\nsys.exit(3)\n',
    'exit none': 'raise SystemExit\n',
    'exit text': 'raise SystemExit("bye")\n',
    'exit tuple': 'import sys\nsys.exit((1, 2))\n',
    'exit within': 'import sys\ndef f():\n    sys.exit("x")\nf()\n',
    'syntax error': 'x = 1\ndef f(:\n    pass\n',
    'indentation': 'if 1:\nx = 1\n',
    'tabs': 'if 1:\n        x = 1\n\ty = 2\n',
    'exception': 'def f():\n    raise ValueError("\u00e9")\nf()\n',
    'cause': 'try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise KeyError("x") from e\n',
    'context': 'try:\n    1/0\nexcept ZeroDivisionError:\n    {}["x"]\n',
    'hook': 'import sys, traceback\ndef hook(kind, error, trace):\n'
            '    print(kind, error, [frame.name for frame in traceback.extract_tb(trace)])\n'
            'sys.excepthook = hook\n1/0\n',
    'hook and exit': 'import sys\nsys.excepthook = lambda *a: print("hook")\nsys.exit("t")\n',
    'print_exc': 'import traceback\ntry:\n    1/0\nexcept ZeroDivisionError:\n'
                 '    traceback.print_exc()\n',
    'interrupt': 'raise KeyboardInterrupt\n',
    'atexit': 'import atexit\natexit.register(print, "bye")\nprint("hi")\n',
    'thread': 'import threading\ndef work():\n    1/0\n'
              'thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n',
    'finalised': 'class A:\n    def __del__(self):\n        print("gone", print is not None)\n'
                 'a = A()\n',
    'pickle': 'import pickle\nclass A:\n    pass\nprint(type(pickle.loads(pickle.dumps(A()))))\n',
    'recursion': 'def f():\n    f()\ntry:\n    f()\nexcept RecursionError:\n    print("deep")\n',
    'warning': 'import warnings\nwarnings.warn("careful")\n',
    'stdin': 'import sys\nprint(repr(sys.stdin.read()))\n',
    'no newline': 'print(1)',
    'empty': '',
    'bom': b'\xef\xbb\xbfprint("bom")\n',
    'crlf': b'x = """a\r\nb"""\r\nprint(repr(x))\r\n',
    'latin': b'# -*- coding: latin-1 -*-\nprint(ascii("\xe9"))\n',
    'no encoding declared': b'print("\xe9")\n',
    'unknown encoding': b'# -*- coding: nope -*-\nprint(1)\n',
    'NUL': b'print(1)\0\nprint(2)\n',
    'hook raises': 'import sys\ndef hook(*args):\n    raise RuntimeError("in hook")\n'
                   'sys.excepthook = hook\n1/0\n',
    'hook is nothing': 'import sys\nsys.excepthook = None\n1/0\n',
    'hook is missing': 'import sys\ndel sys.excepthook\n1/0\n',
    'helper': 'import helper\nprint(helper.x, helper.__file__, helper.__cached__)\n',
    'package': 'import package.module as module\nprint(module.v, module.__package__)\n',
    'helper raises': 'import raises\n',
    'helper with a syntax error': 'import wrong\n',
    'missing helper': 'import not_there\n',
    'os._exit': 'import os\nprint(1, flush=True)\nos._exit(9)\n',
    'flags': 'import os\nprint([name for name in os.environ if "STAGE" in name])\n',
}

#: Those in which Pythons differ from one another.
TELLING = ['arguments', 'globals', 'docstring', 'code', 'exit text', 'syntax error', 'exception',
           'cause', 'hook', 'NUL', 'no encoding declared', 'interrupt', 'thread', 'finalised',
           'helper', 'helper with a syntax error']

HELPERS = {'helper.py': 'x = 1\n', 'raises.py': 'def f():\n    1/0\nf()\n',
           'wrong.py': 'def f(:\n', 'package/__init__.py': '', 'package/module.py': 'v = 2\n'}


def pythons() -> List[str]:
    """Return the other interpreters of this machine, one for each version, oldest first."""
    folders = os.environ.get('PATH', '').split(os.pathsep)
    folders = [folder for folder in folders if 'shims' not in folder]
    folders += glob.glob(os.path.expanduser('~/.pyenv/versions/*/bin'))
    found = (shutil.which(f'python3.{minor}', path=os.pathsep.join(folders))
             for minor in range(7, 20) if minor != sys.version_info[1])
    return [python for python in found if python]


@pytest.fixture(scope='module')
def scripts(tmp_path_factory: Any) -> Path:
    """Return a folder with all scripts and their helpers in `bin/`."""
    root = tmp_path_factory.mktemp('scripts')
    (root / 'bin/package').mkdir(parents=True)
    for name, text in HELPERS.items():
        (root / 'bin' / name).write_text(text)
    for name, content in SCRIPTS.items():
        data = content if isinstance(content, bytes) else content.encode('utf-8')
        (root / f'bin/{name.replace(" ", "_")}.script.py').write_bytes(data)
    return root


def run_both(python: str, root: Path, name: str) -> Tuple[Any, Any]:
    """Return (code, stdout, stderr) of a script under Python and under boot."""
    script = f'bin/{name.replace(" ", "_")}.script.py'
    pinned = '\n'.join(f'{sha(root / path)} {root / path}' for path in (
        script, *(f'bin/{helper}' for helper in HELPERS)))
    env = clean_environment(is_measured=False, PYTHONDONTWRITEBYTECODE='1')
    found = []
    for command, more in (([script], {}), ([BOOT, script], {'STAGERUNNER_PINNED': pinned})):
        done = subprocess.run([python, *command, 'a b', 'c'], cwd=str(root), timeout=PATIENCE_S,
                              env=dict(env, **more), stdin=subprocess.DEVNULL,
                              capture_output=True)
        found.append((done.returncode, done.stdout.decode(), done.stderr.decode()))
    return found[0], found[1]


@pytest.mark.parametrize('name', SCRIPTS)
def test_under_boot_a_script_behaves_as_under_python(scripts, name):
    plain, booted = run_both(sys.executable, scripts, name)

    assert booted == plain


@pytest.mark.slow
@pytest.mark.parametrize('python', [
    pytest.param(python, marks=[pytest.mark.campaign] if 0 < number < len(pythons()) - 1 else [])
    for number, python in enumerate(pythons())])
def test_under_boot_scripts_behave_as_under_other_pythons(scripts, python):
    """The `python` key of a pipeline may name any of them."""
    different = {name: found for name in TELLING for found in [run_both(python, scripts, name)]
                 if found[0] != found[1]}

    assert different == {}


# -- exactly the bytes that were checked ----------------------------------------

def booted(yard: Yard, helper: str = 'x = "checked"\n',
           text: str = 'import helper\nprint(helper.x)\n', **fields: Any) -> Job:
    """Return a job of a script with a helper, both pinned."""
    job = yard.job(text, name='bin/main.py', **fields)
    path = yard.root / 'bin/helper.py'
    path.write_text(helper)
    return job._replace(pinned=(*job.pinned, (str(path), sha(path))))


def finish(yard: Yard, job: Job) -> Tuple[Exit, bytes]:
    assert yard.launcher.start(job) is None
    ended, = yard.ends()
    return ended, yard.log() if ended.log_path else b''


def test_the_checked_bytes_run(yard):
    ended, log = finish(yard, booted(yard))

    assert (ended.exit_code, log) == (0, b'checked\n')


@pytest.mark.parametrize('name', ['main.py', 'helper.py'])
def test_a_file_that_was_swapped_after_the_check_does_not_run(yard, name):
    job = booted(yard)
    (yard.root / 'bin' / name).write_text('print("OTHER")\nx = "OTHER"\n')

    ended, log = finish(yard, job)

    assert ended.exit_code == 75 and b'OTHER' not in log
    assert ended.stderr_lines[0].endswith(
        f'bin/{name} changed after it was checked; the next attempt checks it again')


def test_a_helper_that_was_swapped_while_the_script_ran_does_not_run(yard):
    ended, log = finish(yard, booted(yard, text=(
        'open("bin/helper.py", "w").write("print(\'OTHER\')")\nimport helper\n')))

    assert ended.exit_code == 75 and b'OTHER' not in log


def test_a_stale_compiled_helper_is_not_used(yard):
    """Python trusts a `.pyc` by size and time of change of its source, which an edit may keep."""
    path = yard.root / 'bin/helper.py'
    booted(yard, 'x = "old"\n')
    py_compile.compile(str(path), doraise=True)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    job = booted(yard, 'x = "new"\n')
    os.utime(str(path), ns=times)

    plain = subprocess.run([sys.executable, 'bin/main.py'], cwd=str(yard.root),
                           stdout=subprocess.PIPE).stdout

    assert plain == b'old\n', 'plain Python is expected to be fooled'
    assert finish(yard, job)[1] == b'new\n'


def test_more_helpers_than_a_variable_holds_are_pinned_all_the_same(yard):
    """The list once stood in one variable, for which there is a limit."""
    job = booted(yard, text='import last\n')
    (yard.root / 'bin/last.py').write_text('print("OTHER")\n')
    more = tuple((f'{yard.root}/bin/{"x" * 200}{number}.py', '0' * 64) for number in range(600))
    last = (str(yard.root / 'bin/last.py'), '0' * 64)

    ended, log = finish(yard, job._replace(pinned=(*job.pinned, *more, last)))

    assert ended.exit_code == 75 and b'OTHER' not in log


def test_a_list_of_pinned_files_that_was_inherited_counts_for_nothing(yard):
    job = booted(yard)
    foreign = {'STAGERUNNER_PINNED': 'x /etc/passwd', 'STAGERUNNER_PINNED1': 'y /etc/group'}

    assert finish(yard, job._replace(env=dict(job.env, **foreign)))[1] == b'checked\n'


def test_no_compiled_helper_is_left_in_the_workspace(yard):
    env = clean_environment(is_measured=False)
    env.pop('PYTHONDONTWRITEBYTECODE', None)

    finish(yard, booted(yard, env=env))

    assert sorted(os.listdir(str(yard.root / 'bin'))) == ['helper.py', 'main.py']


def test_a_helper_found_through_a_link_runs_the_checked_bytes_too(yard):
    """The search path may be written with links, the checked files never are."""
    job = booted(yard)
    (yard.root / 'lib').mkdir()
    (yard.root / 'bin/helper.py').rename(yard.root / 'lib/helper.py')
    (yard.root / 'link').symlink_to('lib')
    pinned = (job.pinned[0], (str(yard.root / 'lib/helper.py'), job.pinned[1][1]))
    env = dict(job.env, PYTHONPATH=str(yard.root / 'link'))
    (yard.root / 'lib/helper.py').write_text('x = "OTHER"\n')

    ended, log = finish(yard, job._replace(pinned=pinned, env=env))

    assert ended.exit_code == 75 and b'OTHER' not in log


def test_a_module_of_the_same_name_elsewhere_is_loaded_as_usual(yard):
    (yard.root / 'else').mkdir()
    (yard.root / 'else/helper.py').write_text('x = "another"\n')

    ended, log = finish(yard, booted(yard, text=(
        'import sys\nsys.path.insert(0, "else")\nimport helper\nprint(helper.x)\n')))

    assert (ended.exit_code, log) == (0, b'another\n')
