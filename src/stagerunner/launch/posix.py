"""Start processors on POSIX: a session of their own, watched from one selector.

A processor leads its own process group; it is asked to stop and killed as a
group, and what is left of the group when it ends is killed before anybody
looks at its outputs.
"""

from __future__ import annotations

import os
import signal
from typing import Any
from typing import Dict
from typing import List
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.watch import READ_BYTES
from stagerunner.launch.watch import Tree
from stagerunner.launch.watch import Watched
from stagerunner.launch.watch import command_of
from stagerunner.launch.watch import environment_of
from stagerunner.launch.watch import not_started

#: Where the kernel cannot tell that a process ended (no pidfd), look this often.
_POLL_S = 0.02

#: A pipe holds 64 KiB, 1 MiB at the most: more than that was written after the end.
_DRAIN_READS = 16


class PosixLauncher(Launcher):
    """Jobs as subprocesses of the runner."""

    def __init__(self, clock: Clock, stop: Stop):
        self.clock = clock
        self.stop = stop
        self.running: Dict[str, _Running] = {}
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
        import subprocess

        try:
            process = subprocess.Popen(
                command_of(job), cwd=job.cwd, env=environment_of(job),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, pass_fds=job.inherited)
        except (OSError, ValueError) as error:
            return not_started(job, error)
        running = _Running(job, process, self.clock.monotonic())
        self.running[job.task] = running
        for key in running.watched():
            self.selector.register(key, 1, running)
        return None

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
        return [self._finish(running) for running in ended]

    def stop_all(self, why: str, *, at_once: bool = False) -> None:
        for running in self.running.values():
            running.ask(why, self.clock.monotonic(), at_once=at_once)

    def _shortest(self, timeout_s: Optional[float]) -> Optional[float]:
        """Return how long the selector may sleep, given deadlines and missing pidfds."""
        now = self.clock.monotonic()
        limits = [] if timeout_s is None else [timeout_s]
        for running in self.running.values():
            if running.deadline is not None:
                limits.append(running.deadline - now)
            if running.pidfd is None:
                limits.append(_POLL_S if running.pipes else _POLL_S / 10)
        return max(0.0, min(limits)) if limits else None

    def _finish(self, running: _Running) -> Exit:
        del self.running[running.job.task]
        running.drain()
        for key in running.watched():
            self.selector.unregister(key)
        return running.close(self.clock.monotonic())


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


class _Running(Watched):
    """One process and its pipes."""

    def __init__(self, job: Job, process: Any, now: float):
        super().__init__(job, process, ProcessGroup(process), now)
        self.pipes = {process.stdout.fileno(): False, process.stderr.fileno(): True}
        for pipe in self.pipes:
            os.set_blocking(pipe, False)
        self.pidfd = _pidfd(process.pid)

    def watched(self) -> List[int]:
        """Return the descriptors to wait for."""
        return [*self.pipes, *([] if self.pidfd is None else [self.pidfd])]

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
        """Stop watching a pipe that reached its end."""
        del self.pipes[descriptor]

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
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        return self.exit(self.process.returncode, now)


def _pidfd(pid: int) -> Optional[int]:
    """Return a descriptor that becomes readable when the process ends, where there is such."""
    try:
        return os.pidfd_open(pid)  # novermin - 3.9, missing ones are caught below
    except (AttributeError, OSError):
        return None
