"""Choose how processors are started on this system, and by which interpreter."""

from __future__ import annotations

import os
import re
import sys

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.errors import DefinitionError
from stagerunner.errors import UsageError
from stagerunner.launch.job import Launcher
from stagerunner.launch.linux import LinuxLauncher
from stagerunner.launch.nursery import Begun
from stagerunner.launch.nursery import has_keepers
from stagerunner.launch.posix import PosixLauncher
from stagerunner.launch.windows import WindowsLauncher
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional
    from typing import Tuple

#: An interpreter that has not told its version after so long is not going to.
_PROBE_S = 30.0


#: How Python processors are started; the first is the default and picks for itself.
LAUNCHERS = ('auto', 'warm', 'spawn')


def make_launcher(clock: Clock, stop: Stop, kind: str = LAUNCHERS[0],
                  begun: Optional[Begun] = None) -> Launcher:
    """Return the launcher of this system; it loads what it needs when the first job starts.

    `begun` is a keeper on its way, which the launcher uses or ends.
    """
    if has_keepers():
        return LinuxLauncher(clock, stop, is_warm=kind != 'spawn', begun=begun)
    if kind == 'warm':
        raise UsageError('--launcher warm: only on Linux, with /proc; leave the flag out')
    return WindowsLauncher(clock, stop) if os.name == 'nt' else PosixLauncher(clock, stop)


def interpreter_version(python: Optional[str], root: str, shown: str) -> Tuple[str, str]:
    """Return path and `major.minor` of the interpreter of processors.

    The default is the runner's own; another one is asked.  `shown` is the name
    of the definition, for the error when it cannot be started.
    """
    if python is None:
        return sys.executable, '%d.%d' % sys.version_info[:2]
    import subprocess

    path = os.path.join(root, python) if '/' in python else python
    try:
        answer = subprocess.run(
            [path, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=_PROBE_S, check=True).stdout.decode('ascii', 'replace').strip()
    except (OSError, ValueError, subprocess.SubprocessError):
        answer = ''
    if not re.match(r'3\.\d+$', answer):
        raise DefinitionError((f'{shown}: python: {python!r} cannot be used as an interpreter; '
                               f'name a Python 3 or leave the key out',))
    return path, answer
