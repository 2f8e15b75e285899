"""Everything a decision about a task needs, observed once and changing nothing.

The same look serves the announcement before the lock and the decision under
it; what follows from the facts is `plan`'s business.
"""

from __future__ import annotations

import os

from stagerunner.definition import Stage
from stagerunner.environment import local_folders
from stagerunner.errors import InputChanged
from stagerunner.errors import StageError
from stagerunner.errors import Unreadable
from stagerunner.events import Reason
from stagerunner.files import digest_bytes
from stagerunner.files import is_text
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import Input
from stagerunner.fingerprint import digest_input
from stagerunner.fingerprint import expand_inputs
from stagerunner.fingerprint import key_of
from stagerunner.fingerprint import make_parts
from stagerunner.fingerprint import snapshot_of
from stagerunner.fingerprint import stats_of
from stagerunner.imports import Program
from stagerunner.imports import Source
from stagerunner.imports import load_program
from stagerunner.ledger import Ledger
from stagerunner.offline import violations
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.resume import LEFT_OVER
from stagerunner.resume import ResumePoint
from stagerunner.resume import find
from stagerunner.spelling import private_folder
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.tasks import Task

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Tuple


class Facts(NamedTuple):
    """What is so, about one task at one moment.

    `trouble` is an error that a launch would only repeat: a missing input, a
    forbidden import.  `broken` are published outputs that are not what the
    marker says, as reasons.  `former_end` is how the task ended the last time,
    '' when it never did.
    """

    inputs: Tuple[Input, ...] = ()
    unmatched: Tuple[str, ...] = ()
    program: Optional[Program] = None
    parts: Dict[str, Any] = {}
    key: str = ''
    marker: Optional[Marker] = None
    marker_fault: str = ''
    former_end: str = ''
    broken: Tuple[Reason, ...] = ()
    resume_point: Optional[ResumePoint] = None
    restart_why: str = ''
    has_leftover: bool = False
    trouble: Optional[StageError] = None


def options_of(stage: Stage, item: Optional[str] = None) -> Dict[str, Any]:
    """Return what of a stage's surroundings may change its output, without what is usual.

    `item` is a digest of the item's own content, where that is no input.
    """
    options = {'cleanEnv': stage.has_clean_env, 'secretEnv': sorted(stage.secret_env),
               'network': stage.has_network, 'files': stage.has_declared_files, 'item': item}
    return {name: value for name, value in options.items() if value}


