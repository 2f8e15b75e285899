"""Events read back from their JSON: what an audit or `--json` tells, as records again."""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from stagerunner import events
from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.wording import camel
from stagerunner.wording import event_name

_NUMBER = (int, float)

#: What a field of a type may hold; of tuples, each entry.
_FITTING: Dict[str, Tuple[Any, ...]] = {
    'str': (str,), 'int': (int,), 'bool': (bool,), 'float': _NUMBER, 'Dict': (dict,),
    'Optional[str]': (str, type(None)), 'Optional[int]': (int, type(None)),
    'Optional[float]': (*_NUMBER, type(None)), 'Tuple[str, ...]': (str,),
    'Tuple[Reason, ...]': (Reason,), 'Tuple[Any, ...]': (*_NUMBER, type(None)),
    'Sequence[str]': (str,), 'Sequence': (object,)}


class _Field(NamedTuple):
    """A field of an event: its name, and what it may hold."""

    name: str
    is_tuple: bool
    fitting: Tuple[Any, ...]


def _fields_of(kind: Any) -> Dict[str, _Field]:
    found = {}
    for name, annotation in kind.__annotations__.items():
        # Some versions of Python keep the text, others wrap it.
        text = getattr(annotation, '__forward_arg__', annotation)
        outer = text.partition('[')[0]
        found[camel(name)] = _Field(name, outer in ('Tuple', 'Sequence'),
                                    _FITTING[text] if text in _FITTING else _FITTING[outer])
    return found


#: Every kind of event, by its name, with its fields by theirs.
_KINDS: Dict[str, Tuple[Callable[..., Event], Dict[str, _Field]]] = {
    event_name(kind): (kind, _fields_of(kind))
    for kind in vars(events).values() if hasattr(kind, '_fields') and kind is not Reason}


def revive(record: Dict[str, Any]) -> Optional[Event]:
    """Return the event that a record tells of; None for one that this version does not know.

    A record with a value of another type, which no runner wrote, is none either.

    >>> revive({'event': 'task_cancelled', 'task': 'a', 'why': 'asked to', 'seq': 7})
    TaskCancelled(task='a', why='asked to')
    >>> revive({'event': 'task_teleported'}) is None
    True
    """
    kind, fields = _KINDS.get(record.get('event', ''), (None, {}))
    if kind is None:
        return None
    try:
        return kind(**{fields[key].name: _value(fields[key], value)
                       for key, value in record.items() if key in fields})
    except TypeError:
        # A field that it cannot be without is missing, or a value has another type.
        return None


def _value(field: _Field, value: Any) -> Any:
    if field.is_tuple:
        if not isinstance(value, list):
            raise TypeError(value)
        value = tuple(_reason(entry) if isinstance(entry, dict) else entry for entry in value)
    for entry in value if field.is_tuple else (value,):
        if not isinstance(entry, field.fitting) or (
                isinstance(entry, bool) and bool not in field.fitting):
            raise TypeError(entry)
    return value


def _reason(entry: Dict[str, Any]) -> Reason:
    reason = Reason(**entry)
    if not all(isinstance(text, (str, type(None))) for text in reason):
        raise TypeError(entry)
    return reason


def revived(records: Iterable[Dict[str, Any]]) -> Iterator[Event]:
    """Yield the events of records, in order."""
    for record in records:
        event = revive(record)
        if event is not None:
            yield event
