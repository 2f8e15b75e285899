"""Tell how runs stand, from the outside, and change nothing."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict
from typing import List
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.commands.queue.opening import names_of
from stagerunner.commands.queue.opening import opened_if_there
from stagerunner.errors import OK
from stagerunner.errors import RunnerError
from stagerunner.errors import UsageError
from stagerunner.report.console import may_draw
from stagerunner.report.overview import MOST_ROWS
from stagerunner.report.overview import Sources
from stagerunner.report.overview import duration
from stagerunner.report.overview import overview
from stagerunner.report.sight import STATUSES
from stagerunner.report.sight import Seen
from stagerunner.report.sight import Sight
from stagerunner.report.sight import find_run
from stagerunner.report.sources import sources_of
from stagerunner.report.terminal import Terminal
from stagerunner.report.terminal import can_be_drawn_on
from stagerunner.schema import printable
from stagerunner.sharing import pause
from stagerunner.state.names import StateNames
from stagerunner.state.run import known_runs

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py status
  python src/pipeline_runner.py status nightly --watch
'''

#: So many runs are listed without `--limit`.
LISTED = 10

#: Between two looks of `--watch`, in seconds: where it is drawn, and where lines are printed.
DRAWN_S = 0.5
PRINTED_S = 1.0

_HEADINGS = ('RUN', 'STATE', 'STARTED (UTC)', 'TOOK', 'OK', 'SKIPPED', 'FAILED', 'NOT RUN')


def add_arguments(parser: Any) -> None:
    """Add what is asked about, and how often."""
    parser.add_argument('run', metavar='RUN', nargs='?',
                        help='the id of a run (default: the last ones)')
    parser.add_argument('--watch', action='store_true',
                        help='look again and again until nothing runs any more')
    parser.add_argument('--limit', metavar='N', type=int, default=LISTED,
                        help='list so many runs, the latest (default: %(default)s)')


def main(arguments: Any, system: Any) -> int:
    """Print how the runs stand; one that was killed is `crashed`."""
    if arguments.limit < 1:
        raise UsageError(f'--limit: expected a whole number above 0, got {arguments.limit}')
    view = _View(arguments, names_of(arguments))
    if arguments.watch:
        _watch(view, system)
    else:
        _print(view, view.look(), system)
    return OK


class _View:
    """What `status` shows: the runs that were asked for, and the queue."""

    def __init__(self, arguments: Any, names: StateNames):
        self.arguments = arguments
        self.names = names
        self.root = os.path.dirname(names.folder)
        self.clock = Clock()
        self.sources: Sources = sources_of(names)
        self.sights: Dict[str, Sight] = {}

    def look(self) -> List[Seen]:
        """Return how the runs stand now, the latest first."""
        records = known_runs(self.names)
        asked = self.arguments.run
        if asked is not None:
            records = [find_run(records, asked)]
        return [self.sights.setdefault(record.run_id, Sight(self.names, self.root, record)).look()
                for record in reversed(records[-self.arguments.limit:])]

    def lines(self, runs: List[Seen], columns: int) -> List[str]:
        """Return it for people."""
        now = self.clock.now()
        found = _table(runs, now) if runs else ['nothing has run yet']
        for seen in runs:
            if seen.is_alive and seen.tally is not None:
                head, *rows = overview(seen.tally, now, columns, self.sources)
                found += ['', f'{seen.record.run_id}  {head}', *rows]
            if seen.fault:
                found.append(f'warning: {printable(seen.fault)}')
        if self.arguments.run is not None and runs[0].record.first_failure:
            found.append(f'first failure: {printable(runs[0].record.first_failure)}')
        counts = self.queue()
        if counts:
            found += ['', 'queue: ' + ', '.join(
                f'{count} {name}' for name, count in counts.items() if count)]
        return found

    def headline(self, runs: List[Seen], columns: int) -> str:
        """Return it in one row: how the first that is alive stands, or how the last one ended."""
        now = self.clock.now()
        for seen in runs:
            if seen.is_alive and seen.tally is not None:
                return overview(seen.tally, now, columns, self.sources, is_one_line=True)[0]
        return f'{runs[0].record.run_id} {runs[0].state}' if runs else 'nothing has run yet'

    def queue(self) -> Dict[str, int]:
        """Return how many entries of the queue are in which state; nothing where there is none."""
        try:
            with opened_if_there(self.arguments) as queue:
                return dict(queue.stats()) if queue is not None else {}
        except RunnerError:
            # What is wrong with the queue is for its own commands to tell.
            return {}

    def as_json(self, seen: Seen) -> Dict[str, Any]:
        """Return all that is known of a run."""
        now, record, tally = self.clock.now(), seen.record, seen.tally
        took_s = seen.duration_s(now)
        found: Dict[str, Any] = {
            'runId': record.run_id, 'state': seen.state, 'pipeline': record.pipeline,
            'version': record.version, 'startedAt': record.started_at,
            'endedAt': record.ended_at, 'durationSec': took_s and round(took_s, 6),
            'pid': record.pid, 'host': record.host, 'firstFailure': record.first_failure,
            'tasks': seen.counts}
        if seen.is_alive and tally is not None:
            counts = tally.counts()
            seen.counts.update(running=counts.running, waiting=counts.waiting)
            found.update(
                running=[self._running(task, now) for task in tally.slowest(MOST_ROWS)],
                tasksPerSec=tally.per_second(now),
                remainingSec=tally.remaining_s(now, self.sources.expected))
        return found

    def _running(self, task: Any, now: float) -> Dict[str, Any]:
        mark = self.sources.mark(task)
        return {'task': task.task, 'attempt': task.attempt,
                'durationSec': round(max(0.0, now - task.since), 6),
                'lineOffset': mark.line_offset if mark else None,
                'linesPerSec': mark.per_second if mark else None}


def _table(runs: List[Seen], now: float) -> List[str]:
    rows = [_HEADINGS] + [_cells(seen, now) for seen in runs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ['  '.join(cell.rjust(width) if column > 2 else cell.ljust(width)
                      for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in rows]


def _cells(seen: Seen, now: float) -> tuple:  # type: ignore[type-arg]
    took_s = seen.duration_s(now)
    counts = seen.counts
    done = [counts.get(status, 0) for status in STATUSES[:3]]
    rest = 0 if seen.is_alive else max(0, counts.get('total', 0) - sum(done))
    return (seen.record.run_id, printable(seen.state),
            printable(seen.record.started_at[:19].replace('T', ' ')),
            _took(took_s), *map(str, done), str(rest))


def _took(seconds: Optional[float]) -> str:
    """Spell how long a run took; of a short one tenths of seconds count."""
    if seconds is None:
        return '-'
    return f'{seconds:.1f}s' if seconds < 59.95 else duration(seconds)


def _print(view: _View, runs: List[Seen], system: Any) -> None:
    if view.arguments.json:
        for seen in runs:
            system.out.line(json.dumps(view.as_json(seen)))
    else:
        system.out.line('\n'.join(view.lines(runs, 100)))


def _watch(view: _View, system: Any) -> None:
    """Show it again and again until no run that is shown is alive."""
    terminal = _terminal(view, system)
    try:
        while system.out.is_open:
            runs = view.look()
            if terminal is None:
                _print(view, runs, system)
            elif terminal.is_wide:
                terminal.draw(view.lines(runs, terminal.size[0]))
            else:
                terminal.draw([view.headline(runs, terminal.size[0])])
            if not any(seen.is_alive for seen in runs):
                return
            pause(PRINTED_S if terminal is None else DRAWN_S)
    finally:
        if terminal is not None:
            terminal.keep()


def _terminal(view: _View, system: Any) -> Optional[Terminal]:
    if (view.arguments.json or not may_draw(system.out, system.environment)
            or not can_be_drawn_on(system.out)):
        return None
    return Terminal(system.out, system.environment)
