"""Decode JSON as strictly as a file that people rely on deserves; encode it for people to read."""

from __future__ import annotations

import json
import math

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Set
    from typing import Tuple

    _Object = Dict[str, Any]
else:
    _Object = dict

#: Deepest nesting, and most digits of a number.
MAX_DEPTH = 64
MAX_DIGITS = 1000

#: Made once: `json.dumps` would make one for every file.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Repeated(_Object):
    """A JSON object with duplicate keys, which are kept in `repeated`."""

    repeated: Tuple[str, ...] = ()


def parse(data: bytes, *, refuses_repeats: bool = False) -> Any:
    """Decode strict JSON, or raise `ValueError` with the place and the fault.

    Refused beyond what the `json` module refuses: anything but UTF-8, NaN and
    Infinity, numbers too large for a float, over 1,000 digits, nesting deeper
    than 64, escaped halves of surrogate pairs.  A byte order mark is allowed:
    editors on Windows write one.  Duplicate keys come back as `Repeated`, so
    that a checker can name their place, unless they are refused too.
    """
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        if data.startswith((b'\xff\xfe', b'\xfe\xff')):
            # What a redirection in Windows PowerShell leaves.
            raise ValueError('is UTF-16; save it as UTF-8') from error
        raise ValueError(f'not UTF-8 at byte {error.start}') from error
    try:
        value = (_REFUSING if refuses_repeats else _DECODER).decode(text)
    except json.JSONDecodeError as error:
        what = 'is empty' if not text.strip() else (
            f'not valid JSON at line {error.lineno} column {error.colno}: {error.msg}'
            f'{_slip(text, error.pos)}')
        raise ValueError(what) from error
    except RecursionError as error:
        raise ValueError(f'nested deeper than {MAX_DEPTH}') from error
    has_escapes = '\\u' in text
    if has_escapes or text.count('[') + text.count('{') > MAX_DEPTH:
        _check_depth(value, has_escapes=has_escapes)
    return value


def _slip(text: str, at: int) -> str:
    """Name the slip of a hand that is used to other notations, where it is one.

    >>> _slip('{"a": 1,}', 8), _slip("{'a': 1}", 1)
    ('; the comma before it is too many', '; strings stand in double quotes')
    >>> _slip('{} // done', 3), _slip('[1 2]', 3)
    ('; JSON has no comments', '')
    """
    here = text[at:at + 2]
    if here[:1] in ('}', ']') and text[:at].rstrip().endswith(','):
        return '; the comma before it is too many'
    if here[:1] == "'":
        return '; strings stand in double quotes'
    return '; JSON has no comments' if here in ('//', '/*') or here[:1] == '#' else ''


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: Set[str] = set()
    result = Repeated(found)
    for key, _ in pairs:
        if key in seen:
            result.repeated += (key,)
        seen.add(key)
    return result


def _object_of_different_keys(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = _object(pairs)
    if isinstance(found, Repeated):
        raise ValueError(f'duplicate key {ascii(found.repeated[0])}')
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f'{name} is not a JSON number')


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f'a number has {len(digits)} digits, at most {MAX_DIGITS} are read')
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value) or len(digits) > MAX_DIGITS:
        raise ValueError(f'{digits[:20]} is too large for a number')
    return value


#: Made once: a file of rows asks for it a hundred thousand times.
_DECODER, _REFUSING = (
    json.JSONDecoder(object_pairs_hook=make, parse_constant=_no_constant, parse_int=_whole,
                     parse_float=_finite) for make in (_object, _object_of_different_keys))


def _check_depth(value: Any, *, has_escapes: bool) -> None:
    """Refuse deep nesting, and lone surrogates where an escape could have made one."""
    level = [value]
    depth = 0
    while level:
        depth += any(isinstance(entry, (dict, list)) for entry in level)
        if depth > MAX_DEPTH:
            raise ValueError(f'nested deeper than {MAX_DEPTH}')
        below: List[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                below.extend(entry.values())
                if has_escapes:
                    below.extend(entry)
            elif isinstance(entry, list):
                below.extend(entry)
            elif has_escapes and isinstance(entry, str):
                _check_text(entry)
        level = below


def _check_text(text: str) -> None:
    try:
        text.encode('utf-8')
    except UnicodeEncodeError as error:
        raise ValueError('a string holds half of a surrogate pair') from error


def in_lines(value: Any) -> str:
    """Return JSON that people can read, a line per key, in a fifth of the time of `indent`.

    >>> print(in_lines({'a': [1, 2], 'b': [{'c': 1}, {'c': 2}]}))
    {
     "a": [1, 2],
     "b": [
      {"c": 1},
      {"c": 2}
     ]
    }
    """
    if not isinstance(value, dict) or not value:
        return _encode(value)
    return '{\n %s\n}' % ',\n '.join([f'{_encode(str(key))}: {_rows(entry)}'
                                       for key, entry in value.items()])


def _rows(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return '[\n  %s\n ]' % ',\n  '.join(map(_encode, value))
    return _encode(value)
