"""Which stages can publish a path, told by names alone: what the order of stages follows from."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath

from stagerunner.definition import Stage
from stagerunner.placeholders import OPENING
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple


class Producers:
    """Answers for a path without looking at every stage each time.

    A stage publishes into its `outputDir` and into those of its jobs.  It can
    be the producer of a path that lies in one of them, of a folder that holds
    one of them, and of a pattern that matches one of them or leads into it.
    """

    def __init__(self, stages: Sequence[Stage]):
        self.by_folder: Dict[str, List[Stage]] = {}
        self.above: Dict[str, List[Stage]] = {}
        self.templates: List[Tuple[List[str], Stage]] = []
        for stage in stages:
            for folder in sorted({stage.output_dir, *(job.stage.output_dir
                                                      for job in stage.jobs)}):
                self._add(folder, stage)

    def _add(self, folder: str, stage: Stage) -> None:
        if OPENING in folder:
            self.templates.append((folder.split('/'), stage))
            return
        self.by_folder.setdefault(folder, []).append(stage)
        while folder:
            folder = posixpath.dirname(folder)
            self.above.setdefault(folder, []).append(stage)

    def of(self, name: str, *, before: Optional[int] = None) -> Optional[Stage]:
        """Return the last stage (declared before index `before`) that can publish `name`."""
        found = self.all_of(name, before=before)
        return found[-1] if found else None

    def all_of(self, name: str, *, before: Optional[int] = None) -> List[Stage]:
        """Return every stage (declared before index `before`) that can publish `name`."""
        path = posixpath.normpath(name.replace(os.sep, '/'))
        if path.startswith('/'):
            return []
        found: Dict[int, Stage] = {}
        parts = path.split('/')
        fixed = _fixed(parts)
        for stage in self._holders('/'.join(fixed)):
            found[stage.position] = stage
        for stage in self.above.get('/'.join(fixed), ()):
            if len(fixed) == len(parts) or self._is_met(parts, stage):
                found[stage.position] = stage
        for folder, stage in self.templates:
            if _meet(parts, folder):
                found[stage.position] = stage
        return [found[position] for position in sorted(found)
                if before is None or position < before]

    def _holders(self, path: str) -> List[Stage]:
        found: List[Stage] = []
        while path:
            found += self.by_folder.get(path, ())
            path = posixpath.dirname(path)
        return found

    def _is_met(self, parts: List[str], stage: Stage) -> bool:
        folders: Set[str] = {stage.output_dir, *(job.stage.output_dir for job in stage.jobs)}
        return any(_meet(parts, folder.split('/')) for folder in folders)


def _fixed(parts: Sequence[str]) -> List[str]:
    """Return the leading parts of a path that stand for themselves."""
    found: List[str] = []
    for part in parts:
        if OPENING in part or glob.has_magic(part):
            break
        found.append(part)
    return found


def _meet(parts: Sequence[str], folder: Sequence[str]) -> bool:
    """True when a path or pattern may lie in a folder, hold it, or match it.

    >>> _meet(['data', '*', 'x'], ['data', 'work']), _meet(['a', 'b'], ['a', 'c'])
    (True, False)
    """
    for part, name in zip(parts, folder):
        if part == '**':
            return True
        if OPENING in part or OPENING in name:
            continue
        if part != name and not (glob.has_magic(part) and fnmatch.fnmatchcase(name, part)):
            return False
    return True
