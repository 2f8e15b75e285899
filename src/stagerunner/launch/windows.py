"""Start processors on Windows: each in a job object, its pipes read by two threads.

Windows can wait for processes and pipes in one call only with overlapped I/O,
which the standard library does not offer for the pipes of children.  So two
threads per job read and hand over what they read; everything else (logs,
deadlines, ends) is done by whoever waits.

A processor is started suspended, put into a job object of its own, and let
go: whatever it starts belongs to the object.  The object is ended when the
processor ends or must end, and by the system when the runner is gone, however
that came about.  That stands in for the inherited lock of POSIX: no orphan
outlives its runner, so none needs to keep others out.

The question before the kill is CTRL_BREAK to the process group, which reaches
processors that share a console with the runner; without a console there is
nothing to ask with, and they are killed at once.
"""

from __future__ import annotations

import os
import signal
import sys

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.launch.job import Launcher
from stagerunner.launch.posix import ProcessGroup
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

#: A wait looks this often (seconds) at requests to stop and at processes that
#: keep their pipes open; an end is noticed sooner, by the end of its pipes.
_SLICE_S = 0.05
_SHORT_SLICE_S = 0.002

#: So many reads may wait to be taken; the threads stand still meanwhile, as a pipe would.
_QUEUED = 64

#: After its end the rest of a tree has so long (seconds) to die and its pipes to run dry.
SETTLE_S = 5.0

#: How Windows reports what is a signal elsewhere: access violation, illegal
#: instruction, failed assertion of the C library, CTRL_C or CTRL_BREAK.
_SIGNALS = {0xC0000005: 'SIGSEGV', 0xC000001D: 'SIGILL', 0xC0000409: 'SIGABRT',
            0xC000013A: 'SIGINT'}

_CREATE_SUSPENDED = 0x4
_CTRL_BREAK = 1


class WindowsLauncher(Launcher):
    """Jobs as subprocesses of the runner (on POSIX too, where tests run it)."""

    def __init__(self, clock: Clock, stop: Stop, settle_s: float = SETTLE_S):
        self.clock = clock
        self.stop = stop
        self.settle_s = settle_s
        self.running: Dict[str, _Running] = {}
        self._stops_seen = 0
        self._queue: Any = None

    @property
    def queue(self) -> Any:
        """Return what the threads hand over, made when it is first needed."""
        if self._queue is None:
            import queue

            self._queue = queue.Queue(_QUEUED)
        return self._queue

    def start(self, job: Job) -> Optional[Exit]:
        import subprocess

        try:
            with open_input(job) as stdin:
                process = subprocess.Popen(
                    command_of(job), cwd=job.cwd, env=environment_of(job),
                    stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    **_options(job))
            tree = _tree_of(process)
        except (OSError, ValueError) as error:
            return not_started(job.task, error)
        running = _Running(job, process, tree, self.clock.monotonic())
        running.start_readers(self.queue)
        self.running[job.task] = running
        return None

    def wait(self, timeout_s: Optional[float]) -> List[Exit]:
        until = None if timeout_s is None else self.clock.monotonic() + timeout_s
        while True:
            self._take(self._slice(until))
            now = self.clock.monotonic()
            ended = [running for running in self.running.values() if running.tree.has_ended()]
            if ended:
                return [self._finish(running) for running in ended]
            for running in self.running.values():
                running.enforce(now)
            if self._is_asked() or (until is not None and now >= until):
                return []

    def stop_all(self, why: str, *, at_once: bool = False,
                 only: Optional[Container[str]] = None) -> None:
        for task, running in self.running.items():
            if only is None or task in only:
                running.ask(why, self.clock.monotonic(), at_once=at_once)

    def _is_asked(self) -> bool:
        """True once for each request to stop."""
        seen, self._stops_seen = self._stops_seen, self.stop.count
        return self.stop.count > seen

    def _slice(self, until: Optional[float]) -> float:
        """Return how long to wait for the threads before looking around again."""
        now = self.clock.monotonic()
        limits = [_SLICE_S if until is None else min(_SLICE_S, until - now)]
        for running in self.running.values():
            if running.deadline is not None:
                limits.append(running.deadline - now)
            if not running.readers:
                limits.append(_SHORT_SLICE_S)
        return max(0.0, min(limits))

    def _take(self, timeout_s: float) -> None:
        """Take what the threads read, after waiting for it at most so long."""
        import queue

        try:
            arrived = self.queue.get(timeout=timeout_s)
        except queue.Empty:
            return
        arrived.deliver()
        for _ in range(self.queue.qsize()):
            self.queue.get_nowait().deliver()

    def _finish(self, running: _Running) -> Exit:
        """Take the last of what it printed once nothing is left of its tree."""
        until = self.clock.monotonic() + self.settle_s
        while ((running.readers or not running.tree.is_empty())
               and self.clock.monotonic() < until):
            self._take(_SHORT_SLICE_S)
        del self.running[running.job.task]
        running.is_closed = True
        running.tree.close()
        return running.exit(exit_code_of(running.process.returncode), self.clock.monotonic())


def _options(job: Job) -> Dict[str, Any]:
    """Return how the process becomes the head of a tree."""
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        import subprocess

        return {'creationflags': subprocess.CREATE_NEW_PROCESS_GROUP | _CREATE_SUSPENDED}
    return {'start_new_session': True, 'pass_fds': job.inherited}


