"""Turn `pipeline_config.json`, what belongs to the machine and the services, into frozen records.

What the file says about stages comes out in the words of `pipeline.json`
(`base`, `per_stage`), so that one merge, key by key, makes the precedence of the
contract: `per_stage`, the stage itself, its pipeline's defaults, `base`, built-in.
The keys of `v2_features` may stand at the top level as well.
"""

from __future__ import annotations

import os
import re

from stagerunner.documents import read_document
from stagerunner.documents import refuse
from stagerunner.errors import UsageError
from stagerunner.files import try_stat
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.schema import Checker
from stagerunner.schema import Choice
from stagerunner.schema import Fault
from stagerunner.schema import Flag
from stagerunner.schema import Key
from stagerunner.schema import ListOf
from stagerunner.schema import Mapping
from stagerunner.schema import Number
from stagerunner.schema import Record
from stagerunner.schema import Rule
from stagerunner.schema import Text
from stagerunner.schema import describe

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

#: A file of this name beside the pipeline file is read without being named.
FILE = 'pipeline_config.json'

#: Workers where a config, or nothing but `--enable-experimental`, asks for some without a number.
PARALLEL_WORKERS = 4

#: No more workers than this.
MOST_WORKERS = 1000

#: A lease has to last for so many heartbeats at least: one may be late, one may be lost.
HEARTBEATS_PER_LEASE = 3


class QueueSettings(NamedTuple):
    """How `queue run` works, with the defaults of the contract (times in seconds)."""

    max_workers: int = 8
    max_per_resolver: Dict[str, int] = {}
    max_per_host: int = 4
    lease_ttl_seconds: float = 600
    heartbeat_seconds: float = 30
    max_job_attempts: int = 3
    retry_backoff_seconds: float = 60
    jitter_seconds: float = 15


class Settings(NamedTuple):
    """A whole config; without a file, everything is as it is here."""

    version: Optional[str] = None
    #: Tokens, and the seconds in any of which there are no more of them.
    quotas: Dict[str, Tuple[int, float]] = {}
    #: False: quotas are known but not enforced.
    has_quotas: bool = True
    default_limit: int = 8
    limits_per_key: Dict[str, int] = {}
    #: Keys of a stage as `pipeline.json` has them, below the defaults of every pipeline.
    base: Dict[str, Any] = {}
    #: The same for single stages, above what they say themselves.
    per_stage: Dict[str, Dict[str, Any]] = {}
    max_workers: Optional[int] = None
    #: True when the config itself switches parallel work on.
    is_parallel: bool = False
    #: Files without which nothing runs in parallel.
    safety_gate: Tuple[str, ...] = ()
    dry_run: bool = False
    log_level: str = 'INFO'
    checkpoint_file: Optional[str] = None
    version_history_path: Optional[str] = None
    audit_key_file: Optional[str] = None
    circuit_breaker: Optional[int] = None
    queue: QueueSettings = QueueSettings()
    #: Which key of the file each of these came from, by its name here; the others are built in.
    sources: Dict[str, str] = {}


class Workers(NamedTuple):
    """How many workers a run gets, who said so, and what people should hear about it."""

    n: int
    source: str
    warnings: Tuple[str, ...] = ()


# -- the table -----------------------------------------------------------------

_COUNT = Number(1, whole=True)
_WORKERS = Number(1, MOST_WORKERS, whole=True)
#: The same ranges as those of `retry` in a stage.
_ATTEMPTS, _FACTOR, _DELAY_S = Number(1, 1000, whole=True), Number(0, 1000), Number(0)


def _keys(**checkers: Checker) -> Record:
    return Record({name: Key(checker) for name, checker in checkers.items()})


def _key_complaint(key: str) -> Optional[str]:
    return None if key else 'a name must not be empty'


_A_KEY = Rule(_key_complaint, r'[\s\S]')

_QUOTA = Record({'rate': Key(_COUNT, required=True),
                 'per_seconds': Key(Number(0, above=True), required=True)})

