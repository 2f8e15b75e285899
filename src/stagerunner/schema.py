"""Check decoded JSON against a table of keys and collect every fault with its place.

A checker takes a value and where it stands, and returns the value to go on
with.  What is wrong is added to a list of faults instead of being raised, so
that the author of a file learns of all faults in one go.  The tables of
checkers are data: `definition` has the one for `pipeline.json`.
"""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

    Where = Tuple[Any, ...]
else:
    Where = tuple

#: No time in a definition may be longer than this, in seconds (some ten years).
LONGEST_S = 315_000_000

#: So many stages are listed where one is named that there is not.
_MOST_STAGES = 20


class Fault(NamedTuple):
    """One thing that is wrong: its place as keys and indexes from the top, and a message."""

    where: Where
    message: str
    #: The key inside `where` that the message is about; it only decides the order.
    key: str = ''

    def line(self, file: str) -> str:
        """Return the fault as users see it: file, place, fact."""
        place = place_text(self.where)
        return f'{file}: {place}: {self.message}' if place else f'{file}: {self.message}'


def place_text(where: Where) -> str:
    """Spell a place the way a programmer would.

    >>> place_text(('stages', 1, 'checkpoint', 'lineInterval'))
    'stages[1].checkpoint.lineInterval'
    """
    text = ''
    for part in where:
        if isinstance(part, int):
            text += f'[{part}]'
        else:
            text += f'.{printable(part)}' if text else printable(part)
    return text


def printable(text: str) -> str:
    """Return user text that cannot move the cursor or break a line."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def in_file_order(faults: Sequence[Fault], document: Any) -> List[Fault]:
    """Sort faults by where their places stand in the document, top to bottom."""
    orders: Dict[int, Dict[Any, int]] = {}
    return sorted(faults, key=lambda fault: _position(
        fault.where + ((fault.key,) if fault.key else ()), document, orders))


def _position(where: Where, document: Any, orders: Dict[int, Dict[Any, int]]) -> Tuple[int, ...]:
    """Return indexes from the top; `orders` keeps the places of keys by the object's identity."""
    position = []
    for part in where:
        if isinstance(document, dict):
            if id(document) not in orders:
                orders[id(document)] = {key: place for place, key in enumerate(document)}
            position.append(orders[id(document)].get(part, len(document)))
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int):
            position.append(part)
            document = document[part] if part < len(document) else None
        else:
            break
    return tuple(position)


