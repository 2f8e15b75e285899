"""Events read back from their JSON: what an audit or `--json` tells, as records again."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from typing import Dict
from typing import Iterable
from typing import Iterator
from typing import List
from typing import Optional
from typing import Tuple

from stagerunner.events import Event
from stagerunner.events import Reason
from stagerunner.wording import event_of

_NUMBER = (int, float)

#: What a field of a type may hold; of tuples, each entry.
_FITTING: Dict[str, Tuple[Any, ...]] = {
    'str': (str,), 'int': (int,), 'bool': (bool,), 'float': _NUMBER, 'Dict': (dict,),
    'Optional[str]': (str, type(None)), 'Optional[int]': (int, type(None)),
    'Optional[float]': (*_NUMBER, type(None)), 'Tuple[str, ...]': (str,),
    'Tuple[Reason, ...]': (Reason,), 'Tuple[Any, ...]': (*_NUMBER, type(None)),
    'Sequence[str]': (str,), 'Sequence': (object,)}


def revive(record: Dict[str, Any]) -> Optional[Event]:
    """Return the event that a record tells of; None for one that this version does not know.

    A record that lacks something, or has a value of another type, was written by
    no runner and tells of nothing.

    >>> revive({'event': 'task_cancelled', 'task': 'a', 'why': 'asked to', 'seq': 7})
    TaskCancelled(task='a', why='asked to')
    >>> revive({'event': 'task_teleported'}), revive({'event': 'task_cancelled', 'task': 7})
    (None, None)
    """
    event = event_of(record)
    if event is None or isinstance(event, Reason):
        return None
    values = []
    for value, (is_row, fitting) in zip(event, _fitting(type(event))):
        if is_row and not isinstance(value, (list, tuple)):
            return None
        entries = tuple(_reason(entry) if isinstance(entry, dict) and is_row else entry
                        for entry in (value if is_row else (value,)))
        if not all(_fits(entry, fitting) for entry in entries):
            return None
        values.append(entries if is_row else value)
    return type(event)(*values)


def _fits(value: Any, fitting: Tuple[Any, ...]) -> bool:
    # true and false are numbers to Python.
    return isinstance(value, fitting) and (not isinstance(value, bool) or bool in fitting)


@lru_cache(maxsize=None)
def _fitting(kind: Any) -> List[Tuple[bool, Tuple[Any, ...]]]:
    """Return of each field whether it is a row of entries, and what they may be."""
    found = []
    for annotation in kind.__annotations__.values():
        # Some versions of Python keep the text, others wrap it.
        text = getattr(annotation, '__forward_arg__', annotation)
        outer = text.partition('[')[0]
        found.append((outer in ('Tuple', 'Sequence'),
                      _FITTING[text] if text in _FITTING else _FITTING[outer]))
    return found


def _reason(entry: Dict[str, Any]) -> Any:
    """Return a reason, or what is none for one with other keys or values."""
    is_one = set(entry) == set(Reason._fields) and all(
        isinstance(text, (str, type(None))) for text in entry.values())
    return Reason(**entry) if is_one else entry


def revived(records: Iterable[Dict[str, Any]]) -> Iterator[Event]:
    """Yield the events of records, in order."""
    for record in records:
        event = revive(record)
        if event is not None:
            yield event
