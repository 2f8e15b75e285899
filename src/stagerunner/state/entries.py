"""What the checkpoint file says of one item, how that changes, and how the whole file is spelled.

Pure.  A change is a small JSON object: `in` (the collection), `id`, `at`, and
what is new: `stage`, `stages` (names with times), `error`, `retries`,
`simulated`.  So a file and the changes since then make the present state.
An entry is kept as a dictionary, or as its JSON text where memory counts.
"""

from __future__ import annotations

import json

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Container
    from typing import Dict
    from typing import Iterator
    from typing import List

NOT_STARTED, IN_PROGRESS, COMPLETED, FAILED = 'not_started', 'in_progress', 'completed', 'failed'

#: All that the `stage` of an entry may be.
STAGES = (NOT_STARTED, IN_PROGRESS, COMPLETED, FAILED)

#: Version of the documented format.
VERSION = '2.0.0'

#: Of the errors of one item the latest are kept: an update must not cost more with each error.
MOST_ERRORS = 100

#: The entries of these are spelled one per line, those of other objects all in one.
_IN_ONE_LINE = ('stats', 'config')

#: Lines that are put together before they are written.
_LINES_PER_BLOCK = 1000

spell = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_spell_lines = json.JSONEncoder(ensure_ascii=False, allow_nan=False,
                                separators=(',\n  ', ': ')).encode


def new_entry() -> Dict[str, Any]:
    """Return what is said of an item of which nothing is known yet."""
    return {'stage': NOT_STARTED, 'stages': {}, 'retries': 0}


#: The same as text.
UNTOUCHED = spell(new_entry())


def new_stats(collection: str) -> Dict[str, int]:
    """Return the counts of a collection before anything happened.

    >>> new_stats('papers')
    {'total_papers': 0, 'completed_papers': 0, 'failed_papers': 0}
    """
    return dict.fromkeys((f'total_{collection}', f'completed_{collection}',
                          f'failed_{collection}'), 0)


def apply(data: Dict[str, Any], change: Dict[str, Any], *, as_text: bool = False) -> None:
    """Bring the document up to date with one change, its counts included."""
    collection, stats = change['in'], data['stats']
    entries = data[collection]
    found = entries.get(change['id'])
    if found is None:
        found = new_entry()
        _add(stats, f'total_{collection}', 1)
    elif found is UNTOUCHED:
        # The usual case, which need not be decoded.
        found = new_entry()
    entry = json.loads(found) if isinstance(found, str) else found
    before = entry['stage']
    amend(entry, change)
    for stage in (COMPLETED, FAILED):
        _add(stats, f'{stage}_{collection}', (entry['stage'] == stage) - (before == stage))
    _add(stats, 'retries', change.get('retries', 0))
    entries[change['id']] = spell(entry) if as_text else entry
    data['last_updated'] = change['at']


def amend(entry: Dict[str, Any], change: Dict[str, Any]) -> None:
    """Bring one entry up to date."""
    at, stage = change['at'], change.get('stage')
    if stage is not None:
        entry['stage'] = stage
        if stage != NOT_STARTED:
            entry.setdefault('started_at', at)
        entry.pop('completed_at', None)
        if stage == COMPLETED:
            entry['completed_at'] = at
    entry.setdefault('stages', {}).update(change.get('stages', {}))
    entry['retries'] = entry.get('retries', 0) + change.get('retries', 0)
    if 'error' in change:
        entry['last_error'] = change['error']
        errors = entry.setdefault('errors', [])
        errors.append({'timestamp': at, 'message': change['error']})
        del errors[:-MOST_ERRORS]
    if change.get('simulated'):
        entry['dry_run'] = True


def recount(data: Dict[str, Any], collection: str) -> None:
    """Make the counts of a collection agree with its entries."""
    stages = [(json.loads(entry) if isinstance(entry, str) else entry)['stage']
              for entry in data[collection].values()]
    data['stats'].update({f'total_{collection}': len(stages),
                          f'completed_{collection}': stages.count(COMPLETED),
                          f'failed_{collection}': stages.count(FAILED)})


def _add(stats: Dict[str, int], name: str, number: int) -> None:
    if number:
        stats[name] = stats.get(name, 0) + number


def is_document(data: Any, *collections: str) -> bool:
    """True for what can be a checkpoint file with (or without) these collections."""
    if not isinstance(data, dict) or not isinstance(data.get('stats', {}), dict):
        return False
    return (all(type(count) is int for count in data.get('stats', {}).values())
            and all(isinstance(data.get(name, {}), dict) for name in collections)
            and all(_is_entry(entry) for name in collections
                    for entry in data.get(name, {}).values()))


def _is_entry(entry: Any) -> bool:
    return (isinstance(entry, dict) and isinstance(entry.get('stage'), str)
            and isinstance(entry.get('stages', {}), dict)
            and isinstance(entry.get('errors', []), list)
            and type(entry.get('retries', 0)) is int)


def as_plain_text(text: str) -> str:
    """Return `text` with what no file in UTF-8 can hold (bytes of odd file names) spelled out.

    >>> as_plain_text('caf\\udce9.pdf')
    'caf\\\\udce9.pdf'
    """
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def render(data: Dict[str, Any], as_text: Container[str] = ()) -> Iterator[bytes]:
    """Yield the document in blocks, with an item per line; `as_text` are collections of texts."""
    yield b'{'
    separator = '\n '
    for key, value in data.items():
        head = f'{separator}{spell(key)}: '
        separator = ',\n '
        if isinstance(value, dict) and value and key not in _IN_ONE_LINE:
            yield f'{head}{{'.encode()
            yield from _entries(value, as_text=key in as_text)
            yield b'\n }'
        else:
            yield (head + spell(value)).encode('utf-8')
    yield b'\n}\n'


def _entries(entries: Dict[str, Any], *, as_text: bool) -> Iterator[bytes]:
    if not as_text and isinstance(next(iter(entries.values())), str):
        # Of the stages only a time: all at once takes a third of the time.
        yield f'\n  {_spell_lines(entries)[1:-1]}'.encode()
        return
    lines: List[str] = []
    separator = '\n  '
    for key, entry in entries.items():
        lines.append(f'{separator}{spell(key)}: {entry if as_text else spell(entry)}')
        separator = ',\n  '
        if len(lines) == _LINES_PER_BLOCK:
            yield ''.join(lines).encode('utf-8')
            lines = []
    yield ''.join(lines).encode('utf-8')
