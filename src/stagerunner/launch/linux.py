"""Start processors on Linux: through keepers, each isolated once and then used again.

The runner talks to a keeper over an inherited pair of sockets and hands it the
pipes and the lock of each job.  It adopts what a lost keeper leaves behind and
kills it, so that nothing of a run survives in silence.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import lru_cache

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.channel import Channel
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Fence
from stagerunner.launch.job import Job
from stagerunner.launch.job import Usage
from stagerunner.launch.nursery import Begun
from stagerunner.launch.nursery import Kind
from stagerunner.launch.nursery import ask_to_split
from stagerunner.launch.nursery import begin
from stagerunner.launch.nursery import in_bytes
from stagerunner.launch.nursery import kind_of
from stagerunner.launch.nursery import split_off
from stagerunner.launch.orphans import Orphans
from stagerunner.launch.posix import Piped
from stagerunner.launch.posix import PosixLauncher
from stagerunner.launch.watch import Tree
from stagerunner.launch.watch import command_of
from stagerunner.launch.watch import environment_of
from stagerunner.launch.watch import start_fault
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Deque
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

_NO_FENCE = Fence()

#: A keeper that has not reported after so long is broken, in seconds.
_READY_S = 30.0

#: Exit code of a job whose keeper was lost, as if the job had been killed.
_LOST = -9


@lru_cache(maxsize=None)
def is_binary(python: Optional[str]) -> bool:
    """True for an interpreter that is a program of its own.

    A script that starts one (a wrapper, a shim) may do something for each
    processor: it is executed afresh every time.
    """
    path = python or ''
    if os.sep not in path:
        import shutil

        path = shutil.which(path) or ''
    try:
        with open(path, 'rb') as program:
            return program.read(4) == b'\x7fELF'
    except OSError:
        return False


class LinuxLauncher(PosixLauncher):
    """Jobs as forks of keepers; `is_warm` says whether Python processors are forked warm."""

    def __init__(self, clock: Clock, stop: Stop, *, is_warm: bool = True,
                 begun: Optional[Begun] = None):
        super().__init__(clock, stop)
        self.is_warm = is_warm
        self.idle: List[KeeperHandle] = []
        #: A keeper that was begun for the first job and has not reported yet.
        self.coming = KeeperHandle(begun) if begun is not None else None
        self.busy: List[KeeperHandle] = []
        #: The first keepers of each kind, where several are needed: they have no jobs, but the
        #: others are forked from them, which takes a tenth of the time of two starts.
        self.first: Dict[Kind, KeeperHandle] = {}
        self.n_jobs = 1
        #: What surrounds the jobs of keepers of a kind, as the first of them reported.
        self.fences: Dict[Kind, Fence] = {}
        self.orphans = Orphans()

    def _launch(self, job: Job) -> Piped:
        self.orphans.adopt()
        kind = kind_of(job.python, job.env, is_fenced=job.is_fenced)
        keeper = self._keeper(kind, job)
        running = keeper.run(job, self.is_warm and is_binary(job.python),
                             self.clock.monotonic(), self.fences[kind],
                             is_alone=self.n_jobs == 1)
        self.busy.append(keeper)
        return running

    def _keeper(self, kind: Kind, job: Job) -> KeeperHandle:
        """Return an idle keeper of this kind, a new one where there is none."""
        for keeper in [keeper for keeper in self.idle if keeper.kind == kind]:
            self.idle.remove(keeper)
            if not _is_readable(keeper.channel):
                return keeper
            # It has nothing to say: it is gone.
            keeper.close()
        if self.n_jobs == 1 or not self.orphans.fall_to_us:
            return self._new(kind, job.env)
        if kind not in self.first:
            self.first[kind] = self._new(kind, job.env)
        try:
            return self.first[kind].split()
        except OSError:
            self.first.pop(kind).close()
            return self._new(kind, job.env)

    def _new(self, kind: Kind, env: Dict[str, str]) -> KeeperHandle:
        coming, self.coming = self.coming, None
        if coming is not None and coming.kind != kind:
            coming.give_up()
            coming = None
        keeper = (coming or KeeperHandle(begin(kind, env))).ready()
        self.fences.setdefault(kind, keeper.fence)
        return keeper

    def expect(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def prepare(self, python: str, env: Dict[str, str], n_jobs: int) -> None:
        try:
            if self.coming is None:
                self.coming = KeeperHandle(begin(kind_of(python, env), env))
            if n_jobs > 1 and self.orphans.adopt():
                # It forks them as soon as it has come, whatever is at work here then.
                self.coming.ask_for(n_jobs)
        except OSError:
            # Told when there is a job that needs it.
            pass

    def fence(self, python: Optional[str], env: Dict[str, str]) -> Fence:
        kind = kind_of(python, env)
        if kind not in self.fences:
            keeper = self._new(kind, env)
            if self.n_jobs == 1:
                self.idle.append(keeper)
            else:
                self.first[kind] = keeper
        return self.fences[kind]

    def finish(self, running: Piped) -> Exit:
        ended = super().finish(running)
        assert isinstance(running, _Kept)
        keeper = running.keeper
        self.busy.remove(keeper)
        if keeper.is_lost:
            keeper.close()
            # Nobody but those who are known is spared.
            self._take_all_asked_for()
            self.orphans.sweep([other.process.pid for other in self._keepers()])
        else:
            self.idle.append(keeper)
        return ended

    def _take_all_asked_for(self) -> None:
        for first in self.first.values():
            self.idle += first.all_asked_for()

    def _keepers(self) -> List[KeeperHandle]:
        return [*self.idle, *self.busy, *self.first.values()]

    def close(self) -> None:
        if self.coming is not None:
            self.coming.give_up()
        self._take_all_asked_for()
        keepers = self._keepers()
        for keeper in keepers:
            # All at once; then each is waited for.
            keeper.channel.close()
        for keeper in keepers:
            keeper.close()
        self.idle, self.busy, self.first, self.coming = [], [], {}, None
        self.n_jobs = 1
        self.orphans.let_go()
        super().close()


class KeeperHandle:
    """The runner's end of one keeper."""

    def __init__(self, begun: Begun, fence: Fence = _NO_FENCE):
        self.begun = begun
        self.kind, self.process, self.channel = begun
        #: What surrounds its jobs, once it has reported.
        self.fence = fence
        self.is_lost = False
        #: Channels to keepers that this one was asked to fork, the first one first.
        self.asked: Deque[Channel] = deque()

    def ready(self) -> KeeperHandle:
        """Wait for the report of a keeper that was begun; raises `OSError` when none comes."""
        import select

        is_there = select.select([self.channel], [], [], _READY_S)[0]
        message = _received(self.channel) if is_there else None
        if message is None:
            # Who never came has forked nobody.
            while self.asked:
                self.asked.popleft().close()
            fault = self.fault()
            self.close()
            raise OSError(errno.ECHILD, fault)
        self.fence = Fence(*message[1:])
        return self

    def give_up(self) -> None:
        """End a keeper that has not reported, and those that it was asked for."""
        if not self.asked:
            self.begun.give_up()
            return
        try:
            self.ready().close()
        except OSError:
            # It is gone by itself, and so are they.
            pass

    def ask_for(self, n_keepers: int) -> None:
        """Let so many keepers be forked from this one, as soon as it is ready.

        Only for who adopts orphans.  Raises `OSError` when it is gone.
        """
        for _ in range(n_keepers):
            self.asked.append(ask_to_split(self.begun))

    def split(self) -> KeeperHandle:
        """Return a keeper forked from this one; raises `OSError` when there is none."""
        if not self.asked:
            self.ask_for(1)
        return KeeperHandle(split_off(self.begun, self.asked.popleft()), self.fence)

    def all_asked_for(self) -> List[KeeperHandle]:
        """Return the keepers that were asked for and not taken, as far as they came."""
        found = []
        while self.asked:
            try:
                found.append(self.split())
            except OSError:
                # It is gone, or could not fork: then not for the next one either.
                continue
        return found

    def fault(self) -> str:
        """End a keeper that has not come to its report, and return what it printed instead."""
        self.process.kill()
        pipe = self.process.stdout
        said = pipe.read().decode('utf-8', 'backslashreplace') if pipe else ''
        return f'its keeper did not start: {said.strip()[-500:]}'

    def run(self, job: Job, is_warm: bool, now: float, fence: Fence, *,
            is_alone: bool) -> _Kept:
        """Hand a job over that has to have a fence; raises `OSError` when the keeper is gone.

        One that is alone, because there is one job at a time, forks for the next one beforehand.
        """
        output, output_end = os.pipe()
        errors, errors_end = os.pipe()
        try:
            self.channel.send({
                'verb': 'run', 'argv': in_bytes(command_of(job)),
                'env': in_bytes(environment_of(job)), 'cwd': in_bytes(job.cwd),
                'warm': is_warm, 'limits': dict(job.limits), 'files': in_bytes(job.files),
                'stdin': in_bytes(job.stdin), 'fenced': fence.is_enforced, 'alone': is_alone,
            }, [output_end, errors_end, *job.inherited])
        except OSError:
            os.close(output)
            os.close(errors)
            self.close()
            raise
        finally:
            os.close(output_end)
            os.close(errors_end)
        return _Kept(job, self, (output, errors), now)

    def close(self) -> None:
        """End the keeper: it sees that nobody is there any more, and takes its job along."""
        for other in self.all_asked_for():
            other.close()
        self.channel.close()
        if self.process.stdout:
            self.process.stdout.close()
        self.process.wait()


