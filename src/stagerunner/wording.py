"""How events are written as JSON: their names and keys, the same on stdout and in the audit."""

from __future__ import annotations

from functools import lru_cache

from stagerunner import events
from stagerunner.events import USAGE
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Optional

#: Fields for sinks within the runner: too long for a line, or told when a stage begins.
_UNTOLD = ('items', 'fan_outs')


def event_name(kind: type) -> str:
    """Return the name of a kind of event as scripts see it.

    >>> from stagerunner.events import TaskSkipped
    >>> event_name(TaskSkipped)
    'task_skipped'
    """
    return _name_of(kind.__name__)


def plain(event: Any) -> Dict[str, Any]:
    """Return an event as what JSON can hold, its name first."""
    found: Dict[str, Any] = {'event': event_name(type(event))}
    for name, value in zip(event._fields, event):
        if name == 'usage':
            found[name] = dict(zip(USAGE, value))
        elif name not in _UNTOLD:
            found[camel(name)] = [_entry(entry) for entry in value] if isinstance(
                value, tuple) else value
    return found


@lru_cache(maxsize=None)
def _name_of(kind: str) -> str:
    return ''.join(f'_{c.lower()}' if c.isupper() else c for c in kind).lstrip('_')


def event_of(record: Dict[str, Any]) -> Optional[Event]:
    """Return what `plain` made a record of, None for an event that this version does not know.

    What is missing in the record has its default, or is None; reasons stay as JSON has them.

    >>> event_of({'event': 'task_started', 'task': 'a', 'at': 'now', 'attempt': 1, 'reasons': []})
    TaskStarted(task='a', at='now', attempt=1, reasons=[])
    """
    kind = _kinds().get(str(record.get('event')))
    if kind is None:
        return None
    defaults = kind._field_defaults
    found = {name: record.get(camel(name), defaults.get(name)) for name in kind._fields}
    if isinstance(found.get('usage'), dict):
        found['usage'] = tuple(found['usage'].get(figure) for figure in USAGE)
    event: Event = kind(**found)
    return event


@lru_cache(maxsize=None)
def _kinds() -> Dict[str, Any]:
    return {event_name(kind): kind for kind in vars(events).values()
            if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, '_fields')}


def _entry(value: Any) -> Any:
    return dict(zip(Reason._fields, value)) if isinstance(value, Reason) else value


@lru_cache(maxsize=None)
def camel(name: str) -> str:
    """Return a field name as JSON has it; seconds are spelled out.

    >>> camel('duration_s'), camel('run_id'), camel('line_offset')
    ('durationSec', 'runId', 'lineOffset')
    """
    first, *rest = name.split('_')
    return first + ''.join('Sec' if part == 's' else part.capitalize() for part in rest)
