"""Flags that several commands share, and what they and the config come to."""

from __future__ import annotations

import os
import re

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.definition import Pipeline
from stagerunner.errors import DefinitionError
from stagerunner.errors import UsageError
from stagerunner.events import Sink
from stagerunner.launch.job import Launcher
from stagerunner.launch.system import interpreter_version
from stagerunner.outline import outline
from stagerunner.permits import ConfigRates
from stagerunner.permits import Rates
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.report.chain import Key
from stagerunner.report.chain import read_key
from stagerunner.run import Forecast
from stagerunner.run import Parts
from stagerunner.run import Request
from stagerunner.run import foretell
from stagerunner.schema import Fault
from stagerunner.selection import Wanted
from stagerunner.settings import MOST_WORKERS
from stagerunner.settings import Settings
from stagerunner.settings import Workers
from stagerunner.settings import load as load_settings
from stagerunner.settings import missing_gates
from stagerunner.settings import workers
from stagerunner.standing import CONFIG
from stagerunner.standing import Standing
from stagerunner.standing import config_of
from stagerunner.tasks import Group
from stagerunner.workspace import Workspace
from stagerunner.workspace import load

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Tuple


class Loaded(NamedTuple):
    """A definition, the settings it was read with, and where they are from ('': nowhere).

    `groups` stand for its stages where it was not read as a whole.
    """

    workspace: Workspace
    settings: Settings
    config: str
    groups: Tuple[Group, ...] = ()

    @property
    def rates(self) -> Rates:
        """Quotas and limits, followed while the config changes."""
        return ConfigRates(self.config, self.settings) if self.config else Rates()


def add_config(parser: Any) -> None:
    """Add the flag that names the settings of the machine."""
    parser.add_argument('--config', metavar='FILE',
                        help=f'settings of this machine (default: {CONFIG} beside the '
                        'definition, if there is one)')


def load_config(arguments: Any) -> Tuple[Settings, str]:
    """Read the config and return it with its path ('': none), or raise `DefinitionError`."""
    config = config_of(arguments.pipeline, arguments.config)
    return (load_settings(config), os.path.abspath(config)) if config else (Settings(), '')


def load_all(arguments: Any, standing: Optional[Standing] = None) -> Loaded:
    """Read config and definition, or raise `DefinitionError`.

    Of a definition most of whose stages stand as they are, only the others are read.
    """
    settings, config = load_config(arguments)
    found = outline(standing, arguments.pipeline, settings) if standing else None
    if found is not None:
        return Loaded(found.workspace, settings, config, found.groups)
    loaded = Loaded(load(arguments.pipeline, settings), settings, config)
    faults = quota_faults(loaded.workspace.pipeline, loaded.rates)
    if faults:
        raise DefinitionError(tuple(fault.line(os.path.basename(arguments.pipeline))
                                    for fault in faults))
    return loaded


def quota_faults(pipeline: Pipeline, rates: Rates) -> List[Fault]:
    """Return where quotas are used that nobody defined, or more tokens than there ever are."""
    faults = []
    for stage in pipeline.stages:
        for use in stage.quota:
            complaint = rates.complaint(use.name, use.tokens)
            if complaint:
                faults.append(Fault(('stages', stage.position, 'quota'), complaint))
    return faults


def forecast(loaded: Loaded, arguments: Any, system: Any, sink: Sink,
             wanted: Wanted) -> Forecast:
    """Tell `sink` what a run would do with the definition that was loaded."""
    workspace = loaded.workspace
    python, version = interpreter_version(workspace.pipeline.python, workspace.root,
                                          os.path.basename(arguments.pipeline))
    stop = Stop()
    try:
        return foretell(
            Request(workspace, '', 0.0, python, version, wanted=wanted),
            Parts(clock=Clock(), stop=stop, launcher=Launcher(), sinks=[sink],
                  environment=system.environment, spread=system.spread, pid=system.pid,
                  host=system.host))
    finally:
        stop.close()


def file_from_root(given: str, root: str) -> str:
    """Return a file that somebody named as the workspace spells it: from its root.

    It is named from the caller's folder; where there is none, from the root.  What
    lies outside keeps its whole path.
    """
    whole = os.path.abspath(given)
    inside = _below(whole, root) or _below(os.path.realpath(os.path.dirname(whole))
                                           + os.sep + os.path.basename(whole),
                                           os.path.realpath(root))
    if inside is not None and os.path.lexists(whole):
        return inside
    from_root = os.path.normpath(given).replace(os.sep, '/')
    is_there = inside is None or os.path.lexists(os.path.join(root, from_root))
    if is_there and not os.path.isabs(given) and not from_root.startswith('../'):
        return from_root
    return inside or whole.replace(os.sep, '/')


def _below(path: str, root: str) -> Optional[str]:
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        return None
    return os.path.relpath(path, root).replace(os.sep, '/')


def audit_key(flag: Optional[str], environment: Mapping[str, str], settings: Settings,
              root: str) -> Optional[Key]:
    """Return what records of the audit are authenticated with, None for nothing."""
    variable = environment.get('PIPELINE_AUDIT_KEY_FILE')
    if flag or variable:
        return read_key(str(flag or variable))
    inside = settings.audit_key_file
    return read_key(os.path.join(root, inside)) if inside else None


def add_selection(parser: Any) -> None:
    """Add the flags of a partial run."""
    parser.add_argument('--only', metavar='STAGE', action='append', default=[],
                        help='run this stage alone; may be given several times')
    parser.add_argument('--until', metavar='STAGE', action='append', default=[],
                        help='run this stage and what it needs')
    parser.add_argument('--force', metavar='STAGE', action='append', default=[],
                        help='run this stage even if nothing changed; what its new outputs '
                        'touch follows')
    parser.add_argument('--resume-from', metavar='STAGE',
                        help='take the stages declared before this one as they are, run it and '
                        'all after it')


def wanted_of(arguments: Any) -> Wanted:
    """Return what the flags of a partial run ask for."""
    return Wanted(tuple(arguments.only), tuple(arguments.until), tuple(arguments.force),
                  arguments.resume_from)


def workers_of(arguments: Any, system: Any, loaded: Loaded) -> Workers:
    """Return how many tasks may run at once and who says so, or raise `UsageError`."""
    flag: Optional[int] = None
    if arguments.max_workers is not None:
        text = arguments.max_workers
        if not re.fullmatch('[0-9]{1,4}', text) or not (
                1 <= int(text) <= MOST_WORKERS):
            raise UsageError(f'--max-workers: expected a whole number from 1 to {MOST_WORKERS}, '
                             f'got {text!r}')
        flag = int(text)
    return workers(loaded.settings, flag, system.environment.get('PIPELINE_MAX_WORKERS'),
                   is_experimental=arguments.enable_experimental,
                   missing=missing_gates(loaded.settings, loaded.workspace.root))
