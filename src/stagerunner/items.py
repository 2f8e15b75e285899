"""The members of a collection, and the stage of one of them with its placeholders filled in."""

from __future__ import annotations

import fnmatch
import glob
import io
import json
import os
import posixpath
import re
from collections import Counter

from stagerunner.definition import Items
from stagerunner.definition import Stage
from stagerunner.errors import DefinitionError
from stagerunner.errors import Unreadable
from stagerunner.files import digest_bytes
from stagerunner.files import is_text
from stagerunner.files import parse_json
from stagerunner.files import read_bytes
from stagerunner.keys import is_reserved
from stagerunner.placeholders import OPENING
from stagerunner.placeholders import PLACEHOLDER
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.schema import describe
from stagerunner.spelling import DEVICES
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

    _Values = Dict[str, str]
    _Maker = Callable[[_Values], Any]

#: An encoded id has at most so many bytes, of which a cut one ends in `~` and some digits.
LONGEST = 100
_DIGITS = 8

#: Files of rows may be larger than other JSON: most of them is one line per item.
MAX_ROWS_BYTES = 1 << 30

#: So many faults of one file are told.
_FAULTS = 20

_SAFE = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}')
_UNSAFE = re.compile(rb'[^A-Za-z0-9._-]')
_LEADING_DOTS = re.compile(r'\.+')
_CUT_ESCAPE = re.compile(r'%[0-9A-F]?$')

#: No other name can be that of a device, so no other is looked at twice.
_DEVICE_STARTS = frozenset(device[:3] for device in DEVICES)

_canonical = json.JSONEncoder(sort_keys=True, separators=(',', ':')).encode


class Item(NamedTuple):
    """One member of a collection; `id` and `name` are as given, `encoded` is one path component.

    `content` is what the file at `path` has to hold, where the runner writes
    it.  `is_found` items are files or folders that a glob found: their names
    are path components as they are.
    """

    id: str
    encoded: str
    path: str
    name: str
    stem: str
    content: Optional[bytes] = None
    is_found: bool = False
    #: Keys of limits that its tasks take beside those of their stage.
    limits: Tuple[str, ...] = ()


def encode(name: str) -> str:
    """Return free text as one path component, different for different texts.

    What is neither a letter, a digit nor one of `._-` is percent-encoded, and
    so are leading dots and the names of Windows devices.  Over 100 bytes it is
    cut, and ends in `~` and 8 digits of the SHA-256 of the whole.

    >>> encode('paper_1.txt'), encode('doi:10.1234/x'), encode('..'), encode('con.txt')
    ('paper_1.txt', 'doi%3A10.1234%2Fx', '%2E%2E', '%63on.txt')
    """
    if _SAFE.fullmatch(name) and not _is_device(name):
        return name
    raw = name.encode('utf-8', 'surrogatepass')
    text = _UNSAFE.sub(lambda found: b'%%%02X' % found.group()[0], raw).decode('ascii')
    text = _LEADING_DOTS.sub(lambda dots: '%2E' * len(dots.group()), text, 1) \
        if text.startswith('.') else text
    if _is_device(text):
        text = f'%{ord(text[0]):02X}{text[1:]}'
    if len(text) <= LONGEST:
        return text
    kept = _CUT_ESCAPE.sub('', text[:LONGEST - _DIGITS - 1])
    return f'{kept}~{digest_bytes(raw)[:_DIGITS]}'


def _is_device(name: str) -> bool:
    return name[:3].lower() in _DEVICE_STARTS and name.partition('.')[0].lower() in DEVICES


# -- members ---------------------------------------------------------------------

def expand(root: str, collection: str, items: Items) -> Tuple[Item, ...]:
    """Return the members of a collection, those of a glob sorted, others in their order.

    The queue has none here.  Raises `DefinitionError` with every fault of a
    file of rows, or where two members could not be told apart.
    """
    found: List[Item] = []
    if items.kind == 'glob':
        found = _found_files(root, collection, str(items.source))
    elif items.kind == 'list':
        found = [_listed(name, encode(name), name) for name in items.source or ()]
    elif items.kind == 'jsonl':
        found = _rows(root, collection, str(items.source), items.id_key)
    _check_names(collection, found)
    return tuple(found)


def entry_item(root: str, collection: str, artifact_id: str, artifact: Any,
               limits: Tuple[str, ...] = ()) -> Item:
    """Return a queue entry as a member of a collection, whose file holds its artifact."""
    encoded = encode(artifact_id)
    names = StateNames(root)
    return _listed(artifact_id, encoded, names.relative(names.item_file(collection, encoded)),
                   _canonical(artifact).encode('ascii') + b'\n')._replace(limits=limits)


