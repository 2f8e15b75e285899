"""What a run prints: one line per fact, or one JSON object per event.

Lines about tasks and runs go to stdout, warnings and the first failure with
the end of its log to stderr.  A reader that goes away (`| head`) is no error:
the run goes on in silence.
"""

from __future__ import annotations

import json
import os

from stagerunner.clock import Clock
from stagerunner.events import MATCHED
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskAdopted
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskPlanned
from stagerunner.events import TaskRestarted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import TaskWaiting
from stagerunner.events import Warned
from stagerunner.events import in_one_line
from stagerunner.events import stage_of
from stagerunner.records import TYPE_CHECKING
from stagerunner.schema import printable
from stagerunner.wording import plain

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import TextIO
    from typing import Tuple

#: A fan-out over more tasks has no line for each that went well.
LONG = 50

#: Instead there is one for all of them, no more often than this, in seconds.
SUMMARY_S = 1.0


class Stream:
    """A text stream that may go away at any time."""

    def __init__(self, target: Optional[TextIO]):
        self.target = target

    @property
    def is_open(self) -> bool:
        """False once it is known that nobody reads any more."""
        return self.target is not None

    @property
    def is_terminal(self) -> bool:
        """True when a person looks at it."""
        try:
            return self.target is not None and self.target.isatty()
        except ValueError:
            return False

    def line(self, text: str) -> None:
        """Print one line (or several at once), unless nobody reads any more."""
        self.write(text + '\n')

    def write(self, text: str) -> None:
        """Print a text as it is, unless nobody reads any more."""
        if self.target is None:
            return
        try:
            self.target.write(text)
            self.target.flush()
        except UnicodeError:
            self.write(text.encode('ascii', 'backslashreplace').decode('ascii'))
        except (OSError, ValueError):
            self.target = None

    def raw(self, data: bytes) -> None:
        """Pass bytes on as they are, unless nobody reads any more."""
        buffer = getattr(self.target, 'buffer', None)
        if buffer is None:
            self.write(data.decode('utf-8', 'backslashreplace'))
            return
        try:
            buffer.write(data)
            buffer.flush()
        except (OSError, ValueError):
            self.target = None


def may_draw(out: Stream, environment: Mapping[str, str]) -> bool:
    """True for a terminal that is said to be more than a typewriter."""
    if not out.is_terminal:
        return False
    return os.name == 'nt' or environment.get('TERM', '') not in ('', 'dumb')


class Console(Sink):
    """Plain lines, as in the contract."""

    def __init__(self, out: Stream, err: Stream, clock: Clock, *, is_quiet: bool = False):
        self.out = out
        self.err = err
        self.clock = clock
        self.is_quiet = is_quiet
        self.first_failure: Optional[TaskFailed] = None
        #: Fan-outs that are too long for a line per task: how many tasks, how many of them ended.
        self.long: Dict[str, List[int]] = {}
        self.next_summary = 0.0

    def receive(self, event: Event) -> None:
        if isinstance(event, StageExpanded) and event.tasks > LONG:
            self.long[event.stage] = [event.tasks, 0, 0]
        if self._is_summed_up(event):
            return
        if isinstance(event, TaskFailed) and self.first_failure is None:
            self.first_failure = event
        if isinstance(event, Warned):
            whose = f'{printable(event.task)}: ' if event.task else ''
            self.err.line(f'warning: {whose}{printable(event.message)}')
        elif isinstance(event, TaskRestarted):
            self.err.line(f'note: {event.task} starts at line 0: {printable(event.why)}')
        elif type(event) in _LINES and not (self.is_quiet and type(event) in _CHATTER):
            self.out.line(_LINES[type(event)](event))
        if isinstance(event, RunEnded):
            self._tell_first_failure()

    def receive_skips(self, event: TasksSkipped) -> None:
        found = self.long.get(stage_of(event.tasks[0]))
        if found is not None:
            found[1] += len(event.tasks)
            self._sum_up(stage_of(event.tasks[0]), found)
        elif not self.is_quiet:
            self.out.line('\n'.join([f'[SKIP] {task} ({event.why})' for task in event.tasks]))

    def _is_summed_up(self, event: Event) -> bool:
        """True for an event of a long fan-out that is told by a line for many, now and then."""
        if not isinstance(event, (TaskSkipped, TaskStarted, TaskDone, TaskFailed)):
            return False
        found = self.long.get(stage_of(event.task))
        if found is None or isinstance(event, TaskStarted):
            return found is not None
        found[1] += 1
        found[2] += isinstance(event, TaskFailed)
        self._sum_up(stage_of(event.task), found)
        return not isinstance(event, TaskFailed)

    def _sum_up(self, stage: str, found: List[int]) -> None:
        now = self.clock.monotonic()
        if now >= self.next_summary and not self.is_quiet:
            self.next_summary = now + SUMMARY_S
            failed = f', {found[2]} failed' if found[2] else ''
            self.out.line(f'[{found[1]}/{found[0]}] {stage}{failed}')

    def _tell_first_failure(self) -> None:
        """End with what went wrong first: the error, the log, its last lines."""
        failure = self.first_failure
        if failure is None:
            return
        self.err.line(f'first failure: {failure.task}: {_headline(failure.error)}')
        if failure.log:
            self.err.line(f'log: {failure.log}')
        # Told also when a full disk refused the log.
        for line in failure.tail:
            self.err.line(f'  | {printable(line)}')