def describe(value: Any) -> str:
    """Name a JSON value in a message, short and on one line."""
    if value is None:
        return 'null'
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return ascii(value) if len(value) <= 60 else ascii(value[:57]) + '...'
    if isinstance(value, dict):
        return 'an object'
    return 'a list' if isinstance(value, list) else repr(value)[:60]


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a suggestion to append to a message about an unknown name, or nothing."""
    close = closest(name, known)
    return f", did you mean '{close}'?" if close else ''


def no_stage(name: str, stages: Sequence[str]) -> str:
    """Say that there is no such stage, and which one may be meant or which there are.

    >>> print(no_stage('wrok', ['work', 'rest']))
    there is no stage 'wrok', did you mean 'work'?
    >>> print(no_stage('x', ['work', 'rest']))
    there is no stage 'x'; the stages are work, rest
    """
    more = len(stages) - _MOST_STAGES
    there_are = ', '.join(stages[:_MOST_STAGES]) + (f' and {more} more' if more > 0 else '')
    return f"there is no stage '{printable(name)}'" + (
        nearest(name, stages) or f'; the stages are {there_are}')


def closest(name: str, known: Sequence[str]) -> str:
    """Return the known name that is spelled most like `name`, '' when none is."""
    import difflib

    folded = {key.lower(): key for key in known}
    close = difflib.get_close_matches(name.lower(), list(folded), 1, 0.6)
    return folded[close[0]] if close else ''


class Checker:
    """Checks one value; the base accepts everything."""

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        """Return the value to go on with; add what is wrong to `faults`."""
        return value


class Rule(NamedTuple):
    """What a string must be: a function that returns the complaint, and a pattern for editors.

    The pattern is a regular expression of JSON Schema.  It refuses nothing that the function
    accepts, and accepts only what no such expression could refuse.
    """

    complaint: Callable[[str], Optional[str]]
    pattern: str


class Text(Checker):
    """A string that `rule`, when given, finds nothing wrong with."""

    def __init__(self, rule: Optional[Rule] = None, *, may_be_empty: bool = False):
        self.rule = rule
        self.may_be_empty = may_be_empty

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if not isinstance(value, str):
            faults.append(Fault(where, f'expected a string, got {describe(value)}'))
            return None
        complaint = None
        if '\0' in value:
            complaint = 'must not contain a NUL character'
        elif not value and not self.may_be_empty:
            complaint = 'must not be empty'
        elif self.rule:
            complaint = self.rule.complaint(value)
        if complaint:
            faults.append(Fault(where, complaint))
            return None
        return value


class Flag(Checker):
    """true or false."""

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if not isinstance(value, bool):
            faults.append(Fault(where, f'expected true or false, got {describe(value)}'))
        return value


class Choice(Checker):
    """One of a few strings."""

    def __init__(self, *allowed: str):
        self.allowed = allowed

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if not isinstance(value, str) or value not in self.allowed:
            names = ' or '.join(repr(name) for name in self.allowed)
            hint = nearest(value, self.allowed) if isinstance(value, str) else ''
            faults.append(Fault(where, f'expected {names}, got {describe(value)}{hint}'))
        return value


class Number(Checker):
    """A number from `least` to `most`, a whole one where `whole` says so."""

    def __init__(self, least: float = 0, most: float = LONGEST_S, *,
                 whole: bool = False, above: bool = False):
        self.least = least
        self.most = most
        self.whole = whole
        self.above = above

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not self._is_in_range(value) or (self.whole and value % 1):
            too_much = is_number and value > self.most
            wanted = f'at most {self.most:g}' if too_much else self._wanted()
            faults.append(Fault(where, f'expected {wanted}, got {describe(value)}'))
            return value
        return int(value) if self.whole else value

    def _is_in_range(self, value: float) -> bool:
        low = value > self.least if self.above else value >= self.least
        return low and value <= self.most

    def _wanted(self) -> str:
        kind = 'a whole number' if self.whole else 'a number'
        if self.most != LONGEST_S:
            return f'{kind} from {self.least:g} to {self.most:g}'
        if self._is_in_range(self.least) and self.least != 1:
            return f'{kind} of at least {self.least:g}'
        return f'{kind} above {0 if self.whole else self.least:g}'


class ListOf(Checker):
    """A list whose entries are all checked by `entry`."""

    def __init__(self, entry: Checker, *, at_least: int = 0):
        self.entry = entry
        self.at_least = at_least

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if not isinstance(value, list):
            faults.append(Fault(where, f'expected a list, got {describe(value)}'))
            return []
        if len(value) < self.at_least:
            faults.append(Fault(where, f'expected at least {self.at_least}, got an empty list'))
        return [self.entry.check(entry, where + (index,), faults)
                for index, entry in enumerate(value)]


class Mapping(Checker):
    """An object with free keys; `key_rule` finds fault with a key, `value` checks the values."""

    def __init__(self, value: Optional[Checker] = None,
                 key_rule: Optional[Rule] = None):
        self.value = value or AnyJson()
        self.key_rule = key_rule

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if not _is_object(value, where, faults):
            return {}
        result = {}
        for key, entry in value.items():
            complaint = self.key_rule.complaint(key) if self.key_rule else None
            if complaint:
                faults.append(Fault(where + (key,), complaint))
            result[key] = self.value.check(entry, where + (key,), faults)
        return result


class AnyJson(Checker):
    """Any JSON value without duplicate keys."""

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        if isinstance(value, dict):
            _is_object(value, where, faults)
            return {key: self.check(entry, where + (key,), faults)
                    for key, entry in value.items()}
        if isinstance(value, list):
            return [self.check(entry, where + (index,), faults)
                    for index, entry in enumerate(value)]
        return value


class ByKind(Checker):
    """A value that may be written in more than one way: a checker for each kind of JSON value."""

    def __init__(self, wanted: str, *, text: Optional[Checker] = None,
                 number: Optional[Checker] = None, entries: Optional[Checker] = None,
                 record: Optional[Checker] = None):
        self.wanted = wanted
        self.checkers = [(kind, checker) for kind, checker in (
            (str, text), ((int, float), number), (list, entries), (dict, record)) if checker]

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        """Return None where the kind is none of those that are allowed."""
        for kind, checker in self.checkers:
            if isinstance(value, kind) and not isinstance(value, bool):
                return checker.check(value, where, faults)
        faults.append(Fault(where, f'expected {self.wanted}, got {describe(value)}'))
        return None


class Key(NamedTuple):
    """One key of an object: how it is checked and what holds when it is not given."""

    checker: Checker
    default: Any = None
    required: bool = False


class Record(Checker):
    """An object with known keys only.

    `spellings` maps other spellings of keys to the ones in `keys`.
    """

    #: What a `check` of its own adds, in the words of JSON Schema.
    more: Dict[str, Any] = {}

    def __init__(self, keys: Dict[str, Key], *, spellings: Optional[Dict[str, str]] = None):
        self.keys = keys
        self.spellings = spellings or {}

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        """Return only the keys that were given; `complete` adds the defaults."""
        if not _is_object(value, where, faults):
            return {}
        result = {}
        meant = set()
        for key, entry in value.items():
            main = self.spellings.get(key, key)
            if main in self.keys:
                if main != key and main in value:
                    faults.append(Fault(where, f"'{main}' and '{key}' are one key, "
                                               f'give one of them', key))
                result[main] = self.keys[main].checker.check(entry, where + (key,), faults)
            else:
                known = list(self.keys)
                meant.add(closest(key, known))
                faults.append(Fault(where, f'unknown key {describe(key)}{nearest(key, known)}',
                                    key))
        for key, rule in self.keys.items():
            # Of one that is there with a slip in it enough is said.
            if rule.required and key not in value and key not in meant:
                faults.append(Fault(where, f"key '{key}' is missing", key))
        return result

    def complete(self, given: Dict[str, Any]) -> Dict[str, Any]:
        """Return `given` with the default of every key that is not in it."""
        return {key: given.get(key, rule.default) for key, rule in self.keys.items()}


def _is_object(value: Any, where: Where, faults: List[Fault]) -> bool:
    if not isinstance(value, dict):
        faults.append(Fault(where, f'expected an object, got {describe(value)}'))
        return False
    for key in getattr(value, 'repeated', ()):
        faults.append(Fault(where, f'duplicate key {describe(key)}'))
    return True