def former_item(root: str, collection: str, encoded: str) -> Optional[Item]:
    """Return an entry of which only its encoded id is known; None when that was cut."""
    if '~' in encoded:
        return None
    text = re.sub('%([0-9A-F]{2})', lambda found: chr(int(found.group(1), 16)), encoded)
    return entry_item(root, collection, text.encode('latin-1').decode('utf-8', 'replace'), {})


def _listed(name: str, encoded: str, path: str, content: Optional[bytes] = None) -> Item:
    last = name.rstrip('/').rpartition('/')[2] or name
    return Item(name, encoded, path, last, _stem(last), content)


def _stem(name: str) -> str:
    """Return a name without its suffix; what begins with its only dot has none."""
    stem = name.rpartition('.')[0]
    return stem if stem.strip('.') else name


def _check_names(collection: str, items: Sequence[Item]) -> None:
    """Refuse members that would share their files: cut ids, or on Windows upper and lower case."""
    encoded = [item.encoded for item in items]
    if os.name == 'nt':  # pragma: no cover - names there are the same in any case
        encoded = [name.lower().rstrip('.') for name in encoded]
    if len(set(encoded)) != len(encoded):
        first: Dict[str, str] = {}
        raise DefinitionError(tuple(
            f'items.{collection}: {describe(first[name])} and {describe(item.id)} would have '
            f'the same file name; choose shorter ids'
            for name, item in zip(encoded, items)
            if first.setdefault(name, item.id) != item.id)[:_FAULTS])


def _found_files(root: str, collection: str, pattern: str) -> List[Item]:
    paths = _matches(root, pattern)
    strange = [path for path in paths if not is_text(path)]
    if strange:
        raise DefinitionError(tuple(f'items.{collection}: {describe(path)} is not UTF-8; '
                                    f'rename that file' for path in strange[:_FAULTS]))
    names = [path.rpartition('/')[2] for path in paths]
    ids = names
    counts = Counter(names) if len(set(names)) != len(names) else {}
    if counts:
        fixed = len(_fixed_part(pattern))
        ids = [path[fixed:] if counts[name] > 1 else name for path, name in zip(paths, names)]
    return [Item(one, encode(one), path, name, _stem(name), None, True)
            for one, path, name in zip(ids, paths, names)]


def _matches(root: str, pattern: str) -> List[str]:
    """Return what a glob matches, relative to the root where the glob is.

    Dot files and files of the runner are nobody's items, whatever the glob.
    """
    if os.path.lexists(os.path.join(root, pattern)):
        return [posixpath.normpath(pattern)]
    pattern = posixpath.normpath(pattern)
    folder, _, last = pattern.rpartition('/')
    if glob.has_magic(last) and last != '**' and not glob.has_magic(folder):
        # The plain case, for folders with very many files.
        prefix = pattern[:len(pattern) - len(last)]
        names = fnmatch.filter(_names_in(os.path.join(root, prefix)), last)
        return sorted([prefix + name for name in names if not name.startswith('.')])
    base = '' if os.path.isabs(pattern) else glob.escape(root) + os.sep
    skip = len(os.path.join(root, '')) if base else 0
    found = (match[skip:].replace(os.sep, '/').rstrip('/')
             for match in glob.iglob(base + pattern, recursive=True))
    fixed = _fixed_part(pattern).rstrip('/')
    return sorted({match for match in found
                   if match and match != fixed and not _is_hidden(match)})


