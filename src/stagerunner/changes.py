"""What changed between two idempotency keys: every difference of their parts, by name.  Pure."""

from __future__ import annotations

from stagerunner.events import Reason
from stagerunner.fingerprint import canonical
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Sequence


def changes(old: Dict[str, Any], new: Dict[str, Any]) -> List[Reason]:
    """Name every difference between two keys' parts, with old and new values."""
    try:
        found = _input_changes(dict(old['inputs']), dict(new['inputs']))
        if not found and old['inputs'] != new['inputs']:
            found = [Reason('order of inputs changed')]
        found += _pair_changes('processor', [old['processor']], [new['processor']])
        found += _pair_changes('helper module', old['helpers'], new['helpers'])
        for cause, field in (('param', 'params'), ('env', 'env'), ('option', 'options')):
            found += _field_changes(cause, old[field], new[field])
        if old['python'] != new['python']:
            found.append(Reason('python changed', '', str(old['python']), str(new['python'])))
    except (KeyError, TypeError, ValueError, AttributeError):
        found = []
    return found or [Reason('key of another format')]


def _input_changes(old: Dict[str, str], new: Dict[str, str]) -> List[Reason]:
    gone = [name for name in old if name not in new]
    added = [name for name in new if name not in old]
    found = []
    for name in list(gone):
        twin = next((other for other in added if new[other] == old[name]), None)
        if twin is not None:
            found.append(Reason('input renamed', twin, name, twin))
            gone.remove(name)
            added.remove(twin)
    found += [Reason('input changed', name, old[name], new[name])
              for name in old if name in new and old[name] != new[name]]
    found += [Reason('input added', name, None, new[name]) for name in added]
    return found + [Reason('input removed', name, old[name], None) for name in gone]


def _pair_changes(cause: str, old: Sequence[Any], new: Sequence[Any]) -> List[Reason]:
    return [Reason(f'{cause} changed', path, dict(old).get(path), dict(new).get(path))
            for path in sorted({*dict(old), *dict(new)})
            if dict(old).get(path) != dict(new).get(path)]


def _field_changes(cause: str, old: Dict[str, Any], new: Dict[str, Any]) -> List[Reason]:
    found = []
    for name in sorted({*old, *new}):
        before, after = (canonical(side[name]).decode('ascii') if name in side else None
                         for side in (old, new))
        if before != after:
            found.append(Reason(f'{cause} changed', name, before, after))
    return found