_FEATURES = {
    'max_workers': Key(_WORKERS),
    'enable_parallel': Key(Flag()),
    'checkpoint_file': Key(Text()),
    'retry': Key(_keys(attempts=_ATTEMPTS, base=_DELAY_S, factor=_FACTOR, max_delay=_DELAY_S,
                       enable_jitter=Flag())),
    'quota': Key(Mapping(_QUOTA, _A_KEY)),
    'feature_flags': Key(_keys(enable_parallel_processing=Flag(), enable_quota_management=Flag(),
                               enable_smart_retry=Flag())),
}

CONFIG = Record(dict({
    '$schema': Key(Text()),
    'version': Key(Text()),
    'stage_timeout': Key(Number(0, above=True)),
    'log_level': Key(Choice('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')),
    'dry_run': Key(Flag()),
    'retry_policy': Key(_keys(
        enabled=Flag(), default_max_attempts=_ATTEMPTS, default_backoff_base=_FACTOR,
        default_backoff_max=_DELAY_S, circuit_breaker_threshold=_COUNT,
        per_stage=Mapping(_keys(max_attempts=_ATTEMPTS, backoff_base=_FACTOR,
                                backoff_max=_DELAY_S), _A_KEY))),
    'limits': Key(_keys(default=_COUNT, per_key=Mapping(_COUNT, _A_KEY))),
    'queue': Key(_keys(
        max_workers=_WORKERS, max_per_resolver=Mapping(_COUNT, _A_KEY),
        max_per_host=_COUNT, lease_ttl_seconds=Number(0, above=True),
        heartbeat_seconds=Number(0, above=True), max_job_attempts=_COUNT,
        retry_backoff_seconds=_DELAY_S, jitter_seconds=_DELAY_S)),
    'version_history_path': Key(Text()),
    'audit_key_file': Key(Text()),
    'safetyGate': Key(ListOf(Text())),
    'v2_features': Key(Record(_FEATURES)),
}, **_FEATURES))


# -- from the file to records -----------------------------------------------------

def load(path: str) -> Settings:
    """Read the config at `path`, or raise `DefinitionError` with every fault of it."""
    document = read_document(path, '--config')
    settings, faults = parse(document)
    if settings is None:
        refuse(path, document, faults)
    return settings


def parse(document: Any) -> Tuple[Optional[Settings], List[Fault]]:
    """Check a decoded config; the settings are None when there is a fault."""
    faults: List[Fault] = []
    given = CONFIG.check(document, (), faults)
    faults += _said_twice(given)
    queue = given.get('queue')
    faults += _short_lease(queue, faults) if isinstance(queue, dict) else []
    return (None, faults) if faults else (_settings(given), faults)


def _said_twice(given: Dict[str, Any]) -> List[Fault]:
    """Refuse two values for one thing: nobody could tell which of them holds."""
    nested = given.get('v2_features') or {}
    faults = []
    for key in _FEATURES:
        if key not in given or key not in nested:
            continue
        flat, other = given[key], nested[key]
        if isinstance(flat, dict) and isinstance(other, dict):
            faults += [_twice(key, part) for part in flat
                       if part in other and flat[part] != other[part]]
        elif flat != other:
            faults.append(_twice(key))
    return faults


def _twice(*where: str) -> Fault:
    return Fault(where, f"v2_features.{'.'.join(where)} says something else; keep one of them")


