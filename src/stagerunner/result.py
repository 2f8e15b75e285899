"""What can come of an attempt, and the seam through which the scheduler gets attempts made."""

from __future__ import annotations

from stagerunner import retry
from stagerunner.errors import BUSY as BUSY_EXIT
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.errors import LockTimeout
from stagerunner.events import Reason
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Usage
from stagerunner.locks import stage_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.tasks import Group
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Any
    from typing import Container
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: How an attempt can end.
DONE, SKIPPED, BROKEN, STOPPED = 'ok', 'skipped', 'failed', 'interrupted'

#: Its processor ended well and its slot is free: its last result follows when it is durable.
ENDED = 'ended'

#: It could not begin: another run has the stage, or a permit or tokens are lacking.
BUSY, THROTTLED = 'busy', 'throttled'


class Outcome(NamedTuple):
    """How a whole run ended: the first failure, and the exit code that follows from all."""

    first_failure: Optional[str]
    exit_code: int


class Result(NamedTuple):
    """What came of one attempt; of a skip, the key and when the outputs were made.

    Of a throttled one, `error` is the name of what is lacking and `wait_s` when to
    ask again.  `exit_code` is what the runner exits with because of this result, `code`
    what the processor ended with (None when it was not started).
    """

    task: Task
    status: str
    attempt: int
    started_at: str = ''
    duration_s: float = 0.0
    reasons: Tuple[Reason, ...] = ()
    key: str = ''
    done_at: str = ''
    code: Optional[int] = None
    exit_code: int = OK
    error: str = ''
    error_class: str = ''
    log: str = ''
    tail: Tuple[str, ...] = ()
    line_offset: int = 0
    is_verified: bool = True
    is_staged: bool = True
    total_lines: Optional[int] = None
    usage: Usage = Usage()
    wait_s: float = 0.0
    #: What the processor asked for before the next attempt, in seconds.
    retry_after_s: Optional[float] = None
    isolation: Dict[str, Any] = {}
    #: What a success was made of and what it published.
    made: Dict[str, Any] = {}


class Performer:
    """What the scheduler needs to get tasks done; a dry run and tests bring another one."""

    def start(self, task: Task, attempt: int) -> Optional[Result]:
        """Begin an attempt; return its result when there is nothing to wait for."""
        raise NotImplementedError

    def wait(self, timeout_s: Optional[float]) -> List[Result]:
        """Return the results of attempts that ended, after at most so long."""
        raise NotImplementedError

    def stop(self, *, at_once: bool, only: Optional[Container[str]] = None) -> None:
        """Ask what runs, or `only` some tasks, to end; the results come from `wait` as always."""
        raise NotImplementedError

    def expect(self, group: Optional[Group]) -> None:
        """Take note of the plain stage that comes next if what is at work ends well; None: nobody.

        What was made ready for one that was expected before, and has not been started, is undone.
        """

    def let_go(self, task: str) -> None:
        """Give back what is held for this task alone: it is settled, or put off."""

    def expand(self, group: Group) -> bool:
        """Find out which tasks a stage has, when all is done that it needs; False: unknown yet."""
        group.expand()
        return True

    def passes(self, group: Group) -> bool:
        """True when it is known, and told already, that all of a stage is skipped."""
        return False

    def unchanged(self, group: Group, numbers: Sequence[int]) -> Iterator[Any]:
        """Yield members of a fan-out that need nothing, as `rollcall.Unchanged`; none: unknown."""
        return iter(())

    def gave_up(self, result: Result) -> None:
        """Take note that a task failed for good."""

    def finish(self, group: Group, *, is_ok: bool) -> None:
        """Take note that all tasks of a stage are settled, or that the run ends without them."""


def error_of(task: Task, ended: Exit) -> Tuple[str, str]:
    """Return error text and class of a processor that ended by itself or by its time-out.

    The text is empty for a success; otherwise it ends in the last lines of stderr.
    """
    lines = '\n'.join(ended.stderr_lines)
    if ended.stopped == TIMED_OUT:
        return _with_lines(f'timed out after {task.stage.timeout_s:g}s', lines), retry.TRANSIENT
    if ended.start_error:
        return f'{task.stage.processor} cannot be started: {ended.start_error}', retry.PERMANENT
    if ended.exit_code == 0:
        return '', ''
    limit = _limit_of(task, ended.exit_code)
    if limit:
        return _with_lines(f'killed by signal {-ended.exit_code}: {limit}', lines), retry.PERMANENT
    what = (f'killed by signal {-ended.exit_code}' if ended.exit_code < 0
            else f'exit code {ended.exit_code}')
    return _with_lines(what, lines), retry.classify_exit(ended.exit_code, ended.stderr_lines)


def gave_up_waiting(result: Result, waited_s: float, at: str) -> Result:
    """Return the failure of a task whose stage another run has had for so long: no attempt."""
    path = stage_lock('', result.task.stage.name).replace('\\', '/')
    error = LockTimeout(f"stage '{result.task.stage.name}'", path, waited_s, result.error)
    return result._replace(status=BROKEN, attempt=0, started_at=at, error=str(error),
                           error_class=retry.BUSY, exit_code=BUSY_EXIT)


def verdict_of(result: Result, spread: float) -> retry.Verdict:
    """Return whether there is another attempt after a failed one, by policy, but for a deadline.

    `spread` is the random part of its delay, from -1 to 1.
    """
    if result.exit_code != FAILED:
        return retry.Verdict(None, 'not a matter of trying again')
    verdict = retry.decide(result.attempt, result.error_class, result.task.stage.retry, spread)
    if verdict.delay_s is not None and result.retry_after_s is not None:
        return verdict._replace(delay_s=result.retry_after_s)
    return verdict


def _limit_of(task: Task, exit_code: int) -> str:
    """Return which of a stage's limits a signal tells of, '' when none: it would be met again."""
    resources, kind = task.stage.resources, retry.limit_of(exit_code)
    if resources.cpu_s and kind == 'cpu':
        return f'it used more than cpuSec {resources.cpu_s}'
    if resources.file_bytes and kind == 'file':
        return f'it wrote a file beyond fileMB {resources.file_bytes >> 20}'
    return ''


def _with_lines(what: str, lines: str) -> str:
    return f'{what}\n{lines}' if lines else what
