"""No process of a stage survives its end, its time-out, Ctrl-C, or the death of who started it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Sequence
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import environment
from faults.harness import kill
from faults.harness import need_linux
from faults.harness import parent_of
from faults.harness import sizes
from support import PATIENCE_S
from support import Workspace
from support import is_alive
from support import processes_below
from support import wait_until

#: How long a stage has to end after it was asked to (seconds).
GRACE_S = 0.3

#: What runs survives a request to end for at most so long beyond its grace (seconds).
BACK_S = 1.0

#: Whatever lost its runner is gone after so long (seconds).
GONE_S = 2.0

#: What every shape begins with: a way to say that it stands, and one to last.
PREFACE = '''\
"""An awkward processor."""
import os
import signal
import subprocess
import sys
import time


def stand():
    """Say that everything is in place."""
    with open('stands.tmp', 'w') as note:
        note.write('%d' % os.getpid())
    os.replace('stands.tmp', 'stands')


def last():
    """Stay for longer than anybody waits."""
    while True:
        time.sleep(3600)


def child(does):
    """Do something in a process of its own."""
    process = os.fork()
    if process == 0:
        does()
        os._exit(0)
    return process


def detached(does):
    """Do something in a process that has nothing to do with this one."""
    def leave():
        os.setsid()
        child(does)
        os._exit(0)
    os.waitpid(child(leave), 0)


'''

#: The shapes of the survey (B5), all but the one that ends by itself.
SHAPES = {
    'ignores SIGTERM': '''\
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stand()
last()
''',
    'forks': '''\
for _ in range(3):
    child(last)
child(lambda: (child(last), child(last), last()))
stand()
last()
''',
    'double-forks into a session': '''\
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
detached(lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), last()))
stand()
last()
''',
    'holds the pipe': '''\
def hold():
    """Write for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        os.write(1, b'still here\\n')
        time.sleep(0.01)


detached(hold)
stand()
last()
''',
    'stops itself': '''\
child(lambda: os.kill(os.getpid(), signal.SIGSTOP))
stand()
os.kill(os.getpid(), signal.SIGSTOP)
''',
    're-parents': '''\
def middle():
    """Leave a child of one's own behind."""
    child(lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), last()))
    os._exit(0)


os.waitpid(child(middle), 0)
stand()
last()
''',
    'pipeline of a shell': '''\
subprocess.Popen('trap "" TERM; (trap "" TERM; sleep 3600) | cat | (setsid sleep 3600 & cat)',
                 shell=True)
stand()
last()
''',
    'spawns while it is killed': '''\
def more(number, frame):
    """Answer a signal with another process."""
    child(last)


signal.signal(signal.SIGTERM, more)
stand()
while True:
    child(lambda: (signal.signal(signal.SIGTERM, more), time.sleep(0.2)))
    time.sleep(0.002)
''',
    'closes its streams': '''\
for number in range(3):
    os.close(number)
child(last)
stand()
last()
''',
    'is never the same process': '''\
signal.signal(signal.SIGTERM, signal.SIG_IGN)


def run_away():
    """Go on as one's own child, in a group of its own."""
    while True:
        if os.fork():
            os._exit(0)
        os.setpgid(0, 0)


detached(run_away)
stand()
last()
''',
    'has lost its first thread': '''\
import ctypes
import threading


def outlive():
    """Go on when the first thread has ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    time.sleep(0.05)
    stand()
    last()


threading.Thread(target=outlive).start()
ctypes.CDLL(None).pthread_exit(None)
''',
}

#: What makes a run end, and the exit code that follows.
CAUSES = {'time-out': 1, 'SIGINT': 130, 'SIGTERM': 143}

#: Leaves a writer behind and ends well.
LEAVES_A_DAEMON = PREFACE + '''\
output = os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt')


def write():
    """Write for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(output, 'a', buffering=1) as target:
        while True:
            target.write('late\\n')
            stand()


(detached if 'DETACHED' in os.environ else child)(write)
while not os.path.exists('stands'):
    time.sleep(0.001)
'''

#: Stays, with a child and a daemon; notes each signal that it gets.
STAYS = PREFACE + '''\
name = os.environ.get('STAYS_AS', 'work')