def _short_lease(queue: Dict[str, Any], told: List[Fault]) -> List[Fault]:
    """Refuse leases that end while their holder is well, where both times are such at all."""
    if any(fault.where in (('queue', 'lease_ttl_seconds'), ('queue', 'heartbeat_seconds'))
           for fault in told):
        return []
    ttl_s = queue.get('lease_ttl_seconds', QueueSettings().lease_ttl_seconds)
    beat_s = queue.get('heartbeat_seconds', QueueSettings().heartbeat_seconds)
    # Three times 0.1 is a little more than 0.3.
    if ttl_s * 1.000001 >= HEARTBEATS_PER_LEASE * beat_s:
        return []
    key = 'lease_ttl_seconds' if 'lease_ttl_seconds' in queue else 'heartbeat_seconds'
    return [Fault(('queue', key), f'a lease of {ttl_s:g}s is shorter than '
                                  f'{HEARTBEATS_PER_LEASE} heartbeats of {beat_s:g}s')]


class _Reader:
    """Looks values up under their dotted key, and notes where each was found."""

    def __init__(self, given: Dict[str, Any]):
        self.given = given
        self.sources: Dict[str, str] = {}

    def get(self, name: str, *keys: str, default: Any = None) -> Any:
        """Return the first of these values that is given; `name` is what it becomes."""
        for key in keys:
            value: Any = self.given
            for part in key.split('.'):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                self.sources[name] = key
                return value
        return default

    def feature(self, name: str, key: str, default: Any = None) -> Any:
        """Return a value of `v2_features`, or of the top level."""
        return self.get(name, f'v2_features.{key}', key, default=default)

    def both(self, key: str) -> Dict[str, Any]:
        """Return an object with what either place says of it."""
        nested = (self.given.get('v2_features') or {}).get(key) or {}
        return dict(self.given.get(key) or {}, **nested)


def _settings(given: Dict[str, Any]) -> Settings:
    read = _Reader(given)
    plain = {name: read.get(name, name, default=default) for name, default in (
        ('version', None), ('dry_run', False), ('log_level', 'INFO'),
        ('version_history_path', None), ('audit_key_file', None))}
    is_parallel = any(read.feature('is_parallel', key) for key in (
        'feature_flags.enable_parallel_processing', 'enable_parallel'))
    return Settings(
        quotas=_quotas(read),
        has_quotas=read.feature('has_quotas', 'feature_flags.enable_quota_management', True),
        default_limit=read.get('default_limit', 'limits.default', default=8),
        limits_per_key=read.get('limits_per_key', 'limits.per_key', default={}),
        base=_base(read), per_stage=_per_stage(read),
        max_workers=read.feature('max_workers', 'max_workers'), is_parallel=is_parallel,
        safety_gate=tuple(read.get('safety_gate', 'safetyGate', default=())),
        checkpoint_file=read.feature('checkpoint_file', 'checkpoint_file'),
        circuit_breaker=read.get('circuit_breaker', 'retry_policy.circuit_breaker_threshold'),
        queue=QueueSettings(**{key: read.get(f'queue.{key}', f'queue.{key}', default=default)
                               for key, default in QueueSettings()._asdict().items()}),
        sources=read.sources, **plain)


def _quotas(read: _Reader) -> Dict[str, Tuple[int, float]]:
    quotas = {}
    nested = (read.given.get('v2_features') or {}).get('quota') or {}
    for name, quota in read.both('quota').items():
        quotas[name] = (quota['rate'], quota['per_seconds'])
        # Not looked up by a dotted key: the name may hold dots.
        read.sources[f'quotas.{name}'] = ('v2_features.' if name in nested else '') \
            + f'quota.{name}'
    return quotas


def _base(read: _Reader) -> Dict[str, Any]:
    """Return what holds for every stage that does not say something else."""
    base: Dict[str, Any] = {}
    timeout_s = read.get('timeoutSec', 'stage_timeout')
    if timeout_s is not None:
        base['timeoutSec'] = timeout_s
    policy = read.given.get('retry_policy') or {}
    retry = _policy_retry(policy, 'default_')
    read.sources.update({f'retry.{key}': f'retry_policy.default_{_POLICY_KEYS[key]}'
                         for key in retry})
    for key, name in (('maxAttempts', 'attempts'), ('baseDelaySec', 'base'),
                      ('factor', 'factor'), ('maxDelaySec', 'max_delay')):
        value = read.feature(f'retry.{key}', f'retry.{name}')
        if value is not None:
            retry[key] = value
    if read.feature('retry.jitter', 'retry.enable_jitter') is False:
        retry['jitter'] = 0
    if read.feature('retry.unknown', 'feature_flags.enable_smart_retry'):
        retry['unknown'] = 'fail'
    if policy.get('enabled') is False:
        retry['maxAttempts'] = 1
        read.sources['retry.maxAttempts'] = 'retry_policy.enabled'
    return dict(base, retry=retry) if retry else base


