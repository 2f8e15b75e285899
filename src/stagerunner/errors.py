"""Every error that the runner raises on purpose, with the exit code that it leads to.

    RunnerError
    ├── UsageError          the caller: a flag that cannot be followed           2
    ├── DefinitionError     the author of pipeline.json: all its faults          2
    ├── IsolationError      the host: the fence that was asked for cannot be had   2
    ├── Unreadable          whoever wrote a file that is not strict JSON         5
    ├── StageError          one attempt of a task did not succeed                1
    │   ├── OfflineViolation    the author of the processor: a network import
    │   └── InputChanged        whoever edits inputs while they are in use
    ├── LeaseLost           nobody: somebody else works on this queue entry now  1
    ├── LockTimeout         nobody: another run is busy, try later               4
    ├── StateError          the operator: state cannot be read or written        5
    └── Interrupted         nobody: a signal asked the run to end          128 + n

A class takes values, keeps them as attributes and builds its text in
`__str__`, so callers look at fields and never parse messages.  A programming
mistake is a `ValueError`, `TypeError` or `assert`, never one of these.
"""

from __future__ import annotations

import errno

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Tuple

#: Exit codes, as in the contract.
OK, FAILED, REFUSED, BUG, BUSY, STATE = 0, 1, 2, 3, 4, 5

#: What `plan --check` exits with when there is work to do.
PENDING = 10


class RunnerError(Exception):
    """The root: `except RunnerError` catches what the runner itself foresaw."""

    exit_code = FAILED


class UsageError(RunnerError):
    """A flag or argument that cannot be followed."""

    exit_code = REFUSED

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class DefinitionError(RunnerError):
    """A pipeline definition with faults, each one line, in file order."""

    exit_code = REFUSED

    def __init__(self, faults: Tuple[str, ...]):
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return '\n'.join(self.faults)


class IsolationError(RunnerError):
    """A fence that was required and cannot be had here, or a keeper that does not start."""

    exit_code = REFUSED

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Unreadable(RunnerError):
    """A file that is not what strict JSON in a regular file must be."""

    exit_code = STATE

    def __init__(self, path: str, fault: str):
        super().__init__(path, fault)
        self.path = path
        self.fault = fault

    def __str__(self) -> str:
        return f'{self.path}: {self.fault}'


class StageError(RunnerError):
    """One attempt of a task that did not succeed, for a reason the runner found itself.

    `is_final` says that another attempt cannot help.
    """

    is_final = True

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class OfflineViolation(StageError):
    """A processor, or a local module that it loads, imports something that reaches a network."""

    def __init__(self, module: str, path: str, line: int):
        super().__init__(
            f"Offline violation: forbidden import '{module}' ({path}:{line})")
        self.args = (module, path, line)
        self.module = module
        self.path = path
        self.line = line


class InputChanged(StageError):
    """A file that was rewritten while it was being read or while its stage ran."""

    is_final = False

    def __init__(self, path: str, when: str):
        super().__init__(f'input {path} changed while {when}; '
                         f'stop what writes it or give the stage a copy')
        self.args = (path, when)
        self.path = path
        self.when = when


class LeaseLost(RunnerError):
    """A queue entry that is not leased any more to whoever wants to finish it."""

    def __init__(self, job_id: int):
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f'queue entry {self.job_id} is not leased to this worker any more'


class LockTimeout(RunnerError):
    """Somebody else holds a lock for longer than the caller wants to wait."""

    exit_code = BUSY

    def __init__(self, what: str, path: str, waited_s: float, holder: str):
        super().__init__(what, path, waited_s, holder)
        self.what = what
        self.path = path
        self.waited_s = waited_s
        self.holder = holder

    def __str__(self) -> str:
        waited = f'still locked after {self.waited_s:g}s' if self.waited_s else 'locked'
        return (f'{self.what} is busy: {self.path} {waited} ({self.holder}); '
                f'wait for that run or stop it')


class StateError(RunnerError):
    """A file of ours that cannot be read or written: full disk, no permission, newer format."""

    exit_code = STATE

    def __init__(self, path: str, fault: str):
        super().__init__(path, fault)
        self.path = path
        self.fault = fault

    def __str__(self) -> str:
        return f'{self.path}: {self.fault}'


class Interrupted(RunnerError):
    """A signal asked the run to end."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """128 + the number of the signal, as shells report it."""
        return 128 + self.signum

    def __str__(self) -> str:
        return f'interrupted by signal {self.signum}'


def os_fault(error: OSError) -> str:
    """Return what an operating-system error says and what to do, without the path."""
    said = (error.strerror or str(error)).lower()
    full = 'free some space and run again'
    advice = {errno.ENOSPC: full, getattr(errno, 'EDQUOT', errno.ENOSPC): full,
              errno.EROFS: 'the workspace must be writable',
              errno.EACCES: 'check who may read and write it',
              errno.EPERM: 'check who may read and write it'}.get(error.errno or 0)
    return f'{said}; {advice}' if advice else said