class Observer:
    """Looks at tasks; keeps what does not change during a run (programs by processor)."""

    def __init__(self, root: str, digests: Digests, python_version: str,
                 inherited: Mapping[str, str], ledger: Ledger):
        self.root = root
        self.ledger = ledger
        self.digests = digests
        self.python_version = python_version
        self.inherited = inherited
        self.programs: Dict[Tuple[str, Tuple[str, ...]], Program] = {}
        #: Where modules may lie, by the search path that a stage declares.
        self.folders: Dict[Tuple[str, ...], Tuple[str, ...]] = {}

    def observe(self, task: Task) -> Facts:
        """Return the facts about a task; reads, and changes nothing."""
        stage = task.stage
        expanded = expand_inputs(self.root, stage.inputs)
        if expanded.missing:
            return Facts(trouble=self._missing(task, expanded.missing[0]),
                         marker=self.ledger.look(task)[0])
        unnamed = [name for name in expanded.names if not is_text(name)]
        if unnamed:
            return Facts(trouble=StageError(f'input {ascii(unnamed[0])} has a name that is not '
                                            f'UTF-8; rename it'))
        try:
            program = self.program(stage)
            inputs = tuple(self._input(task, name) for name in expanded.names)
            options = options_of(stage, self._own_content(task))
        except InputChanged as error:
            return Facts(trouble=InputChanged(self._shown(error.path), error.when))
        except Unreadable as error:
            return Facts(trouble=StageError(f'{self._shown(error.path)}: {error.fault}'))
        except FileNotFoundError as error:
            return Facts(trouble=StageError(f'{error.filename} is missing'))
        processor, *helpers = program.sources
        parts = make_parts(inputs, (processor.path, processor.digest),
                           [(helper.path, helper.digest) for helper in helpers],
                           stage.params, stage.env,
                           self.python_version if stage.is_python else None, options)
        return self._facts(task, parts, inputs, expanded.unmatched, program)

    def _input(self, task: Task, name: str) -> Input:
        """Return an input; the file of an item is what the runner is going to write there."""
        if task.item is not None and task.item.content is not None and name == task.item.path:
            return Input(name, digest_bytes(task.item.content), snapshot_of(self.root, name))
        return digest_input(self.digests, self.root, name)

    def _own_content(self, task: Task) -> Optional[str]:
        """Return a digest of what an item is, where its inputs do not tell.

        A processor without inputs can only work on `PIPELINE_ITEM_PATH`.
        """
        if task.item is None or task.stage.inputs:
            return None
        if task.item.content is not None:
            return digest_bytes(task.item.content)
        path = os.path.normpath(os.path.join(self.root, task.item.path))
        # An id such as `..` or `/` is free text, not all that lies below it.
        if os.path.exists(path) and not (self.root + os.sep).startswith(path.rstrip(os.sep)
                                                                        + os.sep):
            return digest_input(self.digests, self.root, task.item.path).digest
        return None

    def _facts(self, task: Task, parts: Dict[str, Any], inputs: Tuple[Input, ...],
               unmatched: Tuple[str, ...], program: Program) -> Facts:
        key = key_of(parts)
        marker, fault = self.ledger.look(task)
        private = private_folder(task.output_dir, task.name)
        point, why = (find(task.names(self.root), task.name, key, private, stats_of(inputs))
                      if task.stage.checkpoint.enabled else (None, ''))
        if marker and why == LEFT_OVER:
            why = ''
        found = [] if task.stage.has_network else violations(program)
        return Facts(
            inputs=inputs, unmatched=unmatched, program=program, parts=parts, key=key,
            marker=marker, marker_fault=fault,
            former_end='ok' if marker else self.ledger.former_end(task),
            broken=self._broken(task, marker) if marker and marker.key == key else (),
            resume_point=point, restart_why=why, has_leftover=os.path.lexists(private),
            trouble=found[0] if found else None)

    def _shown(self, path: str) -> str:
        """Return a path as people write it: relative to the root, except on another drive."""
        try:
            return os.path.relpath(path, self.root).replace(os.sep, '/')
        except ValueError:  # pragma: no cover - Windows only: the drives differ
            return path

    def _missing(self, task: Task, name: str) -> StageError:
        producer = task.producers[task.stage.inputs.index(name)]
        return StageError(f'input {name} is missing' + (f' after {producer}' if producer else ''))

    def program(self, stage: Stage) -> Program:
        """Return the processor with its helpers, read anew unless nothing about it changed."""
        if not stage.is_python:
            path = os.path.join(self.root, stage.processor)
            digest, _ = self.digests.of(path)
            return Program((Source(stage.processor, digest, path),), ())
        search_path = tuple(value for name, value in stage.env.items()
                            if name.upper() == 'PYTHONPATH')
        folders = self.folders.get(search_path)
        if folders is None:
            folders = local_folders(stage, self.inherited, self.root)
            self.folders[search_path] = folders
        known = self.programs.get((stage.processor, folders))
        if known and self._is_current(known):
            return known
        program = load_program(self.root, stage.processor, folders, self.digests)
        self.programs[stage.processor, folders] = program
        return program

    def _is_current(self, program: Program) -> bool:
        """True when every file of a program still has the bytes that were scanned."""
        try:
            return all(self.digests.of(source.absolute)[0] == source.digest
                       for source in program.sources)
        except (OSError, InputChanged, Unreadable):
            return False

    def _broken(self, task: Task, marker: Marker) -> Tuple[Reason, ...]:
        """Return why published outputs cannot be trusted, empty when all are as recorded."""
        found: List[Reason] = []
        for output in marker.outputs:
            reason = self._broken_output(task, output)
            if reason:
                found.append(reason)
        return tuple(found)

    def _broken_output(self, task: Task, output: Output) -> Optional[Reason]:
        path = os.path.join(task.output_dir, output.path)
        shown = f'{task.stage.output_dir}/{output.path}'
        try:
            if os.path.islink(path) or output.link is not None:
                target = os.readlink(path) if os.path.islink(path) else None
                return None if target == output.link else Reason(
                    'output edited', shown, output.link, target)
            digest, _ = self.digests.of(path)
        except FileNotFoundError:
            return Reason('output missing', shown, output.digest, None)
        except (OSError, Unreadable, InputChanged):
            return Reason('output edited', shown, output.digest, None)
        return None if digest == output.digest else Reason(
            'output edited', shown, output.digest, digest)