#: Where a value of `retry` comes from in a `retry_policy`.
_POLICY_KEYS = {'maxAttempts': 'max_attempts', 'baseDelaySec': 'backoff_base',
                'factor': 'backoff_base', 'maxDelaySec': 'backoff_max'}


def _policy_retry(given: Dict[str, Any], prefix: str) -> Dict[str, Any]:
    """Return `retry` for delays of `backoff_base^(n-1)` seconds up to `backoff_max`."""
    retry = {key: given[prefix + name] for key, name in _POLICY_KEYS.items()
             if prefix + name in given}
    if 'baseDelaySec' in retry:
        retry['baseDelaySec'] = 1
    return retry


def _per_stage(read: _Reader) -> Dict[str, Dict[str, Any]]:
    """Return what single stages get; a policy that is switched off says nothing of any."""
    policy = read.given.get('retry_policy') or {}
    if policy.get('enabled') is False:
        return {}
    found = {}
    for stage, given in policy.get('per_stage', {}).items():
        retry = _policy_retry(given, '')
        if retry:
            found[stage] = {'retry': retry}
            read.sources[f'per_stage.{stage}'] = f'retry_policy.per_stage.{stage}'
    return found


# -- how many workers -------------------------------------------------------------

def missing_gates(settings: Settings, root: str) -> Tuple[str, ...]:
    """Return the files of the safety gate that are not there."""
    return tuple(name for name in settings.safety_gate
                 if try_stat(os.path.join(root, name)) is None)


def workers(settings: Settings, flag: Optional[int], variable: Optional[str], *,
            is_experimental: bool = False, missing: Sequence[str] = ()) -> Workers:
    """Return how many workers a run gets; pure.

    `variable` is the text of `PIPELINE_MAX_WORKERS`, `is_experimental` stands
    for `--enable-experimental`, and `missing` is what `missing_gates` found:
    with anything there, every request is held to one worker.

    >>> workers(Settings(max_workers=4), None, '2')
    Workers(n=2, source='PIPELINE_MAX_WORKERS', warnings=())
    >>> workers(Settings(max_workers=4), None, None).n
    1
    """
    n, source = _asked_for(settings, flag, variable, is_experimental=is_experimental)
    if n > 1 and missing:
        names = ', '.join(repr(name) for name in missing)
        return Workers(1, 'safetyGate', (
            f'safetyGate: {names} is missing, so one worker runs instead of {n} ({source})',))
    return Workers(n, source)


def _asked_for(settings: Settings, flag: Optional[int], variable: Optional[str], *,
               is_experimental: bool) -> Tuple[int, str]:
    if flag is not None:
        return flag, '--max-workers'
    if variable:
        if not re.fullmatch('[0-9]{1,4}', variable) or not 1 <= int(variable) <= MOST_WORKERS:
            raise UsageError(f'PIPELINE_MAX_WORKERS: expected a whole number from 1 to '
                             f'{MOST_WORKERS}, got {describe(variable)}')
        return int(variable), 'PIPELINE_MAX_WORKERS'
    if settings.is_parallel or is_experimental:
        switch = '--enable-experimental' if is_experimental else settings.sources['is_parallel']
        if settings.max_workers is None:
            return PARALLEL_WORKERS, switch
        return settings.max_workers, f"{settings.sources['max_workers']} with {switch}"
    return 1, 'built-in'
