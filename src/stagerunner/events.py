"""What happens during a run, as frozen records, and the one-method receiver of them.

Console, metrics, checkpoint file and audit are all receivers: the engine tells
each fact once and does not know who listens.
"""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterator
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

    #: Any of the records below.
    Event = Tuple[Any, ...]
else:
    Event = tuple

#: Why a task is skipped.
MATCHED = 'idempotent key matched'


def in_one_line(error: str) -> str:
    """Return an error as its first line and what the processor said last.

    >>> in_one_line('exit code 65\\nwhile reading\\nrow 7 is bad\\n')
    'exit code 65: row 7 is bad'
    """
    lines = [line.strip() for line in error.split('\n') if line.strip()]
    return ': '.join(lines[:1] + lines[1:][-1:])


def stage_of(task: str) -> str:
    """Return the stage of a task.

    >>> stage_of('review[p7.txt]'), stage_of('gather')
    ('review', 'gather')
    """
    return task.partition('[')[0]


class Reason(NamedTuple):
    """Why a task runs, or why it starts from line 0: a cause and the two values that differ."""

    cause: str
    path: str = ''
    old: Optional[str] = None
    new: Optional[str] = None

    def __str__(self) -> str:
        return f'{self.cause}: {self.path}' if self.path else self.cause


class RunStarted(NamedTuple):
    """A run begins; `stages` are the names of all that take part in it, as declared."""

    run_id: str
    pipeline: str
    at: str
    stages: Tuple[str, ...]
    workers: int = 1
    #: Which of the stages fan out over which collection of items.
    collections: Dict[str, str] = {}
    #: Which of the stages fan out, over how many tasks as far as is known before they begin.
    fan_outs: Dict[str, int] = {}


class StageExpanded(NamedTuple):
    """It is known now over how many tasks (jobs or items) a stage fans out."""

    stage: str
    tasks: int
    has_items: bool = False
    #: Each has an `id` and, as it stands in the name of its task, an `encoded` one; not a copy.
    items: Sequence[Any] = ()


class StageEnded(NamedTuple):
    """All tasks of a fan-out are settled; `counts` has how many ended with which status."""

    stage: str
    at: str
    duration_s: float
    counts: Dict[str, int]


class TaskSkipped(NamedTuple):
    """Nothing to do: the key is equal and every output was verified."""

    task: str
    at: str
    why: str
    key: str
    done_at: str


class TasksSkipped(NamedTuple):
    """Many tasks were verified unchanged at once: of each column one entry per task.

    They are plain stages, or members of one fan-out.
    """

    tasks: Sequence[str]
    at: str
    why: str
    keys: Sequence[str]
    done_at: Sequence[str]

    def singly(self) -> Iterator[TaskSkipped]:
        """Yield the same as an event per task.

        >>> list(TasksSkipped(['a'], 'now', 'same', ['k'], ['then']).singly())
        [TaskSkipped(task='a', at='now', why='same', key='k', done_at='then')]
        """
        for task, key, done_at in zip(self.tasks, self.keys, self.done_at):
            yield TaskSkipped(task, self.at, self.why, key, done_at)


class TaskStarted(NamedTuple):
    """An attempt is about to be launched."""

    task: str
    at: str
    attempt: int
    reasons: Tuple[Reason, ...]


class TaskResumed(NamedTuple):
    """An attempt goes on where one was stopped; `note` is empty when outputs were verified."""

    task: str
    line_offset: int
    note: str


class TaskRestarted(NamedTuple):
    """An attempt starts from line 0 although there is progress of some kind; `why` says so."""

    task: str
    why: str


#: What the figures of an attempt's `usage` are called in JSON.
USAGE = ('cpuSec', 'peakMemoryBytes', 'writtenBytes', 'leftoverProcesses')


class AttemptEnded(NamedTuple):
    """One try of a task ended, in success or failure; `delay_s` is the wait that follows it."""

    task: str
    attempt: int
    status: str
    started_at: str
    duration_s: float
    exit_code: Optional[int] = None
    error_class: Optional[str] = None
    error: Optional[str] = None
    delay_s: Optional[float] = None
    line_offset: int = 0
    is_verified: bool = True
    log: Optional[str] = None
    isolation: Dict[str, Any] = {}
    #: CPU seconds, peak bytes of memory, bytes written, processes left behind.
    usage: Tuple[Any, ...] = (None, None, None, 0)


