"""Tests of `stagerunner.launch.windows` with process groups: threads read, one waits.

What needs Windows itself (job objects, CTRL_BREAK) is left to `tests/windows`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

from fakes import FakeClock
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import INTERRUPTED
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.watch import PINNED
from stagerunner.launch.watch import Tree
from stagerunner.launch.watch import Watched
from stagerunner.launch.watch import command_of
from stagerunner.launch.watch import environment_of
from stagerunner.launch.windows import WindowsLauncher
from stagerunner.launch.windows import exit_code_of
from support import PATIENCE_S
from support import SOURCE
from support import is_alive
from support import run_process
from support import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != 'posix', reason='starts sh; tests/windows is for Windows'),
]


class Bench:
    """A launcher and a folder to work in."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stop = Stop()
        self.launcher = WindowsLauncher(Clock(), self.stop)

    def job(self, script: str, task: str = 'work', **changed: Any) -> Job:
        """Return a job that runs a script of the shell."""
        program = self.folder / f'{task}.sh'
        program.write_text('#!/bin/sh\n' + script)
        program.chmod(0o755)
        return Job(task=task, argv=(program.name,), env=dict(os.environ), cwd=str(self.folder),
                   log_path=str(self.folder / 'logs' / f'{task}.log'), python=None
                   )._replace(**changed)

    def start(self, script: str, task: str = 'work', **changed: Any) -> None:
        """Start a script of the shell as a job."""
        assert self.launcher.start(self.job(script, task, **changed)) is None

    def finish(self, script: str, **changed: Any) -> Exit:
        """Start a script and return how it ended."""
        self.start(script, **changed)
        return self.end()

    def end(self) -> Exit:
        """Return how the one job that runs ended."""
        [ended] = self.launcher.wait(PATIENCE_S)
        return ended

    def said(self, name: str) -> str:
        """Return the content of a file that a script writes, as soon as it has some."""
        path = self.folder / name
        return wait_until(lambda: path.exists() and path.read_text().strip(), name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.launcher.stop_all(INTERRUPTED, at_once=True)
    while bench.launcher.running:
        bench.launcher.wait(PATIENCE_S)
    bench.stop.close()


def test_both_streams_go_to_the_log_and_errors_to_the_exit(bench):
    ended = bench.finish('echo out; echo err >&2; exit 3')

    assert (ended.exit_code, ended.stderr_lines, ended.stopped) == (3, ('err',), '')
    assert sorted(Path(ended.log_path).read_text().split()) == ['err', 'out']
    assert sorted(ended.tail) == ['err', 'out']
    assert bench.launcher.running == {}


def test_a_job_that_prints_nothing_has_no_log(bench):
    ended = bench.finish('exit 0')

    assert (ended.exit_code, ended.log_path, ended.printed_bytes) == (0, '', 0)
    assert not (bench.folder / 'logs').exists()


def test_stdin_is_empty(bench):
    assert bench.finish('cat; echo end').tail == ('end',)


def test_everything_that_was_printed_arrives_before_the_exit(bench):
    ended = bench.finish('head -c 3000000 /dev/zero')

    assert ended.printed_bytes == 3_000_000
    assert os.path.getsize(ended.log_path) == 3_000_000


def test_python_processors_run_the_bytes_that_were_checked(bench):
    script = bench.folder / 'work.py'
    script.write_text('print(__name__)')

    ended = bench.finish('', argv=('work.py',), python=sys.executable,
                         pinned=((str(script), '0' * 64),))

    assert ended.exit_code == 75
    assert 'changed after it was checked' in ended.stderr_lines[-1]


def test_no_variable_is_too_long_however_many_helpers_there_are(bench):
    script = bench.folder / 'work.py'
    script.write_text('import os\nprint([name for name in os.environ if "PINNED" in name])')
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    helpers = tuple((f'/nowhere/{number:060}.py', '0' * 64) for number in range(2000))
    job = bench.job('', argv=('work.py',), python=sys.executable,
                    pinned=((str(script), digest), *helpers))

    held = {name: text for name, text in environment_of(job).items() if PINNED in name}
    assert bench.launcher.start(job) is None

    assert max(map(len, held.values())) < 32_767
    assert sorted('\n'.join(held.values()).split('\n')) == sorted(
        f'{digest} {path}' for path, digest in job.pinned)
    ended = bench.end()
    assert (ended.exit_code, ended.tail) == (0, ('[]',))


@pytest.mark.parametrize('script, mode, code, said', [
    pytest.param('', 0o644, 126, 'permission denied', id='not executable'),
    pytest.param(None, 0, 127, 'no such file or directory', id='missing'),
])
def test_a_job_that_cannot_be_started_ends_at_once(bench, script, mode, code, said):
    job = bench.job('')
    program = bench.folder / job.argv[0]
    program.chmod(mode)
    if script is None:
        program.unlink()

    ended = bench.launcher.start(job)

    assert ended.exit_code == code
    assert ended.start_error.startswith(said)
    assert bench.launcher.running == {}


def test_a_wait_ends_with_its_time_out(bench):
    bench.start('exec sleep 60')

    assert bench.launcher.wait(0.01) == []
    assert list(bench.launcher.running) == ['work']


def test_one_wait_serves_several_jobs(bench):
    bench.start('echo a', 'first')
    bench.start('exec sleep 60', 'second')
    bench.start('exit 5', 'third')

    found: List[Exit] = []
    while len(found) < 2:
        found += bench.launcher.wait(PATIENCE_S)

    assert sorted((ended.task, ended.exit_code) for ended in found) == [('first', 0), ('third', 5)]
    assert list(bench.launcher.running) == ['second']


def test_each_request_to_stop_ends_one_wait_early(bench):
    bench.start('exec sleep 60')
    bench.stop.request(signal.SIGINT)

    assert bench.launcher.wait(None) == []
    assert bench.launcher.wait(0.01) == []

    bench.stop.request(signal.SIGINT)
    assert bench.launcher.wait(None) == []


def test_a_wait_for_nothing_ends_early_too(bench):
    bench.stop.request(signal.SIGINT)

    assert bench.launcher.wait(PATIENCE_S) == []


def test_a_job_over_its_time_is_asked_to_end(bench):
    ended = bench.finish('exec sleep 60', timeout_s=0.05)

    assert (ended.stopped, ended.exit_code) == (TIMED_OUT, -signal.SIGTERM)


def test_a_job_that_listens_ends_in_its_own_way(bench):
    bench.start('trap "echo asked; exit 9" TERM; echo up >up; sleep 60 & wait')
    bench.said('up')

    bench.launcher.stop_all(INTERRUPTED)

    ended = bench.end()
    assert (ended.stopped, ended.exit_code, ended.tail) == (INTERRUPTED, 9, ('asked',))


def test_a_job_that_does_not_listen_is_killed_with_its_children(bench):
    bench.start('trap "" TERM; sleep 60 & echo $! >child; wait; sleep 60', grace_s=0.05)
    child = int(bench.said('child'))

    bench.launcher.stop_all(INTERRUPTED)

    ended = bench.end()
    assert (ended.stopped, ended.exit_code) == (INTERRUPTED, -signal.SIGKILL)
    wait_until(lambda: not is_alive(child))


def test_all_jobs_are_killed_at_once_when_told_so(bench):
    bench.start('trap "" TERM; echo up; sleep 60')

    bench.launcher.stop_all(INTERRUPTED, at_once=True)

    ended = bench.end()
    assert (ended.stopped, ended.exit_code) == (INTERRUPTED, -signal.SIGKILL)


def test_what_is_left_of_a_tree_is_killed_before_its_end_is_told(bench):
    ended = bench.finish('sleep 60 & echo $! >child; exit 0')

    assert ended.exit_code == 0
    child = int(bench.said('child'))
    wait_until(lambda: not is_alive(child))


def test_who_left_the_tree_and_holds_a_pipe_does_not_keep_the_runner(bench):
    bench.launcher.settle_s = 0.05
    ended = bench.finish(f'"{sys.executable}" -c "import os, time; os.setsid(); '
                         f'open(\'pid\', \'w\').write(str(os.getpid())); time.sleep(600)" & '
                         f'until [ -s pid ]; do sleep 0.01; done; echo out; exit 0')
    try:
        assert (ended.exit_code, ended.tail) == (0, ('out',))
    finally:
        os.kill(int(bench.said('pid')), signal.SIGKILL)


def test_what_arrives_after_the_end_was_told_is_dropped(bench):
    bench.launcher.settle_s = 0.05
    ended = bench.finish(f'"{sys.executable}" -c "import os, time; os.setsid()\n'
                         f'open(\'pid\', \'w\').write(str(os.getpid()))\n'
                         f'while not os.path.exists(\'go\'): time.sleep(0.01)\n'
                         f'print(\'late\', flush=True)" & '
                         f'until [ -s pid ]; do sleep 0.01; done; echo out; exit 0')
    (bench.folder / 'go').write_text('')
    wait_until(lambda: not is_alive(int(bench.said('pid'))))

    bench.start('echo next', 'next')

    assert bench.end().tail == ('next',)
    assert Path(ended.log_path).read_text() == 'out\n'


def test_a_job_that_closed_its_streams_is_waited_for(bench):
    bench.start('exec >&- 2>&-; until [ -e go ]; do sleep 0.01; done; exit 4')
    assert bench.launcher.wait(0.1) == []

    (bench.folder / 'go').write_text('')

    assert bench.end().exit_code == 4


@pytest.mark.slow
def test_a_flood_is_kept_on_disk_and_not_in_memory(bench):
    ended = bench.finish('head -c 40000000 /dev/zero')

    assert ended.printed_bytes == 40_000_000
    assert os.path.getsize(ended.log_path) < 10.1 * 1024 * 1024


def test_nothing_slow_is_loaded_before_the_first_job(tmp_path):
    slow = ('subprocess', 'threading', 'queue', 'ctypes')
    code = (f'import sys; sys.path.insert(0, {str(SOURCE)!r}); before = set(sys.modules)\n'
            f'from stagerunner.clock import Clock, Stop\n'
            f'from stagerunner.launch.windows import WindowsLauncher\n'
            f'WindowsLauncher(Clock(), Stop())\n'
            f'import json; print(json.dumps(sorted(set(sys.modules) - before)))')

    loaded = json.loads(run_process(sys.executable, '-I', '-c', code, cwd=tmp_path,
                                    is_measured=False).out)

    assert 'stagerunner.launch.windows' in loaded
    assert [name for name in slow if name in loaded] == []


@pytest.mark.parametrize('code, told', [
    pytest.param(0, 0, id='success'),
    pytest.param(1, 1, id='failure'),
    pytest.param(-9, -9, id='a signal already'),
    pytest.param(0xC0000005, -signal.SIGSEGV, id='access violation'),
    pytest.param(0xC000001D, -signal.SIGILL, id='illegal instruction'),
    pytest.param(0xC0000409, -signal.SIGABRT, id='abort'),
    pytest.param(0xC000013A, -signal.SIGINT, id='control event'),
    pytest.param(0xC0000142, 0xC0000142, id='another status'),
])
def test_statuses_that_are_signals_elsewhere_are_told_as_such(code, told):
    assert exit_code_of(code) == told


# -- deadlines, with a tree that only remembers ------------------------------------------

class FakeTree(Tree):
    """Remembers what was done to it; `can_be_asked` is what Windows lacks without a console."""

    def __init__(self, *, can_be_asked: bool = True):
        self.can_be_asked = can_be_asked
        self.done: List[str] = []

    def ask(self) -> bool:
        self.done.append('ask')
        return self.can_be_asked

    def kill(self) -> None:
        self.done.append('kill')


class RunningProcess:
    """A process that has not ended."""

    returncode = None


def watched(tree: Tree, clock: FakeClock, **changed: Any) -> Watched:
    job = Job('work', ('x',), {}, '/', '/nowhere', None)._replace(**changed)
    return Watched(job, RunningProcess(), tree, clock.monotonic())


def test_after_its_time_a_job_is_asked_and_after_its_grace_killed(clock):
    tree = FakeTree()
    job = watched(tree, clock, timeout_s=10, grace_s=3)
    seen = []

    for seconds in (9, 1, 2, 1, 60):
        clock.advance(seconds)
        job.enforce(clock.monotonic())
        seen.append(list(tree.done))

    assert seen == [[], ['ask'], ['ask'], ['ask', 'kill'], ['ask', 'kill']]
    assert job.stopped == TIMED_OUT


def test_a_tree_that_cannot_be_asked_is_killed_without_waiting(clock):
    tree = FakeTree(can_be_asked=False)
    job = watched(tree, clock)

    job.ask(INTERRUPTED, clock.monotonic())
    job.ask(INTERRUPTED, clock.monotonic())

    assert tree.done == ['ask', 'kill']
    assert job.stopped == INTERRUPTED


def test_a_second_request_kills(clock):
    tree = FakeTree()
    job = watched(tree, clock)

    job.ask(INTERRUPTED, clock.monotonic())
    job.ask(INTERRUPTED, clock.monotonic(), at_once=True)

    assert tree.done == ['ask', 'kill']


def test_the_first_reason_to_stop_is_the_one_that_is_told(clock):
    job = watched(FakeTree(), clock, timeout_s=1)
    clock.advance(1)
    job.enforce(clock.monotonic())

    job.ask(INTERRUPTED, clock.monotonic())

    assert job.stopped == TIMED_OUT


def test_programs_are_started_by_their_whole_path(tmp_path):
    job = Job('work', ('bin/run', 'a b'), {}, str(tmp_path), '', None)

    assert command_of(job) == [str(tmp_path / 'bin' / 'run'), 'a b']
