"""Guards around every test: no network, no writing outside, no thread or process left behind.

The first two listen to the interpreter's audit events (Python 3.8 and newer;
on 3.7 they are blind) and refuse the call on the spot.  What is refused is
noted as well, so that a test also fails when the code under test swallowed
the refusal.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from typing import Any
from typing import Iterable
from typing import List
from typing import Optional
from typing import Tuple

from support import CHECKOUT
from support import processes_below
from support import wait_until

#: True where the interpreter reports what it does.
HAS_AUDIT = hasattr(sys, 'addaudithook')

#: A thread or process that was told to end has this long to do it (seconds).
GRACE_S = 10.0

#: Address families that reach other machines (AF_INET, AF_INET6 on Linux, Windows, macOS).
_NETWORK_FAMILIES = (2, 10, 23, 30)

#: Events that change something: which of their arguments are paths of what is changed.
_CHANGES = {'os.mkdir': (0,), 'os.rename': (0, 1), 'os.remove': (0,), 'os.rmdir': (0,),
            'os.link': (1,), 'os.symlink': (1,), 'os.truncate': (0,), 'os.utime': (0,),
            'os.chmod': (0,), 'os.chown': (0,)}

_WRITING = (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

#: Beside the system's temporary folder: what is no file on a disk.
_HARMLESS = ('/dev/', '/proc/')

#: Written by the tools around the tests, not by the tests.
_CACHES = ('__pycache__', '.pytest_cache', '.coverage')


class Trespass(AssertionError):
    """Something that a test must not do."""


class Watch:
    """Refuses network and outside writes while `is_on`, and keeps what it refused."""

    def __init__(self) -> None:
        self.is_on = False
        self.refused: List[str] = []
        self.allowed = (os.path.realpath(tempfile.gettempdir()) + os.sep, *_HARMLESS)
        self.checkout = os.path.realpath(str(CHECKOUT)) + os.sep

    def install(self) -> None:
        """Listen from now on; nobody can stop listening again."""
        if HAS_AUDIT:
            sys.addaudithook(self.hear)

    def hear(self, event: str, args: Tuple[Any, ...]) -> None:
        """Take one audit event."""
        if not self.is_on:
            return
        if event == 'open':
            path, mode, flags = args
            if flags & _WRITING or (isinstance(mode, str) and set(mode) & set('wax+')):
                self._check_path(event, path)
        elif event in _CHANGES:
            for index in _CHANGES[event]:
                self._check_path(event, args[index])
        elif event in ('socket.connect', 'socket.bind', 'socket.sendto'):
            if args[0].family in _NETWORK_FAMILIES:
                self._refuse(f'{event} {args[-1]!r}')
        elif event in ('socket.getaddrinfo', 'socket.gethostbyname'):
            self._refuse(f'{event} {args[0]!r}')

    def _check_path(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path)
        full = os.path.join(os.path.realpath(os.path.dirname(name) or os.curdir),
                            os.path.basename(name))
        inside = full.startswith(self.checkout) and not any(
            part.startswith(_CACHES) for part in full[len(self.checkout):].split(os.sep))
        outside = not (full + os.sep).startswith((*self.allowed, self.checkout))
        if inside or outside:
            self._refuse(f'{event} {name!r}')

    def _refuse(self, what: str) -> None:
        self.refused.append(what)
        raise Trespass(f'a test must not do this: {what}')


def new_threads(before: Iterable[threading.Thread]) -> List[threading.Thread]:
    """Return the threads that were not there before, after giving them time to end."""
    known = set(before)
    until = time.monotonic() + GRACE_S
    while True:
        found = [thread for thread in threading.enumerate() if thread not in known]
        if not found or time.monotonic() > until:
            return found
        found[0].join(0.01)


def has_children() -> Optional[bool]:
    """True when this process has a child that nobody waited for; None where nobody can tell."""
    if not hasattr(os, 'waitid'):
        return None
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def own_children() -> List[Tuple[int, str]]:
    """Return pid and command of every child of this process, ended ones included (Linux)."""
    found = []
    for name in os.listdir('/proc') if os.path.isdir('/proc/self') else ():
        if name.isdigit():
            try:
                with open(f'/proc/{name}/stat') as stat, open(f'/proc/{name}/cmdline') as line:
                    if int(stat.read().rpartition(')')[2].split()[1]) == os.getpid():
                        found.append((int(name), line.read().replace('\0', ' ').strip()))
            except OSError:
                continue
    return found


def leaked_children() -> List[str]:
    """Return the children that a test left behind, and make an end of them."""
    if not has_children():
        return []
    children = own_children()
    for pid, _ in children:
        _kill(pid)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
    return [f'{command or "an ended process"} (pid {pid})' for pid, command in children]


def leaked_processes(folder: Any) -> List[str]:
    """Return processes that still work in `folder` after a while, and make an end of them."""
    try:
        wait_until(lambda: not processes_below(folder), timeout_s=GRACE_S)
        return []
    except AssertionError:
        pids = processes_below(folder)
        for pid in pids:
            _kill(pid)
        return [f'pid {pid}' for pid in pids]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
