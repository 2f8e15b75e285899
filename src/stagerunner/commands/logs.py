"""Show what processors printed, also while they do, and change nothing."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import List
from typing import Optional

from stagerunner.commands.queue.opening import names_of
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.events import stage_of
from stagerunner.records import NamedTuple
from stagerunner.report.console import Stream
from stagerunner.report.printed import Attempts
from stagerunner.report.printed import Follower
from stagerunner.report.printed import LogFile
from stagerunner.report.printed import logs_of
from stagerunner.report.sight import find_run
from stagerunner.schema import nearest
from stagerunner.schema import printable
from stagerunner.sharing import pause
from stagerunner.state.names import StateNames
from stagerunner.state.run import is_dead
from stagerunner.state.run import known_runs

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py logs
  python src/pipeline_runner.py logs stage_upper --follow
  python src/pipeline_runner.py logs 'review[paper_07.txt]' --run nightly --attempt 1
'''

#: Between two looks of `--follow`, in seconds.
FOLLOW_S = 0.25


def add_arguments(parser: Any) -> None:
    """Add what is asked for."""
    parser.add_argument('task', metavar='TASK', nargs='?',
                        help='a stage, or one of its tasks: stage[item] (default: list the logs)')
    parser.add_argument('--run', metavar='ID', help='the run (default: the latest)')
    parser.add_argument('--attempt', metavar='N', type=int,
                        help='the log of this attempt (default: of the last one)')
    parser.add_argument('--follow', action='store_true',
                        help='go on with what is printed until the task or the run ends')


def main(arguments: Any, system: Any) -> int:
    """Print a log, or the list of those there are."""
    names = names_of(arguments)
    records = known_runs(names)
    if arguments.run is not None:
        run_id = find_run(records, arguments.run).run_id
    elif not records:
        raise UsageError('nothing has run yet')
    else:
        run_id = records[-1].run_id
    asked = _Asked(names, run_id, arguments.task, arguments.attempt)
    attempts = Attempts(names, run_id)
    attempts.look()
    found = asked.logs()
    _check(asked, found, attempts)
    if arguments.follow:
        _follow(asked, attempts, arguments, system)
    elif arguments.task is None or not any(log.task == arguments.task for log in found):
        _list(asked, found, attempts, arguments, system)
    else:
        printer = _Printer(arguments, system)
        log = [log for log in found if log.task == arguments.task][-1]
        printer.tell(log, Follower(log.path).news())
        printer.end()
    return OK


class _Asked(NamedTuple):
    """What somebody wants to see."""

    names: StateNames
    run_id: str
    task: Optional[str]
    attempt: Optional[int]

    @property
    def is_alive(self) -> bool:
        return not is_dead(os.path.dirname(self.names.folder), self.run_id)

    def covers(self, task: str) -> bool:
        """True for the task that is asked for, and for all tasks of the stage that is."""
        return self.task in (None, task, stage_of(task))

    def logs(self) -> List[LogFile]:
        """Return the logs that are asked for, as there are by now."""
        return [log for log in logs_of(self.names, self.run_id)
                if self.covers(log.task) and self.attempt in (None, log.attempt)]


def _check(asked: _Asked, found: List[LogFile], attempts: Attempts) -> None:
    """Raise `UsageError` for a task or an attempt that there is not."""
    known = sorted({log.task for log in logs_of(asked.names, asked.run_id)} | attempts.tasks)
    if asked.task is not None and not any(asked.covers(task) for task in known):
        is_run = any(asked.task == run.run_id for run in known_runs(asked.names))
        raise UsageError(f"run '{asked.run_id}' has no task '{printable(asked.task)}'"
                         + (f'; the logs of that run are those of --run {asked.task}' if is_run
                            else nearest(asked.task, known)))
    numbers = [attempt for task, attempt in attempts.ends if asked.covers(task)]
    if asked.attempt is not None and not found and asked.attempt not in numbers:
        raise UsageError(f"run '{asked.run_id}' has no attempt {asked.attempt}"
                         + (f" of '{printable(asked.task)}'" if asked.task else ''))


def _list(asked: _Asked, found: List[LogFile], attempts: Attempts, arguments: Any,
          system: Any) -> None:
    """Print which logs there are, and how the attempts ended."""
    is_alive = asked.is_alive
    rows = [(log.task, log.attempt, log.size, _end(attempts, log, is_alive), log.path)
            for log in found]
    if arguments.json:
        for task, attempt, size, end, path in rows:
            system.out.line(json.dumps({
                'runId': asked.run_id, 'task': task, 'attempt': attempt, 'sizeBytes': size,
                'status': end, 'path': asked.names.relative(path)}))
        return
    if not rows:
        said = (f"'{printable(asked.task)}' printed nothing" if asked.task
                else 'nothing was printed')
        system.err.line(f'note: {said} in run {asked.run_id}')
        return
    width = max(len(printable(row[0])) for row in rows)
    for task, attempt, size, end, path in rows:
        system.out.line(f'{printable(task).ljust(width)}  attempt {attempt}  {size:>9} bytes  '
                        f'{end:11}  {printable(asked.names.relative(path))}')


def _end(attempts: Attempts, log: LogFile, is_alive: bool) -> str:
    end = attempts.ends.get((log.task, log.attempt))
    if end == '':
        return 'running' if is_alive else 'crashed'
    return printable(end or 'unknown')


def _follow(asked: _Asked, attempts: Attempts, arguments: Any, system: Any) -> None:
    """Print what is printed, until nothing more can come."""
    printer = _Printer(arguments, system)
    followers: Dict[str, Follower] = {}
    while system.out.is_open:
        # Looked at before the logs: what was printed before the end is printed here too.
        is_over = not asked.is_alive or _is_settled(asked, attempts)
        for log in _latest(asked, followers):
            follower = followers.setdefault(log.path, Follower(log.path))
            printer.tell(log, follower.news())
        if is_over:
            break
        pause(FOLLOW_S)
        attempts.look()
    printer.end()


def _latest(asked: _Asked, followers: Dict[str, Follower]) -> List[LogFile]:
    """Return the logs that are followed: of each task the last attempt, and those begun."""
    found = asked.logs()
    last = {log.task: log.attempt for log in found}
    return [log for log in found if log.path in followers or log.attempt == last[log.task]]


def _is_settled(asked: _Asked, attempts: Attempts) -> bool:
    """True when the task, or the attempt of it, that is asked for has ended."""
    if asked.task is None or '[' not in asked.task and any(
            task != asked.task and asked.covers(task) for task in attempts.tasks):
        return False
    if asked.attempt is not None:
        return bool(attempts.ends.get((asked.task, asked.attempt)))
    return asked.task in attempts.settled


class _Printer:
    """Prints parts of logs: as they are, or line by line without control characters."""

    def __init__(self, arguments: Any, system: Any):
        self.out: Stream = system.out
        self.is_json = arguments.json
        #: Of one log alone it is known which it is.
        self.has_title = arguments.task is None
        self.log: Optional[LogFile] = None
        self.rest = b''

    def tell(self, log: LogFile, data: bytes) -> None:
        """Print what was added to a log, after its name where another one was printed before."""
        if not data:
            return
        if self.log is None or self.log.path != log.path:
            self.end()
            if (self.log or self.has_title) and not self.is_json:
                self.out.line(f'==> {printable(log.task)} attempt {log.attempt} <==')
        self.log = log
        if not self.is_json and not self.out.is_terminal:
            self.out.raw(data)
            return
        *lines, self.rest = (self.rest + data).split(b'\n')
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """Print what is left of a last line that has no end."""
        if self.rest:
            self._line(self.rest)
        self.rest = b''

    def _line(self, line: bytes) -> None:
        text = line.decode('utf-8', 'backslashreplace')
        if self.is_json and self.log is not None:
            self.out.line(json.dumps({'task': self.log.task, 'attempt': self.log.attempt,
                                      'line': text}))
        else:
            self.out.line(printable(text.rstrip('\r').expandtabs()))
