"""What watching a job is on every system: its command, its deadlines, the end it came to.

How a process and its children are asked and killed is the business of a
`Tree`, how pipes are read that of the launcher.
"""

from __future__ import annotations

import errno
import os

from stagerunner.errors import os_fault
from stagerunner.launch.capture import Output
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Usage
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import BinaryIO
    from typing import Dict
    from typing import List

BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'boot.py')

#: The variable with the list that `boot` reads; `…1`, `…2` and so on hold what goes beyond it.
PINNED = 'STAGERUNNER_PINNED'

#: Tells `boot` that network calls are to be refused with an explanation.
FENCED = 'STAGERUNNER_FENCED'

#: A variable of Windows holds 32,767 characters, one of Linux 131,071 bytes.
_VARIABLE_CHARS = 30_000

#: Read so much at a time from what a processor prints.
READ_BYTES = 256 * 1024


def command_of(job: Job) -> List[str]:
    """Return the command line of a job."""
    if job.python is None:
        return [os.path.normpath(os.path.join(job.cwd, job.argv[0])), *job.argv[1:]]
    return [job.python, BOOT, *job.argv]


def environment_of(job: Job) -> Dict[str, str]:
    """Return the environment of a job, with what `boot` needs and removes again."""
    if job.python is None:
        return job.env
    env = {name: value for name, value in job.env.items() if not name.startswith(PINNED)}
    if job.is_fenced:
        env[FENCED] = '1'
    else:
        env.pop(FENCED, None)
    name, number = PINNED, 0
    for path, digest in job.pinned:
        line = f'{digest} {path}'
        if len(env.get(name, '')) + len(line) > _VARIABLE_CHARS:
            number += 1
            name = f'{PINNED}{number}'
        env[name] = f'{env[name]}\n{line}' if name in env else line
    return env


def open_input(job: Job) -> BinaryIO:
    """Open what a job reads as its stdin."""
    return open(job.stdin or os.devnull, 'rb', buffering=0)


#: What to do about a program that the kernel does not start.
_ADVICE = {errno.EACCES: 'make it executable (chmod +x)',
           errno.ENOEXEC: 'let it begin with a line such as #!/bin/sh',
           errno.ENOENT: 'look at the program that its first line names, and for a CR at its end'}


def not_started(task: str, error: Exception, *, is_program: bool = False) -> Exit:
    """Return the exit of a job whose process could not be made."""
    code = 126 if isinstance(error, PermissionError) else 127
    return Exit(task, code, 0.0, (), (), '', start_error=start_fault(
        error, is_program=is_program))


def start_fault(error: Exception, *, is_program: bool = False) -> str:
    """Say why a process could not be made, and of a program what to do."""
    if not isinstance(error, OSError):
        return str(error)
    if error.strerror:
        # Python 3.7 adds the path.
        error.strerror = error.strerror.partition(": '")[0]
    if error.filename == os.devnull:
        return f'{os.devnull}, the stdin of processors, cannot be opened ({os_fault(error)})'
    if is_program and os.name == 'posix' and error.errno in _ADVICE:
        return f"{os_fault(error).partition(';')[0]}; {_ADVICE[error.errno]}"
    return os_fault(error)


class Tree:
    """A process with everything that it started; an implementation per kind of system."""

    def has_ended(self) -> bool:
        """True once the process ended; the rest of its tree is killed then."""
        raise NotImplementedError

    def ask(self) -> bool:
        """Ask all of it to end; False when that cannot be asked."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill all of it."""
        raise NotImplementedError


class Watched:
    """One running job: its process, what it prints, and when it must be gone."""

    def __init__(self, job: Job, process: Any, tree: Tree, now: float):
        self.job = job
        self.process = process
        self.tree = tree
        self.started = now
        self.output = Output(job.log_path, job.secrets)
        self.deadline = None if job.timeout_s is None else now + job.timeout_s
        self.stopped = ''
        self.start_error = ''
        self.usage = Usage()
        self.is_killed = False

    def enforce(self, now: float) -> None:
        """Carry out a deadline that passed: first the question, then the kill."""
        if self.deadline is None or now < self.deadline or self.process.returncode is not None:
            return
        if self.stopped:
            self.ask(self.stopped, now, at_once=True)
        else:
            self.ask(TIMED_OUT, now)

    def ask(self, why: str, now: float, *, at_once: bool = False) -> None:
        """Ask the tree to end, or kill it: at once, or when it cannot even be asked."""
        self.stopped = self.stopped or why
        if at_once or not (self.is_killed or self.tree.ask()):
            self.tree.kill()
            self.is_killed, self.deadline = True, None
        elif not self.is_killed:
            self.deadline = now + self.job.grace_s

    def exit(self, exit_code: int, now: float) -> Exit:
        """Close the log and say how it ended."""
        log = self.output.log
        self.output.close()
        return Exit(self.job.task, exit_code, now - self.started,
                    self.output.errors.lines(), log.recent.lines(),
                    log.path if log.printed and not log.fault else '',
                    self.stopped, log.printed, self.start_error, self.usage)