def reasons_text(reasons: Tuple[Reason, ...]) -> str:
    """Return reasons for one line: the first, and how many more there are."""
    first = printable(str(reasons[0])) if reasons else ''
    return first if len(reasons) < 2 else f'{first} and {len(reasons) - 1} more'


def _failed(event: TaskFailed) -> str:
    return f'[FAIL] {event.task}: {printable(in_one_line(event.error)) or "unknown error"}'


def _headline(error: str) -> str:
    return printable(error.partition('\n')[0])


def _resumed(event: TaskResumed) -> str:
    note = f' ({event.note})' if event.note else ''
    return f'[RESUME] {event.task} at line {event.line_offset}{note}'


#: What a stage with many tasks is called when not all of them are done.
_WORST_FIRST = (('failed', 'FAIL'), ('interrupted', 'INTERRUPTED'), ('blocked', 'BLOCKED'),
                ('cancelled', 'CANCELLED'))


def _fan_out(event: StageEnded) -> str:
    total = sum(event.counts.values())
    if not total:
        return f'[SKIP] {event.stage} (no tasks)'
    if set(event.counts) <= {'skipped'}:
        return f'[SKIP] {event.stage} ({total} tasks, {MATCHED})'
    counts = ', '.join(f'{count} {status}' for status, count in sorted(event.counts.items()))
    word = next((word for status, word in _WORST_FIRST if event.counts.get(status)), 'DONE')
    return f'[{word}] {event.stage}: {counts} in {event.duration_s:.3f}s'


_LINES: Dict[type, Callable[[Any], str]] = {
    TaskSkipped: lambda event: f'[SKIP] {event.task} ({event.why})',
    TaskStarted: lambda event: f'[RUN] {event.task} ({reasons_text(event.reasons)})',
    TaskResumed: _resumed,
    TaskDone: lambda event: f'[DONE] {event.task} in {event.duration_s:.3f}s',
    TaskRetrying: lambda event: (
        f'[RETRY] {event.task} attempt {event.attempt} of {event.max_attempts} in '
        f'{event.delay_s:.3g}s ({event.error_class}: {_headline(event.error)})'),
    TaskFailed: _failed,
    TaskAdopted: lambda event: (f'[ADOPT] {event.task} ({event.outputs} '
                                f'output{"" if event.outputs == 1 else "s"})'),
    TaskBlocked: lambda event: f'[BLOCKED] {event.task} ({event.why})',
    TaskWaiting: lambda event: f'[WAIT] {event.task} (nothing left of {printable(event.name)})',
    TaskPlanned: lambda event: (
        f'{event.decision:6} {event.task} ({reasons_text(event.reasons)})'),
    StageEnded: _fan_out,
    TaskInterrupted: lambda event: f'[INTERRUPTED] {event.task}',
    RunEnded: lambda event: f'Run {event.run_id} state: {event.state}',
}

#: What `--quiet` leaves out.
_CHATTER = (TaskSkipped, TaskStarted, TaskDone, TaskWaiting, StageEnded)


class JsonLines(Sink):
    """One JSON object per event, and nothing else."""

    def __init__(self, out: Stream):
        self.out = out

    def receive(self, event: Event) -> None:
        self.out.line(json.dumps(plain(event), ensure_ascii=True))

    def receive_skips(self, event: TasksSkipped) -> None:
        self.out.line('\n'.join([json.dumps(plain(skipped)) for skipped in event.singly()]))
