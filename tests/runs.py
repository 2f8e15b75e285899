"""Runs made up as events: what a run of many stages and tasks would have told."""

from __future__ import annotations

import random
from typing import Any
from typing import Dict
from typing import Iterator
from typing import Sequence

from stagerunner.clock import stamp
from stagerunner.diagram import Diagram
from stagerunner.diagram import Need
from stagerunner.diagram import Node
from stagerunner.events import AttemptEnded
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import Warned

BEGAN = 1_700_000_000.0

FENCE = {'network': 'deny', 'enforced': True, 'mechanisms': ['seccomp'], 'files': 'open'}


def stage_names(count: int) -> Sequence[str]:
    return tuple(f'stage_{number:03}' for number in range(count))


def made_up(rng: random.Random, n_stages: int, n_tasks: int, *, text: str = 'file',
            is_ended: bool = True) -> Iterator[Event]:
    """Yield the events of a run; every third stage is a plain one, `text` is part of all texts."""
    names = stage_names(n_stages)
    now = BEGAN
    yield RunStarted('made_up', f'pipeline {text}', stamp(now), names, 4)
    yield Warned('', f'a warning about {text}')
    for number, name in enumerate(names):
        tasks = [name] if number % 3 == 0 else [
            f'{name}[paper_{item:05}]' for item in range(max(1, n_tasks // n_stages))]
        if tasks != [name]:
            yield StageExpanded(name, len(tasks), True)
        counts: Dict[str, int] = {}
        for task in tasks:
            took_s = rng.expovariate(1)
            status = rng.choice(['ok'] * 30 + ['skipped'] * 5 + ['failed'])
            counts[status] = counts.get(status, 0) + 1
            yield from _task(task, status, now, took_s, text)
            now += took_s / 4
        if tasks != [name]:
            yield StageEnded(name, stamp(now), 1.0, counts)
    if is_ended:
        yield RunEnded('made_up', stamp(now), now - BEGAN, 'failed', 'f' * 64)


def _task(task: str, status: str, now: float, took_s: float, text: str) -> Iterator[Event]:
    if status == 'skipped':
        yield TaskSkipped(task, stamp(now), 'idempotent key matched', 'a' * 64, stamp(now))
        return
    yield TaskStarted(task, stamp(now), 1, (Reason('input changed', text, 'a' * 64, 'b' * 64),))
    error = f'exit code 1\n{text}' if status == 'failed' else None
    usage: Any = (took_s, int(took_s * 1e8), 5000, 0)
    if status == 'failed':
        yield AttemptEnded(task, 1, 'failed', stamp(now), took_s, 1, 'unknown', error, 0.5, 0,
                           True, f'state/logs/{text}', FENCE, usage)
        yield TaskRetrying(task, 2, 2, 0.5, 'unknown', 'exit code 1')
    yield AttemptEnded(task, 1 + (status == 'failed'), status, stamp(now), took_s,
                       int(status == 'failed'), None, error, None, 0, True, None, FENCE, usage)
    if status == 'failed':
        yield TaskFailed(task, stamp(now), took_s, 2, 'unknown', str(error),
                         f'state/logs/{text}', (text, 'last line') * 10)
    else:
        yield TaskDone(task, stamp(now), took_s, 1, 'c' * 64, made={
            'inputs': [[f'data/in/{text}{number}', 'd' * 64] for number in range(12)],
            'outputs': [{'path': f'{text}{number}', 'size': 9, 'sha256': 'e' * 64}
                        for number in range(12)], 'outputDir': 'data/out'})


def diagram(n_stages: int) -> Diagram:
    """Return a diagram of the stages of a made-up run: each needs some of those before it."""
    names = stage_names(n_stages)
    return Diagram('made up', tuple(
        Node(name, 'bin/x.py', 'data/x', tuple(
            Need(names[number - back], ('data',)) for back in (1, 3, 8) if back <= number))
        for number, name in enumerate(names)))
