"""Load a definition together with what only the disk can tell about it.

The workspace is the folder that holds the pipeline file.  Checked here: that
processors exist, that neither they nor output folders lead outside through
links, and that every input exists or can come from an earlier stage.  All
faults of text and disk are reported together, in the order of the file.
"""

from __future__ import annotations

import glob
import os

from stagerunner.definition import Pipeline
from stagerunner.definition import Stage
from stagerunner.definition import parse
from stagerunner.documents import read_document
from stagerunner.documents import refuse
from stagerunner.placeholders import OPENING
from stagerunner.placeholders import fixed_folder
from stagerunner.producers import Producers
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.schema import Fault
from stagerunner.schema import Where
from stagerunner.settings import Settings

if TYPE_CHECKING:
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Tuple

#: Fields of a stage that the disk has something to say about, and their keys.
_CHECKED = {'processor': 'processor', 'output_dir': 'outputDir', 'inputs': 'inputs'}


#: What counts where no config says anything.
_NO_SETTINGS = Settings()


class Workspace(NamedTuple):
    """A checked definition and the absolute path of the folder that it works in."""

    root: str
    pipeline: Pipeline


def load(path: str, settings: Settings = _NO_SETTINGS) -> Workspace:
    """Read and check the definition at `path`, or raise `DefinitionError` with every fault.

    `settings` of the machine lie under and over what the definition says.
    """
    document = read_document(path, '--pipeline')
    root = os.path.dirname(os.path.abspath(path))
    parsed = parse(document, settings.base, settings.per_stage)
    faults = parsed.faults + disk_faults(root, parsed.outline)
    if faults:
        refuse(path, document, faults)
    assert parsed.pipeline is not None
    return Workspace(root, parsed.pipeline)


def read_definition(path: str, settings: Settings = _NO_SETTINGS) -> Workspace:
    """Do the same, but for faults that only the disk can tell: it may be half cleared away."""
    document = read_document(path, '--pipeline')
    parsed = parse(document, settings.base, settings.per_stage)
    if parsed.faults:
        refuse(path, document, parsed.faults)
    assert parsed.pipeline is not None
    return Workspace(os.path.dirname(os.path.abspath(path)), parsed.pipeline)


def disk_faults(root: str, pipeline: Pipeline) -> List[Fault]:
    """Return what is wrong with a definition on this disk."""
    faults: List[Fault] = []
    root = _Root(root)
    producers = Producers(pipeline.stages)
    for stage, (processor, folder, inputs) in _units(pipeline):
        faults += _processor_faults(root, processor, stage)
        faults += _output_faults(root, folder, stage)
        faults += _input_faults(root, inputs, stage, producers)
    for key, hook in (('onSuccess', pipeline.on_success), ('onFailure', pipeline.on_failure)):
        if hook is not None and hook.is_path:
            faults += _program_faults(root, (key,), hook.command[0])
    return faults + _item_faults(root, pipeline, producers)


def has_fault(root: str, stage: Stage) -> bool:
    """True for a plain stage that may be refused when all stages are looked at together."""
    where: Where = ()
    return bool(_processor_faults(root, where, stage) or _output_faults(root, where, stage)
                or any(not os.path.exists(os.path.join(root, name)) and not glob.has_magic(name)
                       for name in stage.inputs))


def _units(pipeline: Pipeline) -> Iterator[Tuple[Stage, List[Where]]]:
    """Yield every stage, in place of one with jobs these, and where it says what is checked.

    What a job has from its stage is told there, once for all jobs.
    """
    for stage in pipeline.stages:
        where: Where = ('stages', stage.position)
        if not stage.jobs:
            yield stage, [where + (key,) for key in _CHECKED.values()]
        for number, job in enumerate(stage.jobs):
            own = where + ('jobs', number)
            yield job.stage, [
                (where if getattr(job.stage, field) == getattr(stage, field) else own) + (key,)
                for field, key in _CHECKED.items()]


def _processor_faults(root: str, where: Where, stage: Stage) -> List[Fault]:
    return _program_faults(root, where, stage.processor)


def _program_faults(root: str, where: Where, name: str) -> List[Fault]:
    """Refuse what is no file, and what is relative and leads outside; absolute is a hook's."""
    path = os.path.join(root, name)
    if not os.path.isabs(name) and not _is_inside(root, path):
        return [Fault(where, f"'{name}' leads outside the workspace through a link")]
    if not os.path.exists(path):
        return [Fault(where, f"'{name}' does not exist")]
    if not os.path.isfile(path):
        return [Fault(where, f"'{name}' is not a file")]
    return []


def _output_faults(root: str, where: Where, stage: Stage) -> List[Fault]:
    path = os.path.join(root, fixed_folder(stage.output_dir))
    if not _is_inside(root, path):
        return [Fault(where, f"'{stage.output_dir}' leads outside the workspace through a link")]
    above = path
    while above != root:
        if os.path.lexists(above) and not os.path.isdir(above):
            shown = os.path.relpath(above, root).replace(os.sep, '/')
            return [Fault(where, f"'{shown}' is in the way: it is not a folder")]
        above = os.path.dirname(above)
    return []


class _Root(str):
    """The root of a workspace, and what was found out below it: which paths lead over no link."""

    def __init__(self, path: str):
        self.plain: Dict[str, bool] = {path: True}

    def is_plain(self, path: str) -> bool:
        """True when no part of a path below the root is a link."""
        if path not in self.plain:
            above = os.path.dirname(path)
            self.plain[path] = (len(above) >= len(self) and self.is_plain(above)
                                and not os.path.islink(path))
        return self.plain[path]


def _is_inside(root: str, path: str) -> bool:
    """True when a path stays in the workspace after all links are followed."""
    if isinstance(root, _Root) and path != root and root.is_plain(path):
        return True
    real_root = os.path.normcase(os.path.realpath(root))
    real = os.path.normcase(os.path.realpath(path))
    return real != real_root and (real + os.sep).startswith(real_root.rstrip(os.sep) + os.sep)


def _input_faults(root: str, key: Where, stage: Stage, producers: Producers) -> List[Fault]:
    faults = []
    for number, name in enumerate(stage.inputs):
        if OPENING in name or os.path.exists(os.path.join(root, name)) or glob.has_magic(name):
            continue
        if producers.of(name, before=stage.position) is not None:
            continue
        where = key + (number,)
        later = producers.of(name)
        if later is None or later.position == stage.position:
            faults.append(Fault(where, f"'{name}' does not exist and no earlier stage "
                                       f'can publish it'))
        else:
            faults.append(Fault(where, f"'{name}' is declared before its producer "
                                       f"'{later.name}'; move that stage up"))
    return faults


def _item_faults(root: str, pipeline: Pipeline, producers: Producers) -> List[Fault]:
    """Refuse rows that are nowhere; a glob may match nothing."""
    return [Fault(('items', name, 'jsonl'), f"'{items.source}' does not exist and no stage "
                                            f'can publish it')
            for name, items in pipeline.items.items()
            if items.kind == 'jsonl' and isinstance(items.source, str)
            and not os.path.exists(os.path.join(root, items.source))
            and producers.of(items.source) is None]
