"""The log of a run for people and their scripts: `[2025-11-14 03:16:29] [WARNING] …`."""

from __future__ import annotations

import os

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.events import EntryEnded
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
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
from stagerunner.events import TaskThrottled
from stagerunner.events import Warned
from stagerunner.events import in_one_line
from stagerunner.files import append
from stagerunner.files import make_folder
from stagerunner.plan import MAYBE
from stagerunner.plan import SKIP
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.console import reasons_text
from stagerunner.schema import printable

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import Tuple

#: What `--log-level` may be, from much to little; a success counts as information.
LEVELS = ('INFO', 'WARNING', 'ERROR')

#: Those that a config may name as well are taken for the nearest that there is.
_RANK = {'DEBUG': 0, 'INFO': 0, 'SUCCESS': 0, 'WARNING': 1, 'ERROR': 2, 'CRITICAL': 2}

#: Level and text of each event that is worth a line.
_LINES: Dict[type, Tuple[str, Callable[[Any], str]]] = {
    RunStarted: ('INFO', lambda event: f'run {event.run_id} of {event.pipeline} with '
                                       f'{event.workers} workers'),
    EntryEnded: ('INFO', lambda event: f'entry {event.artifact_id}: {event.outcome}'),
    TaskStarted: ('INFO', lambda event: f'{event.task}: attempt {event.attempt} '
                                        f'({reasons_text(event.reasons)})'),
    TaskSkipped: ('INFO', lambda event: f'{event.task}: skipped ({event.why})'),
    TaskResumed: ('INFO', lambda event: f'{event.task}: resumed at line {event.line_offset}'),
    TaskRestarted: ('INFO', lambda event: f'{event.task}: starts at line 0: {event.why}'),
    TaskThrottled: ('INFO', lambda event: f'{event.task}: waited {event.waited_s:.3f}s for '
                                          f'{event.name}'),
    TaskPlanned: ('INFO', lambda event: (
        f"[DRY-RUN] Would {'skip' if event.decision == SKIP else 'execute'}: {event.task} "
        f"({'maybe: ' if event.decision == MAYBE else ''}{reasons_text(event.reasons)})")),
    TaskDone: ('SUCCESS', lambda event: f'{event.task}: done in {event.duration_s:.3f}s'),
    StageEnded: ('INFO', lambda event: f'{event.stage}: ' + ', '.join(
        f'{count} {status}' for status, count in sorted(event.counts.items()))),
    TaskRetrying: ('WARNING', lambda event: (
        f'{event.task}: attempt {event.attempt} of {event.max_attempts} in {event.delay_s:.3g}s '
        f'({event.error_class}: {in_one_line(event.error)})')),
    Warned: ('WARNING', lambda event: (f'{event.task}: ' if event.task else '') + event.message),
    TaskCancelled: ('WARNING', lambda event: f'{event.task}: cancelled ({event.why})'),
    TaskBlocked: ('WARNING', lambda event: f'{event.task}: blocked ({event.why})'),
    TaskInterrupted: ('WARNING', lambda event: f'{event.task}: interrupted'),
    TaskFailed: ('ERROR', lambda event: f'{event.task}: failed: {event.error}'),
}


class LogFile(Sink):
    """Appends a line per event to a file, as it happens; several runs may share the file."""

    def __init__(self, path: str, level: str, clock: Clock):
        self.path = path
        self.lowest = _RANK[level]
        self.clock = clock
        try:
            make_folder(os.path.dirname(os.path.abspath(path)))
            self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND
                                      | getattr(os, 'O_CLOEXEC', 0), 0o666)
        except OSError as error:
            raise StateError(path, os_fault(error)) from error

    def receive(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            level = 'SUCCESS' if event.state == 'completed' else 'ERROR'
            self._line(level, f'run {event.run_id}: {event.state} in {event.duration_s:.3f}s')
        elif type(event) in _LINES:
            level, text = _LINES[type(event)]
            self._line(level, text(event))

    def receive_skips(self, event: TasksSkipped) -> None:
        level, text = _LINES[TaskSkipped]
        self._line(level, *[text(skipped) for skipped in event.singly()])

    def _line(self, level: str, *texts: str) -> None:
        if _RANK[level] < self.lowest:
            return
        time = stamp(self.clock.now())[:19].replace('T', ' ')
        lines = ''.join([f'[{time}] [{level}] {printable(text)}\n' for text in texts])
        try:
            append(self.descriptor, lines.encode('utf-8', 'backslashreplace'), durable=False)
        except OSError as error:
            raise StateError(self.path, os_fault(error)) from error

    def close(self) -> None:
        os.close(self.descriptor)
