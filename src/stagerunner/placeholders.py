"""The placeholders `{item.…}` of a stage that fans out: where they stand and what they may be."""

from __future__ import annotations

import posixpath
import re

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Iterator
    from typing import List
    from typing import Tuple

#: What of an item can be filled in.
FIELDS = ('id', 'path', 'name', 'stem')

#: How every placeholder begins; what has none of these holds no placeholder.
OPENING = '{item.'

#: A placeholder with the name of its field as a group, whether there is such a field or not.
PLACEHOLDER = re.compile(r'\{item\.([^{}]*)\}')


def fields_in(text: str) -> List[str]:
    """Return the fields that a text asks for, unknown ones too.

    >>> fields_in('data/{item.id}/{item.nmae}.txt'), fields_in('{item}')
    (['id', 'nmae'], [])
    """
    return PLACEHOLDER.findall(text) if OPENING in text else []


def texts_in(value: Any, place: Tuple[Any, ...]) -> Iterator[Tuple[Tuple[Any, ...], str]]:
    """Yield the strings of a JSON value that begin a placeholder, each with its place."""
    if isinstance(value, str):
        if OPENING in value:
            yield place, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from texts_in(entry, place + (key,))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from texts_in(entry, place + (index,))


def fixed_folder(path: str) -> str:
    """Return the part of a normal path that is the same for all items ('.' when there is none).

    >>> [fixed_folder(path) for path in ('data/out/x-{item.id}/deep', 'data/out', '{item.id}')]
    ['data/out', 'data/out', '.']
    """
    at = path.find(OPENING)
    return path if at < 0 else posixpath.dirname(path[:at]) or '.'
