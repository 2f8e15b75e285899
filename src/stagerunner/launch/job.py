"""The seam between the engine and processes: a job goes in, an exit comes out.

One `wait` serves all running jobs, so nobody needs a thread per task.
"""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Container
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Tuple

#: Why a job was told to stop.
TIMED_OUT, INTERRUPTED = 'timed out', 'interrupted'


class Job(NamedTuple):
    """One attempt to start: everything a launcher needs and nothing else.

    `pinned` are (path, SHA-256) of the Python files whose bytes were scanned
    and hashed; the processor first.  Python processors run those bytes or none.
    """

    task: str
    argv: Tuple[str, ...]
    env: Dict[str, str]
    cwd: str
    log_path: str
    python: Optional[str]
    pinned: Tuple[Tuple[str, str], ...] = ()
    inherited: Tuple[int, ...] = ()
    timeout_s: Optional[float] = None
    grace_s: float = 5.0
    is_fenced: bool = True
    #: Readable, writable and listable paths; None: all that the user may.
    files: Optional[Tuple[Tuple[str, ...], Tuple[str, ...], Tuple[str, ...]]] = None
    #: Pairs of memory, cpu, file (bytes, seconds, bytes) or cores and a number.
    limits: Tuple[Tuple[str, int], ...] = ()
    #: The path of a file that it reads as its stdin; empty: there is nothing to read.
    stdin: str = ''
    #: Values that must not reach the log.
    secrets: Tuple[bytes, ...] = ()


class Usage(NamedTuple):
    """What a job used, as far as the system tells (None: it does not)."""

    cpu_s: Optional[float] = None
    peak_bytes: Optional[int] = None
    written_bytes: Optional[int] = None
    leftovers: int = 0


class Fence(NamedTuple):
    """Which mechanisms surround the jobs of a launcher, found out by a probe inside."""

    mechanisms: Tuple[str, ...] = ()
    is_enforced: bool = False
    landlock: int = 0
    #: Why there is nothing at all, where that is known.
    why: str = ''


class Exit(NamedTuple):
    """How a job ended: `exit_code` is minus n for signal n, `stopped` why the runner ended it."""

    task: str
    exit_code: int
    duration_s: float
    stderr_lines: Tuple[str, ...]
    tail: Tuple[str, ...]
    log_path: str
    stopped: str = ''
    printed_bytes: int = 0
    start_error: str = ''
    usage: Usage = Usage()


class Launcher:
    """Starts jobs and reports their ends; an implementation per kind of system."""

    def expect(self, n_jobs: int) -> None:
        """Be told that at most so many jobs are going to be at work at once."""

    def prepare(self, python: str, env: Dict[str, str], n_jobs: int) -> None:
        """Begin with what fenced Python jobs are going to wait for, if there is such.

        So many of them, from one up to what `expect` was told, are sure to be started as soon as
        the run begins.
        """

    def start(self, job: Job) -> Optional[Exit]:
        """Start a job; return an exit at once when it cannot even be started."""
        raise NotImplementedError

    def wait(self, timeout_s: Optional[float]) -> List[Exit]:
        """Return the jobs that ended, after at most so long; early when a stop is requested."""
        raise NotImplementedError

    def stop_all(self, why: str, *, at_once: bool = False,
                 only: Optional[Container[str]] = None) -> None:
        """Ask all jobs, or `only` those of some tasks, to end; kill them after their grace.

        Or at once.
        """
        raise NotImplementedError

    def fence(self, python: Optional[str], env: Dict[str, str]) -> Fence:
        """Return the network fence that jobs of this kind get; by default there is none."""
        return Fence()

    def close(self) -> None:
        """Give back what was kept for further jobs; called when a run is over."""