def note(number, frame):
    """Write down which signal came; leave a little later, so that a second one is seen."""
    with open('signals-' + name, 'a') as notes:
        notes.write('%d\\n' % number)
    signal.signal(signal.SIGALRM, lambda number, frame: sys.exit(1))
    signal.setitimer(signal.ITIMER_REAL, 0.2)


def ignore_and_last():
    """Heed nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    last()


if 'WITH_FAMILY' in os.environ:
    child(ignore_and_last)
    detached(ignore_and_last)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, note)
with open('stands.tmp-' + name, 'w') as target:
    target.write('%d' % os.getpid())
os.replace('stands.tmp-' + name, 'stands-' + name)
last()
'''

JOBS = ('a', 'b', 'c', 'd')

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Token(NamedTuple):
    """What everything of one run inherits: a variable and a folder; by them survivors are found.

    A keeper shows no variables, and who left the folder has them.
    """

    name: str
    value: str
    folder: Path

    @property
    def env(self) -> Dict[str, str]:
        """The environment for a run."""
        return environment(**{self.name: self.value})

    def survivors(self) -> List[int]:
        """Return every live process with the token; who waits to be reaped does not live."""
        mark = f'{self.name}={self.value}'.encode()
        inside = set(processes_below(self.folder))
        return [pid for pid in all_processes()
                if (pid in inside or mark in variables_of(pid)) and is_running(pid)]

    def end_all(self) -> None:
        """Kill what is left, so that a bad trial does not burden the next one."""
        def is_empty() -> bool:
            found = self.survivors()
            for pid in found:
                kill(pid)
            return not found

        wait_until(is_empty, 'the end of all processes')


def new_token(workspace: Workspace) -> Token:
    """Return a token that no other run has."""
    return Token('TREE_TOKEN', uuid.uuid4().hex, workspace.root)


def all_processes() -> Iterator[int]:
    """Yield the ids of all processes but this one."""
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def variables_of(pid: int) -> bytes:
    """Return the variables by which a process was started."""
    try:
        return Path(f'/proc/{pid}/environ').read_bytes()
    except OSError:
        return b''


def is_running(pid: int) -> bool:
    """True while a process has a thread that lives."""
    try:
        states = [Path(f'/proc/{pid}/task/{thread}/stat').read_text().rpartition(')')[2].split()[0]
                  for thread in os.listdir(f'/proc/{pid}/task')]
    except OSError:
        return False
    return any(state not in 'ZX' for state in states)


def seconds_until_gone(token: Token) -> float:
    """Return how long it takes until nothing of a run is left."""
    began = time.monotonic()
    wait_until(lambda: not token.survivors(), 'the end of all processes')
    return time.monotonic() - began


def started_by(workspace: Workspace, name: str = 'stands') -> int:
    """Wait until a processor says that it stands; return its id."""
    return int(wait_until(lambda: workspace.path(name).exists() and workspace.read(name),
                          'the start of the processor'))


# -- shapes ------------------------------------------------------------------------

@sizes(1, 5)
def test_nothing_of_a_stage_survives_a_request_to_end(size: int, tmp_path: Path,
                                                      install: Install) -> None:
    """The runner is back within grace and a second; nothing is left when it is.

    The sample tries every other shape with one cause, the campaign all with all.
    """
    need_linux()
    tally = Tally('trees', SEED)
    slowest, longest = 0.0, 0.0
    for number in range(size):
        for index, shape in enumerate(SHAPES):
            for place, cause in enumerate(CAUSES):
                if size == 1 and (index % 2 == 0 or place != (index // 2) % 3):
                    continue
                workspace = Workspace(tmp_path / f'{number}-{index}-{place}')
                with tally.trial(f'{shape} / {cause} / {number}') as trial:
                    back, gone = _end_a_run(install, workspace, shape, cause, trial)
                    slowest, longest = max(slowest, back), max(longest, gone)
    tally.notes.update(back_max=f'{slowest:.3f}s', gone_max=f'{longest:.3f}s')
    tally.conclude()
    # On a machine under load a sample says nothing about seconds.
    assert size == 1 or (slowest < GRACE_S + BACK_S and longest < GONE_S)


def _end_a_run(install: Install, workspace: Workspace, shape: str, cause: str,
               trial: Any) -> Tuple[float, float]:
    """Return how long after the cause the runner was back, and then until all were gone."""
    timeout = {'timeoutSec': 1.0} if cause == 'time-out' else {}
    workspace.simple(PREFACE + SHAPES[shape], graceSec=GRACE_S, retry={'maxAttempts': 1},
                     **timeout)
    token = new_token(workspace)
    runner = install.start(workspace, '--run-id', 'r1', env=token.env,
                           stderr=subprocess.PIPE)
    try:
        processor = started_by(workspace)
        assert is_running(processor), 'the processor ended too early to prove anything'
        trial.fired()
        if cause != 'time-out':
            runner.send_signal(getattr(signal, cause))
        began = time.monotonic()
        _, errors = runner.communicate(timeout=PATIENCE_S)
        back = time.monotonic() - began - timeout.get('timeoutSec', 0.0)
        gone = seconds_until_gone(token)
        assert runner.returncode == CAUSES[cause], errors.decode()
        assert b'Traceback' not in errors, errors.decode()
    finally:
        runner.kill()
        runner.communicate()
        token.end_all()
    return back, gone


@sizes(2, 30)
def test_a_writer_that_a_stage_leaves_behind_is_killed_before_outputs_are_hashed(
        size: int, tmp_path: Path, install: Install) -> None:
    """The stage succeeds, the record tells of the leftover, and the output changes no more."""
    need_linux()
    tally = Tally('late writers', SEED)
    for number in range(size):
        workspace = Workspace(tmp_path / f'{number}').simple(
            LEAVES_A_DAEMON, env={'DETACHED': '1'} if number % 2 else {})
        token = new_token(workspace)
        with tally.trial(f'writer {number}') as trial:
            try:
                done = install.run(workspace, '--run-id', 'r1', env=token.env)
                survivors = token.survivors()
                length = len(workspace.read('data/work/out.txt'))
            finally:
                token.end_all()
            assert workspace.path('stands').exists()
            trial.fired()
            assert (done.code, survivors) == (0, []), done
            attempt = workspace.json('state/stage_work.json')['attempts'][-1]
            assert attempt['leftoverProcesses'] == 1
            assert 'left 1 process' in done.err, done
            output, = workspace.json('data/work/.work.done')['outputs']
            assert output['size'] == length == len(workspace.read('data/work/out.txt'))
    tally.conclude()


# -- who starts them dies ------------------------------------------------------------

@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
@sizes(1, 50)
def test_processors_die_with_their_runner(size: int, launcher: str, tmp_path: Path,
                                          install: Install) -> None:
    """After `kill -9` of a runner nothing is left, families included."""
    need_linux()
    tally = Tally(f'kill -9 of the runner, {launcher}', SEED)
    longest = 0.0
    for number in range(size):
        workspace = Workspace(tmp_path / f'{number}').simple(STAYS, env={'WITH_FAMILY': '1'})
        with tally.trial(f'kill {number}') as trial:
            command = install.command(workspace, '--launcher', launcher)
            longest = max(longest, _kill_runner(command, workspace, ['work'], trial))
    tally.notes['gone_max'] = f'{longest:.3f}s'
    tally.conclude()
    assert size == 1 or longest < GONE_S


@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
@sizes(1, 50)
def test_processors_of_four_workers_die_with_their_runner(size: int, launcher: str,
                                                          tmp_path: Path,
                                                          install: Install) -> None:
    """Each of several keepers sees to it."""
    need_linux()
    tally = Tally(f'kill -9 of four workers, {launcher}', SEED)
    longest = 0.0
    for number in range(size):
        workspace = Workspace(tmp_path / f'{number}').simple(STAYS, jobs=[
            {'name': job, 'env': {'STAYS_AS': job, 'WITH_FAMILY': '1'}} for job in JOBS])
        with tally.trial(f'kill {number}') as trial:
            command = install.command(workspace, '--launcher', launcher, '--max-workers', '4')
            longest = max(longest, _kill_runner(command, workspace, JOBS, trial))
    tally.notes['gone_max'] = f'{longest:.3f}s'
    tally.conclude()
    assert size == 1 or longest < GONE_S


def _kill_runner(command: Sequence[str], workspace: Workspace, jobs: Sequence[str],
                 trial: Any) -> float:
    """Kill a runner whose processors all stand; return how long they and theirs last."""
    token = new_token(workspace)
    runner = subprocess.Popen(command, cwd=str(workspace.root), env=token.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        for job in jobs:
            started_by(workspace, f'stands-{job}')
        assert len(token.survivors()) >= 1 + 4 * len(jobs)
        trial.fired()
        kill(runner.pid)
        runner.wait()
        return seconds_until_gone(token)
    finally:
        kill(runner.pid)
        runner.wait()
        token.end_all()


@pytest.mark.parametrize('launcher, workers', [('warm', '1'), ('warm', '4'), ('spawn', '1')])
@sizes(1, 50)
def test_a_stage_whose_keeper_is_killed_fails_and_its_lock_is_free(
        size: int, launcher: str, workers: str, tmp_path: Path, install: Install) -> None:
    """The runner adopts what the keeper leaves, kills it, and tells that the stage failed."""
    need_linux()
    tally = Tally(f'kill -9 of a keeper of {workers}, {launcher}', SEED)
    for number in range(size):
        workspace = Workspace(tmp_path / f'{number}')
        workspace.simple(STAYS, retry={'maxAttempts': 1}, env={'WITH_FAMILY': '1'})
        token = new_token(workspace)
        with tally.trial(f'kill {number}') as trial:
            runner = install.start(workspace, '--launcher', launcher, '--max-workers', workers,
                                   env=token.env)
            try:
                keeper = parent_of(started_by(workspace, 'stands-work'))
                assert parent_of(keeper) == runner.pid
                trial.fired()
                kill(keeper)
                code = runner.wait(PATIENCE_S)
                survivors = token.survivors()
            finally:
                kill(runner.pid)
                runner.wait()
                token.end_all()
            assert (code, survivors) == (1, [])
            assert 'signal 9' in workspace.json('state/stage_work.json')['lastError']
            workspace.processor()
            again = install.run(workspace, '--lock-timeout', '0', env=token.env)
            assert again.code == 0, again
    tally.conclude()


# -- a terminal ----------------------------------------------------------------------

@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
@sizes(1, 20)
def test_ctrl_c_on_a_terminal_reaches_each_processor_once(size: int, launcher: str,
                                                          tmp_path: Path,
                                                          install: Install) -> None:
    """The terminal signals its foreground group, the runner tells its processors: once each."""
    need_linux()
    tally = Tally(f'Ctrl-C on a terminal, {launcher}', SEED)
    for number in range(size):
        workspace = Workspace(tmp_path / f'{number}').simple(STAYS, graceSec=PATIENCE_S)
        token = new_token(workspace)
        with tally.trial(f'Ctrl-C {number}') as trial:
            try:
                code, printed = _type_ctrl_c(install, workspace, launcher, token, trial)
                survivors = token.survivors()
            finally:
                token.end_all()
            signals = workspace.read('signals-work').split()
            assert signals == [str(int(signal.SIGTERM))], printed
            assert (code, survivors) == (130, []), printed
            assert b'Traceback' not in printed, printed
    tally.conclude()


def _type_ctrl_c(install: Install, workspace: Workspace, launcher: str, token: Token,
                 trial: Any) -> Tuple[int, bytes]:
    """Run on a terminal of its own, press Ctrl-C there; return exit code and what was shown."""
    command = install.command(workspace, '--launcher', launcher)
    process, terminal = pty.fork()
    if process == 0:
        try:
            os.chdir(str(workspace.root))
            os.execve(command[0], command, token.env)
        finally:
            os._exit(127)
    try:
        started_by(workspace, 'stands-work')
        assert is_alive(process)
        trial.fired()
        os.write(terminal, b'\x03')
        printed = _read_to_end(terminal)
        status = os.waitpid(process, 0)[1]
    finally:
        os.close(terminal)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), printed


def _read_to_end(terminal: int) -> bytes:
    """Return what is shown until nobody has the terminal open any more."""
    shown = b''
    while True:
        ready = select.select([terminal], [], [], PATIENCE_S)[0]
        assert ready, shown
        try:
            part = os.read(terminal, 65536)
        except OSError:
            # Linux says EIO when the last one who had it open is gone.
            return shown
        if not part:
            return shown
        shown += part
