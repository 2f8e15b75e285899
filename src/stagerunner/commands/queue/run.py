"""Work on the entries of the queue with the stages that it feeds."""

from __future__ import annotations

import os
import re
from typing import Any
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.commands.flags import Loaded
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_all
from stagerunner.commands.queue.opening import entries
from stagerunner.commands.queue.opening import example
from stagerunner.commands.run import add_ways
from stagerunner.commands.run import carry_out
from stagerunner.commands.run import sinks_of
from stagerunner.errors import UsageError
from stagerunner.keys import name_complaint
from stagerunner.launch.system import interpreter_version
from stagerunner.launch.system import make_launcher
from stagerunner.locks import TIMEOUT_S
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.session import new_run_id
from stagerunner.settings import MOST_WORKERS
from stagerunner.settings import Workers
from stagerunner.settings import missing_gates
from stagerunner.settings import workers
from stagerunner.standing import CONFIG
from stagerunner.state.names import StateNames
from stagerunner.work.entries import FINISHED
from stagerunner.work.feed import HANDED_BACK
from stagerunner.work.feed import LOST
from stagerunner.work.feed import RETRY
from stagerunner.work.feed import Asked
from stagerunner.work.feed import QueueFeed
from stagerunner.work.feed import Runner
from stagerunner.work.source import QueueSource
from stagerunner.work.store import WorkQueue


def add_arguments(parser: Any) -> None:
    """Add the flags of a run that works on the queue."""
    parser.add_argument('--workers', metavar='N',
                        help='so many tasks at once, at most (default: PIPELINE_MAX_WORKERS, else '
                        'max_workers in "queue" of the config, else 8)')
    parser.add_argument('--drain', action='store_true',
                        help='end when the queue has nothing left to do (default: wait for more)')
    parser.add_argument('--limit', metavar='N', help='end after so many entries')
    parser.add_argument('--run-id', metavar='ID', help='name of this run in state/ '
                        '(default: time and process id, so that ids sort by time)')
    add_config(parser)
    add_ways(parser)
    example(parser, 'queue run --workers 4 --drain')


def main(arguments: Any, system: Any) -> int:
    """Wire the real parts together and work; return the exit code of a run."""
    clock = Clock()
    run_id = arguments.run_id or new_run_id(clock, system.pid)
    complaint = name_complaint(run_id)
    if complaint:
        raise UsageError(f'--run-id: {complaint}')
    limit = _number('--limit', arguments.limit, 1_000_000_000)
    loaded = load_all(arguments)
    if loaded.settings.dry_run:
        raise UsageError(f'{CONFIG}: dry_run is set, and work on the queue cannot be rehearsed; '
                         f'take it out or name another file with --config')
    many = _workers(arguments, system, loaded)
    for warning in many.warnings:
        system.err.line(f'warning: {warning}')
    workspace = loaded.workspace
    python, version = interpreter_version(workspace.pipeline.python, workspace.root,
                                          os.path.basename(arguments.pipeline))
    feed = QueueFeed(
        WorkQueue(StateNames(workspace.root).work_queue()), loaded.settings.queue, clock,
        system.spread, Runner(system.host, system.pid, run_id), workspace.root,
        Asked(many.n, arguments.drain, limit))
    request = Request(workspace, run_id, TIMEOUT_S, python, version, arguments.isolation, many.n,
                      keeps_going=True, rates=loaded.rates,
                      circuit_breaker=loaded.settings.circuit_breaker)
    code = _work(request, feed, arguments, system, loaded)
    if not arguments.json:
        system.out.line(_summary(feed))
    return code


def _work(request: Request, feed: QueueFeed, arguments: Any, system: Any, loaded: Loaded) -> int:
    """Work until that is over or a signal came; give back what is held then."""
    stop = Stop()
    # There is no run to go on with: what is done is skipped all the same.
    arguments.resume = False
    try:
        return carry_out(request, Parts(
            clock=feed.clock, stop=stop,
            launcher=make_launcher(feed.clock, stop, arguments.launcher),
            sinks=sinks_of(arguments, system, loaded, request.run_id, feed.clock),
            environment=system.environment, spread=system.spread, pid=system.pid,
            host=system.host, source=QueueSource(feed)), system)
    finally:
        stop.close()
        feed.close()


def _summary(feed: QueueFeed) -> str:
    """Say in a line what became of the entries, and what is left."""
    parts = [f'{feed.counts[name]} {name}' for name in (*FINISHED, HANDED_BACK, LOST)
             if name in feed.counts]
    parts += [f'{feed.counts[RETRY]} put off'] if RETRY in feed.counts else []
    stats = feed.queue.stats()
    left = stats['queued'] + stats['in_progress']
    return f'{", ".join(parts) or "nothing done"}; {entries(left)} left in the queue'


def _workers(arguments: Any, system: Any, loaded: Loaded) -> Workers:
    settings = loaded.settings
    asked = settings._replace(
        max_workers=settings.queue.max_workers, is_parallel=True,
        sources=dict(settings.sources, max_workers='queue.max_workers', is_parallel='queue run'))
    return workers(asked, _number('--workers', arguments.workers, MOST_WORKERS),
                   system.environment.get('PIPELINE_MAX_WORKERS'),
                   missing=missing_gates(settings, loaded.workspace.root))


def _number(flag: str, text: Optional[str], most: int) -> Optional[int]:
    """Return what a flag says, None where it is not given, or raise `UsageError`."""
    if text is None:
        return None
    if not re.fullmatch('[0-9]{1,10}', text) or not 1 <= int(text) <= most:
        raise UsageError(f'{flag}: expected a whole number from 1 to {most}, got {text!r}')
    return int(text)
