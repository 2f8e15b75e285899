"""Where the runner's own package lies, and the search path on which Python processors find it."""

from __future__ import annotations

import os

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Dict
    from typing import Mapping
    from typing import Optional

#: The folder that holds the package: appended to PYTHONPATH of Python processors,
#: so that `from stagerunner.processor import …` works in them.
SOURCE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def python_path(given: Optional[str]) -> str:
    """Return a search path with the runner's own folder at its end."""
    return os.pathsep.join([given, SOURCE_FOLDER] if given else [SOURCE_FOLDER])


def start_environment(inherited: Mapping[str, str]) -> Dict[str, str]:
    """Return the environment in which most Python processors of a run are going to start."""
    return dict(inherited, PYTHONPATH=python_path(inherited.get('PYTHONPATH')))