def _names_in(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _is_hidden(path: str) -> bool:
    has_dot = path.startswith('.') or '/.' in path
    return has_dot and (path.rpartition('/')[2].startswith('.') or is_reserved(path))


def _fixed_part(pattern: str) -> str:
    """Return the folders before the first part with a wildcard.

    >>> _fixed_part('./data/in/*/x-*.txt'), _fixed_part('*.txt')
    ('data/in/', '')
    """
    parts = posixpath.normpath(pattern).split('/')[:-1]
    number = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return ''.join(part + '/' for part in parts[:number])


# -- rows --------------------------------------------------------------------------

def _rows(root: str, collection: str, name: str, id_key: str) -> List[Item]:
    try:
        data = read_bytes(os.path.join(root, name), MAX_ROWS_BYTES)
    except FileNotFoundError:
        raise DefinitionError((f'{name}: there is no such file; items.{collection} needs it',)
                              ) from None
    except Unreadable as error:
        raise DefinitionError((f'{name}: {error.fault}',)) from error
    names = StateNames(root)
    folder = names.relative(names.item_folder(collection))
    found: List[Item] = []
    faults: List[str] = []
    lines: Dict[str, int] = {}
    for number, line in _lines(data):
        try:
            row = parse_json(line.rstrip(b'\r\n'), name)
            one = _id_of(row, id_key)
        except Unreadable as error:
            faults.append(f'{name}:{number}: {error.fault}'.replace(' at line 1 column',
                                                                    ' at column'))
            continue
        except ValueError as error:
            faults.append(f'{name}:{number}: {error}')
            continue
        if lines.setdefault(one, number) != number:
            faults.append(f'{name}:{number}: {describe(one)} is the id of line {lines[one]} too')
            continue
        encoded = encode(one)
        found.append(_listed(one, encoded, f'{folder}/{encoded}.json',
                             _canonical(row).encode('ascii') + b'\n'))
    if faults:
        more = [f'{name}: and {len(faults) - _FAULTS} more faults'] * (len(faults) > _FAULTS)
        raise DefinitionError((*faults[:_FAULTS], *more))
    return found


def _lines(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Yield lines that are not blank, with their numbers, without a copy of the whole."""
    return ((number, line) for number, line in enumerate(io.BytesIO(data), 1) if line.strip())


def _id_of(row: Any, key: str) -> str:
    if not isinstance(row, dict):
        raise ValueError(f'expected an object, got {describe(row)}')
    repeated = getattr(row, 'repeated', ())
    if repeated:
        raise ValueError(f'duplicate key {describe(repeated[0])}')
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value or '\0' in value:
        raise ValueError(f'key {describe(key)}: expected a string or a whole number, '
                         f'got {describe(value)}' if key in row else
                         f'key {describe(key)} is missing')
    return value


# -- placeholders ------------------------------------------------------------------

def filler(stage: Stage) -> Callable[[Item], Stage]:
    """Return a function that makes the stage of an item, quickly.

    In paths the id stands encoded, and so do name and stem unless they are
    those of a file that a glob found; in `params` and `env` all is as given.
    """
    paths = _makers(stage, ('inputs', 'output_dir', 'outputs'))
    texts = _makers(stage, ('params', 'env'))
    if not paths and not texts:
        return lambda item: stage

    def make(item: Item) -> Stage:
        filled: List[Any] = list(stage)
        if paths:
            values = _path_values(item)
            for index, maker in paths:
                filled[index] = maker(values)
        if texts:
            values = {'id': item.id, 'path': item.path, 'name': item.name, 'stem': item.stem}
            for index, maker in texts:
                filled[index] = maker(values)
        return Stage._make(filled)

    return make


def _path_values(item: Item) -> _Values:
    if item.is_found:
        return {'id': item.encoded, 'path': item.path, 'name': item.name, 'stem': item.stem}
    return {'id': item.encoded, 'path': item.path, 'name': encode(item.name),
            'stem': encode(item.stem)}


def _makers(stage: Stage, fields: Sequence[str]) -> List[Tuple[int, _Maker]]:
    found = []
    for field in fields:
        maker = _maker(getattr(stage, field))
        if maker and field == 'output_dir':
            # An absolute path in the middle leaves two slashes.
            maker = _normal(maker)
        if maker:
            found.append((Stage._fields.index(field), maker))
    return found


def _normal(maker: _Maker) -> _Maker:
    return lambda values: posixpath.normpath(maker(values))


def _maker(value: Any) -> Optional[_Maker]:
    """Return what makes a copy of `value` with values filled in, None where nothing is."""
    if isinstance(value, str):
        return _text_maker(value) if OPENING in value else None
    if isinstance(value, dict):
        makers = [(key, maker) for key, maker in
                  ((key, _maker(entry)) for key, entry in value.items()) if maker]
        return (lambda values: dict(value, **{key: maker(values) for key, maker in makers})
                ) if makers else None
    if isinstance(value, (list, tuple)):
        entries = [_maker(entry) for entry in value]
        kind = type(value)
        return (lambda values: kind(maker(values) if maker else entry
                                    for maker, entry in zip(entries, value))
                ) if any(entries) else None
    return None


def _text_maker(text: str) -> Optional[_Maker]:
    fixed_and_fields = PLACEHOLDER.split(text)
    form = '%s'.join(part.replace('%', '%%') for part in fixed_and_fields[::2])
    fields = fixed_and_fields[1::2]
    return (lambda values: form % tuple([values[field] for field in fields])) if fields else None