def exit_code_of(code: int) -> int:
    """Return an exit code as `Exit` has it: minus n where Windows has a status for signal n.

    >>> exit_code_of(3), exit_code_of(0xC0000005)
    (3, -11)
    """
    name = _SIGNALS.get(code)
    return -int(getattr(signal, name)) if name else code


class _Running(Watched):
    """One process and the threads that read its pipes."""

    tree: _WindowsTree

    def __init__(self, job: Job, process: Any, tree: _WindowsTree, now: float):
        super().__init__(job, process, tree, now)
        #: The threads that did not come to the end of their pipe yet.
        self.readers: List[Any] = []
        self.is_closed = False

    def start_readers(self, queue: Any) -> None:
        """Read both pipes from now on."""
        import threading

        for stream, is_error in ((self.process.stdout, False), (self.process.stderr, True)):
            # Who left the tree may keep a pipe open for ever: it must not keep the runner.
            thread = threading.Thread(target=self._read, args=(stream, queue, is_error),
                                      daemon=True)
            self.readers.append(thread)
            thread.start()

    def _read(self, stream: Any, queue: Any, is_error: bool) -> None:
        """Hand over everything that arrives in a pipe; the body of a thread."""
        import threading

        with stream:
            while True:
                try:
                    data = os.read(stream.fileno(), READ_BYTES)
                except OSError:  # pragma: no cover - a pipe that breaks instead of ending
                    data = b''
                if not data:
                    break
                queue.put(_Arrival(self, is_error, data))
        queue.put(_Arrival(self, is_error, b'', threading.current_thread()))


class _Arrival:
    """Something a thread read, or that it came to its end; `deliver` is called by who waits."""

    def __init__(self, running: _Running, is_error: bool, data: bytes, ended: Any = None):
        self.running = running
        self.is_error = is_error
        self.data = data
        self.ended = ended

    def deliver(self) -> None:
        """Put it where it belongs."""
        if self.ended is not None:
            self.running.readers.remove(self.ended)
            self.ended.join()
        elif not self.running.is_closed:
            self.running.output.write(self.data, is_error=self.is_error)


class _WindowsTree(Tree):
    """What else the launcher needs to know of a tree."""

    def is_empty(self) -> bool:
        """True when nothing of the tree is alive any more."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the tree back to the system."""


class _PosixTree(ProcessGroup, _WindowsTree):
    """A process group under this launcher: what was killed counts as gone."""

    def is_empty(self) -> bool:
        return True


if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows

    class JobObject(_WindowsTree):
        """A process and all that it starts, as the system itself keeps book of it.

        Where the process cannot be put into an object (Windows 7 does not nest
        them) only the process itself is killed.
        """

        def __init__(self, process: Any):
            import ctypes

            self.process = process
            self.kernel = ctypes.WinDLL('kernel32', use_last_error=True)
            self.kernel.CreateJobObjectW.restype = ctypes.c_void_p
            self.object = self._make()
            if ctypes.WinDLL('ntdll').NtResumeProcess(self._process_handle()) != 0:
                process.kill()
                process.communicate()
                raise OSError('its process could not be resumed')

        def _process_handle(self) -> Any:
            import ctypes

            return ctypes.c_void_p(int(self.process._handle))

        def _make(self) -> Any:
            """Return a job object that holds the process and dies with its handle, or None."""
            import ctypes
            import struct

            made = ctypes.c_void_p(self.kernel.CreateJobObjectW(None, None))
            # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: LimitFlags stands behind two 64-bit times.
            limits = ctypes.create_string_buffer(144 if sys.maxsize > 2 ** 32 else 112)
            kill_on_job_close, extended_limit_information = 0x2000, 9
            struct.pack_into('<I', limits, 16, kill_on_job_close)
            if made and self.kernel.SetInformationJobObject(
                    made, extended_limit_information, limits, len(limits)
            ) and self.kernel.AssignProcessToJobObject(made, self._process_handle()):
                return made
            self.kernel.CloseHandle(made)
            return None

        def has_ended(self) -> bool:
            if self.process.poll() is None:
                return False
            self.kill()
            return True

        def ask(self) -> bool:
            # os.kill would go on to TerminateProcess where the event cannot be sent.
            return bool(self.kernel.GenerateConsoleCtrlEvent(_CTRL_BREAK, self.process.pid))

        def kill(self) -> None:
            if self.object is not None:
                self.kernel.TerminateJobObject(self.object, 1)
            elif self.process.poll() is None:
                self.process.kill()

        def is_empty(self) -> bool:
            import ctypes
            import struct

            if self.object is None:
                return True
            # JOBOBJECT_BASIC_ACCOUNTING_INFORMATION: ActiveProcesses stands at byte 40.
            counts = ctypes.create_string_buffer(48)
            basic_accounting_information = 1
            self.kernel.QueryInformationJobObject(
                self.object, basic_accounting_information, counts, len(counts), None)
            return bool(struct.unpack_from('<I', counts, 40) == (0,))

        def close(self) -> None:
            if self.object is not None:
                self.kernel.CloseHandle(self.object)


def _tree_of(process: Any) -> _WindowsTree:
    if sys.platform == 'win32':  # pragma: no cover - run under wine by tests/windows
        return JobObject(process)
    return _PosixTree(process)
