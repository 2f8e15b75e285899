"""Turn an attempt that was decided on into the job that a launcher starts."""

from __future__ import annotations

import os

from stagerunner.environment import Given
from stagerunner.environment import secrets
from stagerunner.environment import variables
from stagerunner.fence import Surroundings
from stagerunner.fence import declared_files
from stagerunner.fence import limits_of
from stagerunner.imports import Source
from stagerunner.launch.job import Job
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.state.names import StateNames
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Mapping
    from typing import Optional
    from typing import Tuple


class Order(NamedTuple):
    """What is to be started: a task with all that was found out and made ready for it."""

    task: Task
    run_id: str
    root: str
    key: str
    attempt: int
    line_offset: int
    inputs: Tuple[str, ...]
    sources: Tuple[Source, ...]
    private: str
    #: Handed down to the processor, so that it stays locked; None: nothing is locked.
    lock: Optional[int]
    log_path: str
    #: Where progress and retry note lie, if not where those of the task do.
    names: Optional[StateNames] = None


def make_job(order: Order, python: str, inherited: Mapping[str, str],
             surroundings: Surroundings) -> Job:
    """Return the job of an attempt; `python` is the interpreter of Python processors."""
    stage = order.task.stage
    files = None
    if surroundings.guards_files(stage):
        files = declared_files(order.root, order.inputs,
                               [source.absolute for source in order.sources], python,
                               (order.private, order.task.aside))
    return Job(
        task=order.task.name, cwd=order.root, argv=(stage.processor, *order.inputs),
        env=variables(_given(order), inherited), log_path=order.log_path,
        python=python if stage.is_python else None,
        pinned=tuple((source.absolute, source.digest) for source in order.sources),
        inherited=() if order.lock is None else (order.lock,),
        timeout_s=stage.timeout_s, grace_s=stage.grace_s,
        is_fenced=surroundings.is_fenced(stage), files=files, limits=limits_of(stage.resources),
        secrets=secrets(stage, inherited))


def _given(order: Order) -> Given:
    task = order.task
    names = order.names or task.names(order.root)
    return Given(
        run_id=order.run_id, task=task.name, stage=task.stage, attempt=order.attempt,
        line_offset=order.line_offset, key=order.key, root=order.root,
        output_dir=order.private, published_dir=task.output_dir,
        progress_path=names.progress(task.name), retry_path=names.retry(task.name),
        temporary_dir=os.path.join(task.aside, 'tmp') if task.stage.has_declared_files else None,
        job=task.job, item=(task.item.id, task.item.path) if task.item is not None else None)
