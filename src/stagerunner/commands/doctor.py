"""Tell what this host can promise, and which settings hold here and where they are from.

Nothing is written, and no lock is taken that anybody could wait for.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import load_config
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.health import examine as look_around
from stagerunner.health import is_in_wal_reset_range
from stagerunner.keys import RETRY
from stagerunner.launch.job import Fence
from stagerunner.launch.system import make_launcher
from stagerunner.launch.watch import start_fault
from stagerunner.records import NamedTuple
from stagerunner.schema import printable
from stagerunner.settings import Settings
from stagerunner.settings import Workers
from stagerunner.settings import missing_gates
from stagerunner.settings import workers
from stagerunner.state.names import StateNames

BUILT_IN = 'built-in'

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py doctor
  python src/pipeline_runner.py doctor --json
'''

#: Standard modules that some builds of Python lack, and what does not work without.
_MODULES = {'sqlite3': 'there is no queue', 'ctypes': 'there is no fence around processors',
            **({'fcntl': 'there are no locks'} if os.name == 'posix' else {})}

#: Settings that people know by another name than ours: that of their key.
_SHOWN = {'has_quotas': 'enable_quota_management', 'default_limit': 'limits.default',
          'is_parallel': 'enable_parallel', 'safety_gate': 'safetyGate',
          'circuit_breaker': 'circuit_breaker_threshold'}


class Setting(NamedTuple):
    """One effective setting: its name, its value, and the key or variable that it is from."""

    name: str
    value: Any
    source: str


def add_arguments(parser: Any) -> None:
    """Add the flag that names the settings."""
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Print the findings; the exit code is 1 when a promise cannot be kept here."""
    settings, config = load_config(arguments)
    root = os.path.dirname(os.path.abspath(arguments.pipeline))
    many = workers(settings, None, system.environment.get('PIPELINE_MAX_WORKERS'),
                   missing=missing_gates(settings, root))
    for warning in many.warnings:
        system.err.line(f'warning: {printable(warning)}')
    health = look_around(root, arguments.pipeline, StateNames(root).folder, Clock())
    sqlite = system.version_of('sqlite3', 'sqlite_version')
    missing = [module for module in _MODULES if system.version_of(module) is None]
    findings = dict(
        examine(dict(system.environment)), missingModules=missing, **health.facts,
        sqlite=sqlite or 'missing', walReset=_wal_reset(sqlite),
        problems=[*_problems(missing), *health.problems], warnings=list(health.warnings))
    if not findings['networkFence']:
        why = f": {findings['whyNoFence']}" if findings['whyNoFence'] else ''
        findings['problems'].insert(
            0, f'the kernel cannot keep processors from the network here{why}')
    # Away from any pipeline there is nothing that settings could hold for.
    found = (list(effective(settings, many))
             if config or os.path.lexists(arguments.pipeline) else [])
    code = FAILED if findings['problems'] else OK
    if arguments.json:
        if found:
            findings.update(config=config or None, settings={
                name: {'value': value, 'source': source} for name, value, source in found})
        system.out.line(json.dumps(findings))
        return code
    for name, value in findings.items():
        system.out.line(f'{name}: {_text(value)}')
    if found:
        system.out.line(f"config: {printable(config) or 'none'}")
    for name, value, source in found:
        system.out.line(f'  {printable(name)}: {_text(value)} ({printable(source)})')
    return code


def _problems(missing: List[str]) -> List[str]:
    return [f"the standard module '{module}' is missing: {_MODULES[module]}"
            for module in missing]


def _wal_reset(version: Optional[str]) -> str:
    """Say whether SQLite has the race of writers in WAL mode, and what keeps us from it."""
    if version is None:
        return 'no SQLite'
    if not is_in_wal_reset_range(version):
        return 'not in this version'
    return ('in this version; not exposed to it: all writers of a queue, and whoever closes it '
            'last, hold one lock')


def examine(environment: Dict[str, str]) -> Dict[str, Any]:
    """Start what starts processors, ask it from inside what surrounds it, and end it."""
    stop = Stop()
    launcher = make_launcher(Clock(), stop)
    try:
        fence = launcher.fence(None, environment)
    except OSError as error:
        fence = Fence(why=start_fault(error))
    finally:
        launcher.close()
        stop.close()
    return {'python': '%d.%d.%d' % sys.version_info[:3], 'interpreter': sys.executable,
            'platform': sys.platform, 'launcher': type(launcher).__name__,
            'networkFence': fence.is_enforced, 'mechanisms': list(fence.mechanisms),
            'fileFence': fence.landlock > 0, 'landlock': fence.landlock,
            'whyNoFence': fence.why or None}


def effective(settings: Settings, many: Workers) -> Iterator[Setting]:
    """Yield every setting that holds, those of stages in the words of a definition.

    >>> next(effective(Settings(), Workers(1, BUILT_IN)))
    Setting(name='workers', value=1, source='built-in')
    """
    yield Setting('workers', many.n, many.source)
    for name, value, key in _values(settings):
        yield Setting(_SHOWN.get(name, name), value, settings.sources.get(key, BUILT_IN))


def _values(settings: Settings) -> Iterator[Tuple[str, Any, str]]:
    """Yield name and value of each setting, and the name under which its source is known."""
    for name in ('max_workers', 'is_parallel', 'safety_gate', 'dry_run', 'log_level',
                 'checkpoint_file', 'version_history_path', 'audit_key_file',
                 'circuit_breaker', 'has_quotas'):
        value = getattr(settings, name)
        yield name, list(value) if isinstance(value, tuple) else value, name
    for quota, (rate, per_s) in settings.quotas.items():
        yield f'quota.{quota}', {'rate': rate, 'per_seconds': per_s}, f'quotas.{quota}'
    yield 'default_limit', settings.default_limit, 'default_limit'
    for key, limit in settings.limits_per_key.items():
        yield f'limits.per_key.{key}', limit, 'limits_per_key'
    yield 'timeoutSec', settings.base.get('timeoutSec'), 'timeoutSec'
    for key, value in RETRY.complete(settings.base.get('retry', {})).items():
        yield f'retry.{key}', value, f'retry.{key}'
    for stage, keys in settings.per_stage.items():
        for key, value in keys['retry'].items():
            yield f'per_stage.{stage}.retry.{key}', value, f'per_stage.{stage}'
    for key, value in settings.queue._asdict().items():
        yield f'queue.{key}', value, f'queue.{key}'


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, dict):
        return ', '.join(f'{printable(key)} {entry}' for key, entry in value.items()) or 'none'
    if isinstance(value, list):
        return printable(', '.join(value)) or 'none'
    return 'none' if value is None else printable(str(value))