class _KeptTree(Tree):
    """The processes of one job, in the care of a keeper."""

    def __init__(self, keeper: KeeperHandle):
        self.keeper = keeper
        self.returncode: Optional[int] = None
        #: Why the process could not be made.
        self.error: Optional[OSError] = None
        self.usage = Usage()

    def has_ended(self) -> bool:
        """True once the keeper reported the end, or is itself no more."""
        while self.returncode is None and _is_readable(self.keeper.channel):
            message = _received(self.keeper.channel)
            if message is None:
                self.keeper.is_lost = True
                self.returncode = _LOST
            elif message[0] == 'broken':
                self.error = OSError(message[1], os.strerror(message[1]))
            elif message[0] == 'ended':
                self._take(*message[1:])
        return self.returncode is not None

    def _take(self, status: int, usage: Tuple[Any, ...], leftovers: int) -> None:
        """Turn the words of wait4(2) into what is recorded."""
        self.returncode = (-os.WTERMSIG(status) if os.WIFSIGNALED(status)
                           else os.WEXITSTATUS(status))
        self.usage = Usage(cpu_s=usage[0] + usage[1], peak_bytes=usage[2] * 1024,
                           written_bytes=usage[10] * 512, leftovers=leftovers)

    def ask(self) -> bool:
        return self._tell('ask')

    def kill(self) -> None:
        self._tell('kill')

    def _tell(self, verb: str) -> bool:
        try:
            self.keeper.channel.send({'verb': verb})
        except OSError:
            # The keeper is gone; `has_ended` finds out.
            pass
        return True


class _Kept(Piped):
    """A job that a keeper forked."""

    def __init__(self, job: Job, keeper: KeeperHandle, pipes: Tuple[int, int], now: float):
        tree = _KeptTree(keeper)
        super().__init__(job, tree, tree, pipes, now)
        self.kept = tree
        self.keeper = keeper

    def events(self) -> List[int]:
        return [self.keeper.channel.fileno()]

    def close(self, now: float) -> Exit:
        if self.kept.error is not None:
            self.start_error = start_fault(self.kept.error, is_program=self.job.python is None)
        self.usage = self.kept.usage
        return super().close(now)


def _received(channel: Channel) -> Any:
    """Return the next message, None when nobody is there any more."""
    try:
        return channel.receive()[0]
    except OSError:
        # It is gone, and did not read all that it was told.
        return None


def _is_readable(channel: Any) -> bool:
    import select

    return bool(select.select([channel], [], [], 0)[0])
