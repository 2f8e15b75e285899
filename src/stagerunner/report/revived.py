"""Events read back from their JSON: what an audit or `--json` tells, as the records it was made of."""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import Optional
from typing import Tuple

from stagerunner import events
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.wording import camel
from stagerunner.wording import event_name

#: Every kind of event, by its name, with its fields by theirs.
_KINDS: Dict[str, Tuple[Callable[..., Event], Dict[str, str]]] = {
    event_name(kind): (kind, {camel(field): field for field in kind._fields})
    for kind in vars(events).values() if hasattr(kind, '_fields') and kind is not Reason}


def revive(record: Dict[str, Any]) -> Optional[Event]:
    """Return the event that a record tells of; None for one that this version does not know.

    >>> revive({'event': 'task_cancelled', 'task': 'a', 'why': 'asked to', 'seq': 7})
    TaskCancelled(task='a', why='asked to')
    >>> revive({'event': 'task_teleported'}) is None
    True
    """
    kind, fields = _KINDS.get(record.get('event', ''), (None, {}))
    if kind is None:
        return None
    given = {fields[key]: _value(value) for key, value in record.items() if key in fields}
    try:
        return kind(**given)
    except TypeError:
        # A field that it cannot be without is missing.
        return None


def _value(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple(Reason(**entry) if isinstance(entry, dict) and set(entry) == set(Reason._fields)
                 else entry for entry in value)


def revived(records: Iterable[Dict[str, Any]]) -> Iterator[Event]:
    """Yield the events of records, in order."""
    for record in records:
        event = revive(record)
        if event is not None:
            yield event
