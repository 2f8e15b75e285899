"""Every published file against its manifest, and those files that are in none.

All bytes are read: a stat that looks as it did proves nothing to whoever asks.
"""

from __future__ import annotations

import os
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Set

from stagerunner.errors import InputChanged
from stagerunner.errors import Unreadable
from stagerunner.files import one_spelling
from stagerunner.holdings import Holding
from stagerunner.keys import is_reserved
from stagerunner.publish import describe_outputs
from stagerunner.records import NamedTuple
from stagerunner.state.marker import Output

CHANGED, MISSING, UNKNOWN = 'changed', 'missing', 'unknown'


class Deviation(NamedTuple):
    """A file that is not what a manifest says, or that is in none."""

    kind: str
    #: From the root.
    path: str
    task: str = ''
    recorded: Optional[Output] = None
    found: Optional[Output] = None
    #: Why it cannot even be read.
    fault: str = ''


def check(root: str, holding: Holding) -> Iterator[Optional[Deviation]]:
    """Yield for each output of a task what is wrong with it, None where it is as recorded."""
    folder = os.path.join(root, holding.output_dir)
    for output in holding.outputs:
        path = f'{holding.output_dir}/{output.path}'
        try:
            if not os.path.lexists(os.path.join(folder, output.path)):
                yield Deviation(MISSING, path, holding.task, output)
                continue
            found = describe_outputs(folder, [output.path])[0]
        except FileNotFoundError:
            yield Deviation(MISSING, path, holding.task, output)
        except (Unreadable, InputChanged) as error:
            fault = error.fault if isinstance(error, Unreadable) else f'changed while {error.when}'
            yield Deviation(CHANGED, path, holding.task, output, fault=fault)
        else:
            yield None if found == output else Deviation(CHANGED, path, holding.task, output,
                                                         found)


def unknown(root: str, holdings: Sequence[Holding], folders: Sequence[str]) -> List[Deviation]:
    """Return the files below output folders (from the root) that nobody has published."""
    owned = {path for holding in holdings for path in holding.paths()}
    seen: Set[str] = set()
    found = []
    for folder in folders:
        for path in _files_below(root, folder):
            spelled = one_spelling(path)
            if spelled not in owned and spelled not in seen:
                found.append(Deviation(UNKNOWN, path))
            seen.add(spelled)
    return sorted(found, key=lambda deviation: deviation.path)


def _files_below(root: str, folder: str) -> Iterator[str]:
    for base, folders, files in os.walk(os.path.join(root, folder)):
        linked = [name for name in folders if os.path.islink(os.path.join(base, name))]
        folders[:] = [name for name in folders if not is_reserved(name)]
        for name in files + linked:
            # As for globs: what begins with a dot belongs to tools.
            if not name.startswith('.'):
                yield os.path.relpath(os.path.join(base, name), root).replace(os.sep, '/')
