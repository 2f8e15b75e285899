"""Begin keepers: with little loaded, because this may be the first thing that a run does.

A keeper takes as long to come as the runner needs for loading its own modules,
and there are two processors in most machines: a run that is sure to have work
begins one before it loads anything else (`commands.swift`).
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from stagerunner.launch import raising
from stagerunner.launch.channel import Channel
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.searchpath import SOURCE_FOLDER
from stagerunner.searchpath import start_environment

if TYPE_CHECKING:
    from typing import Any
    from typing import BinaryIO
    from typing import Dict
    from typing import Mapping
    from typing import NoReturn
    from typing import Optional
    from typing import Tuple

SEED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'seed.py')

#: Variables that an interpreter or the C library reads when a process starts: a
#: job whose values differ from its keeper's is executed fresh.
_START_UP = ('PYTHON', 'LD_', 'LC_', 'LANG', 'MALLOC', 'TZ', 'GLIBC_', 'HOME',
             '__PYVENV_LAUNCHER__', 'COVERAGE_', 'COV_CORE_')

#: How the system has names; `os.fsencode` does the same in four times the time.
_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class Kind(NamedTuple):
    """What keepers differ in: interpreter, fence, start-up variables."""

    python: str
    is_fenced: bool
    start_up: Tuple[Tuple[str, str], ...]


def kind_of(python: Optional[str], env: Mapping[str, str], *, is_fenced: bool = True) -> Kind:
    """Return the kind of keeper for processors with these variables."""
    return Kind(python or sys.executable, is_fenced, tuple(sorted(
        (name, value) for name, value in env.items() if name.startswith(_START_UP))))


class Begun(NamedTuple):
    """A keeper on its way, and the channel on which it will report."""

    kind: Kind
    process: Any
    channel: Channel

    def give_up(self) -> None:
        """End a keeper that never had a job, at once and without a word."""
        # It leads a group of its own, and tries in children what cannot be undone.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # Not yet, so there are no children either.
            self.process.kill()
        self.channel.close()
        if self.process.stdout:
            self.process.stdout.close()
        self.process.wait()


class Child:
    """A child of this process, which it started or adopted."""

    def __init__(self, pid: int, stdout: Optional[BinaryIO] = None):
        self.pid = pid
        #: What it prints; that of an adopted one goes where its first keeper's does.
        self.stdout = stdout
        self.is_over = False

    def kill(self) -> None:
        """Kill it; as long as nobody waited for its end the number is its own."""
        if not self.is_over:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for its end."""
        if not self.is_over:
            os.waitpid(self.pid, 0)
            self.is_over = True


def has_keepers() -> bool:
    """True where processors are forked from keepers.

    A keeper finds what a processor left behind by /proc, which a bare chroot does not have.
    """
    return sys.platform.startswith('linux') and os.path.exists('/proc/self/stat')


def begin_early(inherited: Mapping[str, str]) -> Optional[Begun]:
    """Begin the keeper for which most processors would wait; None where there is none.

    By a fork, which saves the start of an interpreter: only for who has no thread, holds no
    lock, handles no signal and has run nobody's code yet.
    """
    import _socket

    env = start_environment(inherited)
    kind = kind_of(None, env)
    if not has_keepers() or len(os.listdir('/proc/self/task')) > 1:
        return None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    printed, output = os.pipe()
    try:
        number = os.fork()
        if number == 0:
            _become(kind, theirs.fileno(), output, _variables(env))
    except OSError:
        # Told when there is a job that needs it.
        ours.close()
        os.close(printed)
        return None
    finally:
        theirs.close()
        os.close(output)
    return Begun(kind, Child(number, open(printed, 'rb')), Channel(ours.detach()))


def _become(kind: Kind, descriptor: int, output: int, env: Dict[str, str]) -> NoReturn:
    """Turn a fork of the runner into a keeper."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        raising.close_inherited(descriptor)
        os.set_inheritable(descriptor, True)
        raising.execute_keeper(kind.python, SEED, descriptor, SOURCE_FOLDER,
                               raising.raise_fence(), env)
    except OSError as error:
        os.write(2, str(error).encode())
    finally:
        os._exit(127)


def _variables(env: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables of a keeper."""
    return {name: value for name, value in env.items() if not name.startswith('PIPELINE_')}


def begin(kind: Kind, env: Dict[str, str]) -> Begun:
    """Start a keeper, which will report when it is ready."""
    import _socket
    import subprocess

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    clean = _variables(env)
    number = str(theirs.fileno())
    # Nothing of the processors' variables may be at work before the fence is.
    command = ([kind.python, '-I', '-S', '-B', SEED, number, 'fence', SOURCE_FOLDER, kind.python]
               if kind.is_fenced else [kind.python, SEED, number, '', SOURCE_FOLDER])
    try:
        process = subprocess.Popen(
            command, env=None if kind.is_fenced else clean, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()],
            start_new_session=True)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    channel = Channel(ours.detach())
    if kind.is_fenced:
        tell(channel, in_bytes(clean))
    return Begun(kind, process, channel)


def ask_to_split(first: Begun) -> Channel:
    """Ask a keeper that never has a job to fork another one like it, once it is ready.

    Returns the channel to the new one, which `split_off` turns into a keeper.  Only for who
    adopts orphans.  Raises `OSError` when the keeper is gone.
    """
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    channel = Channel(ours.detach())
    try:
        first.channel.send({'verb': 'split'}, [theirs.fileno()])
    except OSError:
        channel.close()
        raise
    finally:
        theirs.close()
    return channel


def split_off(first: Begun, channel: Channel) -> Begun:
    """Return the next of the keepers for which another one was asked, in that order.

    Waits for it, and raises `OSError` when there is none.
    """
    try:
        answer = first.channel.receive()[0]
        if answer is None or not answer[1]:
            raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
    except OSError:
        channel.close()
        raise
    return Begun(first.kind, Child(answer[1]), channel)


def in_bytes(value: Any) -> Any:
    """Return paths and variables as the system has them: a keeper may spell text otherwise."""
    if isinstance(value, str):
        return value.encode(*_NAMES)
    if isinstance(value, dict):
        return {name.encode(*_NAMES): text.encode(*_NAMES) for name, text in value.items()}
    return value if value is None else [in_bytes(part) for part in value]


def tell(channel: Channel, message: Any) -> None:
    """Send to a keeper that may be gone: who reads its answer finds out."""
    try:
        channel.send(message)
    except OSError:
        pass
