"""What surrounds each attempt: the fence asked for, the one in force, the files it may use.

Decided once per run from the mode and what the launcher's probe found; written
into the records, so that nobody has to believe what can be looked up.
"""

from __future__ import annotations

import os
import sys

from stagerunner.definition import Resources
from stagerunner.definition import Stage
from stagerunner.errors import IsolationError
from stagerunner.launch.job import Fence
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.searchpath import SOURCE_FOLDER
from stagerunner.state.run import not_looked_at

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import Iterator
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

AUTO, STRICT, OFF = 'auto', 'strict', 'off'

#: Where a system keeps what every program needs to start and run.
_SYSTEM = ('/usr', '/lib', '/lib32', '/lib64', '/bin', '/sbin', '/etc', '/opt', '/proc', '/sys',
           '/dev', '/run/systemd/resolve', '/var/lib/alternatives')
_WRITABLE = ('/dev/null', '/dev/zero', '/dev/full', '/dev/tty', '/dev/shm', '/dev/ptmx',
             '/dev/pts')


class Surroundings(NamedTuple):
    """The mode of a run and, once a processor was launched, the fence that is in force."""

    mode: str
    fence: Optional[Fence] = None

    def of_run(self) -> Dict[str, Any]:
        """Return what a run's record says; `enforced` is null when nothing was launched."""
        found = self.fence
        if self.mode == OFF:
            return {'mode': OFF, 'enforced': False, 'mechanisms': [], 'files': False}
        if found is None:
            return not_looked_at(self.mode)
        return {'mode': self.mode, 'enforced': found.is_enforced,
                'mechanisms': list(found.mechanisms), 'files': found.landlock > 0}

    def of_stage(self, stage: Stage) -> Dict[str, Any]:
        """Return what a stage's record says of its attempts."""
        found = self.fence or Fence()
        is_fenced = self.is_fenced(stage)
        network = 'allow' if stage.has_network else 'deny'
        return {'network': network, 'enforced': is_fenced and found.is_enforced,
                'mechanisms': list(found.mechanisms) if is_fenced else [],
                'files': 'declared' if self.guards_files(stage) else 'open'}

    def is_fenced(self, stage: Stage) -> bool:
        """True when attempts of a stage are started inside the network fence."""
        return self.mode != OFF and not stage.has_network

    def guards_files(self, stage: Stage) -> bool:
        """True when the kernel keeps a stage to its declared files."""
        return (stage.has_declared_files and self.mode != OFF
                and bool(self.fence and self.fence.landlock))

    def complaints(self, stages: Callable[[], Iterator[Stage]]) -> Tuple[str, ...]:
        """Return what was asked for and is not in force, one sentence each.

        Stages are gone through only where something is not: to make them all takes its time.
        """
        if self.mode == OFF or self.fence is None:
            return ()
        found = []
        if not self.fence.is_enforced and not all(stage.has_network for stage in stages()):
            why = f' ({self.fence.why})' if self.fence.why else ''
            found.append(f'the kernel keeps no processor of this run from the network{why}; '
                         f'only imports are scanned')
        if not self.fence.landlock and any(stage.has_declared_files for stage in stages()):
            found.append("the kernel cannot keep processors to their declared files; "
                         "'files' has no effect here")
        return tuple(found)

    def check_strict(self, stages: Callable[[], Iterator[Stage]]) -> None:
        """Raise `IsolationError` when the mode is strict and something is not in force."""
        complaints = self.complaints(stages)
        if self.mode == STRICT and complaints:
            raise IsolationError(f'--isolation strict: {complaints[0]}; '
                                 f'nothing was started')


class Declared(NamedTuple):
    """What a stage with declared files may read, write, and list the names of."""

    readable: Tuple[str, ...]
    writable: Tuple[str, ...]
    listable: Tuple[str, ...]


def declared_files(root: str, inputs: Sequence[str], sources: Sequence[str], python: str,
                   folders: Sequence[str]) -> Declared:
    """Return what the kernel lets a stage with declared files open.

    `folders` are those of the task itself: outputs, progress, temporary files.
    The folders of its code can be listed, because imports look for names there.
    """
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    prefixes |= {os.path.dirname(os.path.dirname(path))
                 for path in (os.path.abspath(python), os.path.realpath(python))}
    readable = [os.path.realpath(os.path.join(root, name)) for name in inputs]
    readable += [os.path.realpath(source) for source in sources]
    readable += [*_SYSTEM, *sorted(prefixes - {'/', ''}),
                 os.path.join(SOURCE_FOLDER, 'stagerunner')]
    listable = {os.path.dirname(os.path.realpath(source)) for source in sources}
    return Declared(tuple(dict.fromkeys(readable)), (*folders, *_WRITABLE),
                    (*sorted(listable), SOURCE_FOLDER))


def limits_of(resources: Resources) -> Tuple[Tuple[str, int], ...]:
    """Return the limits of a stage as a job has them."""
    named = (('memory', resources.memory_bytes), ('cpu', resources.cpu_s),
             ('file', resources.file_bytes), ('cores', resources.cpu_cores))
    return tuple((name, value) for name, value in named if value)