class TaskWaiting(NamedTuple):
    """An attempt cannot start yet: of `name`, a limit or a quota, nothing is left."""

    task: str
    name: str
    wait_s: float


class TaskThrottled(NamedTuple):
    """An attempt could start only after a wait for a permit or for tokens named `name`."""

    task: str
    name: str
    waited_s: float


class TaskRetrying(NamedTuple):
    """An attempt failed and number `attempt` is due in `delay_s` seconds."""

    task: str
    attempt: int
    max_attempts: int
    delay_s: float
    error_class: str
    error: str


class TaskDone(NamedTuple):
    """A task succeeded and its outputs, manifest and marker are durable."""

    task: str
    at: str
    duration_s: float
    attempts: int
    key: str
    line_offset: Optional[int] = None
    is_staged: bool = True
    #: What its key was made of, and its outputs, as `evidence` has them.
    made: Dict[str, Any] = {}


class TaskAdopted(NamedTuple):
    """Outputs that were there already were recorded as those of a task; nothing was run."""

    task: str
    at: str
    key: str
    outputs: int
    #: What its key was made of, and its outputs, as `evidence` has them.
    made: Dict[str, Any] = {}


class TaskFailed(NamedTuple):
    """A task failed for good; `log` is the path of what its last attempt printed, or empty."""

    task: str
    at: str
    duration_s: float
    attempts: int
    error_class: str
    error: str
    log: str
    tail: Tuple[str, ...]


class TaskInterrupted(NamedTuple):
    """A task was ended because the run was asked to end."""

    task: str
    at: str
    duration_s: float
    attempts: int


class TaskCancelled(NamedTuple):
    """A task never started because an earlier one failed or the run was asked to end."""

    task: str
    why: str


class TaskBlocked(NamedTuple):
    """A task cannot run: something that it needs did not succeed, or its stage was given up."""

    task: str
    why: str


class TaskPlanned(NamedTuple):
    """What a run would do with a task: run, skip, resume, or maybe; nothing was done."""

    task: str
    stage: str
    decision: str
    reasons: Tuple[Reason, ...]
    #: What its last success took, where there was one.
    estimate_s: Optional[float] = None
    #: The error that it could only end in.
    trouble: str = ''


class EntryLeased(NamedTuple):
    """An entry of the queue was handed to this run; `encoded` is its id in the names of tasks."""

    artifact_id: str
    at: str
    attempt: int
    encoded: str


class EntryEnded(NamedTuple):
    """Nothing more is done for an entry in this run.

    `outcome` is how it was finished (`done`, `skipped`, `error`), `retry` (it
    was queued again, for `delay_s` later), `handed back` (that was no attempt)
    or `lost` (its lease ran out, and somebody else has it).
    """

    artifact_id: str
    at: str
    attempt: int
    outcome: str
    error: Optional[str] = None
    delay_s: Optional[float] = None


class QueueCounted(NamedTuple):
    """How many entries of the queue are in each state; told now and then, when it has changed."""

    at: str
    queued: int
    in_progress: int
    done: int
    skipped: int
    error: int


class Warned(NamedTuple):
    """Something that a person should look at; the run goes on."""

    task: str
    message: str


class HookEnded(NamedTuple):
    """A command that is called at the end of a run has ended, or could not begin (no code)."""

    hook: str
    at: str
    duration_s: float
    exit_code: Optional[int] = None
    error: Optional[str] = None
    log: Optional[str] = None


class RunEnded(NamedTuple):
    """The last event: `state` is completed, failed or interrupted."""

    run_id: str
    at: str
    duration_s: float
    state: str
    #: The hash of the audit's last entry for this run; empty in the audit itself.
    audit_head: str = ''


class Sink:
    """Receives every event of a run, one at a time, in the order in which they happened.

    `receive` never gets a `TasksSkipped`: who does not override `receive_skips`
    is told of each task by itself.
    """

    #: True: of a plan it also hears which items there are.
    hears_expansions = False

    def receive(self, event: Event) -> None:
        """Take note of one event."""
        raise NotImplementedError

    def receive_skips(self, event: TasksSkipped) -> None:
        """Take note of many skips at once: faster, where there is a way, than one by one."""
        for skipped in event.singly():
            self.receive(skipped)

    def idle(self) -> Optional[float]:
        """Pass on what is held back: the run is about to wait.

        Return after how many seconds, at the latest, to be called again while
        nothing happens; None: there is no need to.
        """
        return None

    def close(self) -> None:
        """Write what was gathered; called once, after `RunEnded`."""
