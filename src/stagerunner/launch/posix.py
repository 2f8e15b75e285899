"""Start processors on POSIX: a session of their own, watched from one selector.

A processor leads its own process group; it is asked to stop and killed as a
group, and what is left of the group when it ends is killed before anybody
looks at its outputs.
"""

from __future__ import annotations

import os
import signal
import sys

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Fence
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.watch import READ_BYTES
from stagerunner.launch.watch import Tree
from stagerunner.launch.watch import Watched
from stagerunner.launch.watch import command_of
from stagerunner.launch.watch import environment_of
from stagerunner.launch.watch import not_started
from stagerunner.launch.watch import open_input
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Container
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

#: Where the kernel cannot tell that a process ended (no pidfd), look this often.
_POLL_S = 0.02

#: A pipe holds 64 KiB, 1 MiB at the most: more than that was written after the end.
_DRAIN_READS = 16


class PosixLauncher(Launcher):
    """Jobs as subprocesses of the runner."""

    def __init__(self, clock: Clock, stop: Stop):
        self.clock = clock
        self.stop = stop
        self.running: Dict[str, Piped] = {}
        self._selector: Any = None

    @property
    def selector(self) -> Any:
        """Return the selector, made when it is first needed: a no-op run never waits."""
        if self._selector is None:
            import selectors

            self._selector = selectors.DefaultSelector()
            self._selector.register(self.stop.fileno(), selectors.EVENT_READ, None)
        return self._selector

    def start(self, job: Job) -> Optional[Exit]:
        try:
            running = self._launch(job)
        except (OSError, ValueError) as error:
            return not_started(job.task, error, is_program=job.python is None)
        self.running[job.task] = running
        for descriptor in [*running.pipes, *running.events()]:
            self.selector.register(descriptor, 1, running)
        return None

    def _launch(self, job: Job) -> Piped:
        """Start the process of a job; raises `OSError` or `ValueError` when that fails."""
        import subprocess

        with open_input(job) as stdin:
            process = subprocess.Popen(
                command_of(job), cwd=job.cwd, env=environment_of(job),
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, pass_fds=job.inherited)
        return _Direct(job, process, self.clock.monotonic())

    def fence(self, python: Optional[str], env: Dict[str, str]) -> Fence:
        return Fence(why='there is no /proc here' if sys.platform.startswith('linux') else '')

    def wait(self, timeout_s: Optional[float]) -> List[Exit]:
        ready = self.selector.select(self._shortest(timeout_s))
        for key, _ in ready:
            running = key.data
            if running is None:
                self.stop.drain()
            elif not running.read(key.fd):
                self.selector.unregister(key.fd)
                running.forget(key.fd)
        now = self.clock.monotonic()
        ended = [running for running in self.running.values() if running.tree.has_ended()]
        for running in self.running.values():
            running.enforce(now)
        return [self.finish(running) for running in ended]

    def stop_all(self, why: str, *, at_once: bool = False,
                 only: Optional[Container[str]] = None) -> None:
        for task, running in self.running.items():
            if only is None or task in only:
                running.ask(why, self.clock.monotonic(), at_once=at_once)

    def _shortest(self, timeout_s: Optional[float]) -> Optional[float]:
        """Return how long the selector may sleep, given deadlines and missing pidfds."""
        now = self.clock.monotonic()
        limits = [] if timeout_s is None else [timeout_s]
        for running in self.running.values():
            if running.deadline is not None:
                limits.append(running.deadline - now)
            if not running.events():
                limits.append(_POLL_S if running.pipes else _POLL_S / 10)
        return max(0.0, min(limits)) if limits else None

    def finish(self, running: Piped) -> Exit:
        """Take the last of what a job printed and give back what it had."""
        del self.running[running.job.task]
        running.drain()
        for descriptor in [*running.pipes, *running.events()]:
            self.selector.unregister(descriptor)
        return running.close(self.clock.monotonic())

    def close(self) -> None:
        if self._selector is not None:
            self._selector.close()
            self._selector = None


class ProcessGroup(Tree):
    """A session of its own; who leaves it by starting another one is not reached."""

    def __init__(self, process: Any):
        self.process = process

    def has_ended(self) -> bool:
        """True once the process ended; the rest of its group is killed before it is reaped.

        As long as it is not reaped its process group cannot be anybody else's.
        """
        if hasattr(os, 'waitid'):
            found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return False
            self.kill()
        self.process.poll()
        return self.process.returncode is not None

    def ask(self) -> bool:
        self._signal(signal.SIGTERM)
        return True

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        try:
            os.killpg(self.process.pid, signum)
        except (ProcessLookupError, PermissionError):
            # The group is gone, or (macOS) only its unreaped leader is left.
            pass


class Piped(Watched):
    """A job whose two streams arrive through pipes; `events` may bring more to watch."""

    def __init__(self, job: Job, process: Any, tree: Tree, pipes: Tuple[int, int], now: float):
        super().__init__(job, process, tree, now)
        #: Open pipes by descriptor: does it carry errors?
        self.pipes: Dict[int, bool] = {pipes[0]: False, pipes[1]: True}
        for pipe in self.pipes:
            os.set_blocking(pipe, False)

    def events(self) -> List[int]:
        """Return descriptors that become readable when the process may have ended."""
        return []

    def read(self, descriptor: int) -> bool:
        """Take what arrived; False when nothing more will arrive there."""
        if descriptor not in self.pipes:
            return True
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        if data:
            self.output.write(data, is_error=self.pipes[descriptor])
        return bool(data)

    def forget(self, descriptor: int) -> None:
        """Close a pipe that reached its end."""
        del self.pipes[descriptor]
        os.close(descriptor)

    def drain(self) -> None:
        """Take what is still in the pipes, without waiting for somebody who keeps them open."""
        for pipe, is_error in self.pipes.items():
            for _ in range(_DRAIN_READS):
                try:
                    data = os.read(pipe, READ_BYTES)
                except BlockingIOError:
                    break
                if not data:
                    break
                self.output.write(data, is_error=is_error)

    def close(self, now: float) -> Exit:
        """Give everything back and say how it ended."""
        for pipe in list(self.pipes):
            self.forget(pipe)
        return self.exit(self.process.returncode, now)


class _Direct(Piped):
    """A job that is a child of the runner itself."""

    def __init__(self, job: Job, process: Any, now: float):
        pipes = os.dup(process.stdout.fileno()), os.dup(process.stderr.fileno())
        process.stdout.close()
        process.stderr.close()
        super().__init__(job, process, ProcessGroup(process), pipes, now)
        self.pidfd = _pidfd(process.pid)

    def events(self) -> List[int]:
        return [] if self.pidfd is None else [self.pidfd]

    def close(self, now: float) -> Exit:
        if self.pidfd is not None:
            os.close(self.pidfd)
        return super().close(now)


def _pidfd(pid: int) -> Optional[int]:
    """Return a descriptor that becomes readable when the process ends, where there is such."""
    try:
        return os.pidfd_open(pid)  # novermin - 3.9, missing ones are caught below
    except (AttributeError, OSError):
        return None
