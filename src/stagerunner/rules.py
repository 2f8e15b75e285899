"""Rules of a definition that hold across keys, stages, jobs and collections.

They look at what passed the checks of single keys (`keys`): a value that did
not is absent or None here, and its fault has been told already.
"""

from __future__ import annotations

import posixpath

from stagerunner.graph import find_cycle
from stagerunner.placeholders import FIELDS
from stagerunner.placeholders import OPENING
from stagerunner.placeholders import fields_in
from stagerunner.placeholders import fixed_folder
from stagerunner.placeholders import texts_in
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.schema import Fault
from stagerunner.schema import Where
from stagerunner.schema import describe
from stagerunner.schema import nearest
from stagerunner.schema import place_text

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterable
    from typing import Iterator
    from typing import List
    from typing import Sequence
    from typing import Tuple

    Given = Dict[str, Any]

#: Folders of the runner itself, which no stage may publish into or around.
OWN_FOLDERS = ('state', 'locks', 'src')

#: Keys of a stage in which placeholders are filled in.
FILLED = ('inputs', 'outputDir', 'outputs', 'params', 'env')



class _Unit(NamedTuple):
    """A job, or a stage that has none: where it stands, its stage, what is its own."""

    where: Where
    stage: Given
    own: Given


def faults_across(top: Given) -> List[Fault]:
    """Return every fault that no single key shows; `top` is what `keys.PIPELINE` let through."""
    stages = top.get('stages') or []
    defaults = top.get('defaults') or {}
    items = top.get('items') or {}
    faults = _name_clashes([(('stages', index, 'name'), stage.get('name'))
                            for index, stage in enumerate(stages)])
    faults += _name_clashes([(('items', name), name) for name in items])
    for index, stage in enumerate(stages):
        faults += _name_clashes([(unit.where + ('name',), unit.own.get('name'))
                                 for unit in _jobs(index, stage)])
        faults += _fan_out_faults(index, stage, items)
        faults += _placeholder_faults(index, stage, defaults)
    faults += _folder_faults(stages) + _output_clashes(stages, defaults, items)
    faults += _dependency_faults(stages, defaults) + _cycle_faults(stages, defaults, items)
    return list(dict.fromkeys(faults))


def merge(defaults: Given, given: Given) -> Given:
    """Lay what is given over defaults: objects key by key, everything else as a whole.

    >>> merge({'retry': {'factor': 2, 'jitter': 0}}, {'retry': {'factor': 3}})
    {'retry': {'factor': 3, 'jitter': 0}}
    """
    merged = dict(defaults)
    for key, value in given.items():
        both_are_objects = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = dict(merged[key], **value) if both_are_objects else value
    return merged


def is_within(path: str, folder: str) -> bool:
    """True when `path` is `folder` or lies below it, by name alone.

    >>> is_within('data/work/a.txt', 'data/work'), is_within('data/workshop', 'data/work')
    (True, False)
    """
    return path == folder or path.startswith(folder.rstrip('/') + '/')


def upwards(path: str) -> Iterator[str]:
    """Yield a relative path in its normal form, and every folder above it.

    >>> list(upwards('./a/b'))
    ['a/b', 'a']
    """
    path = posixpath.normpath(path)
    while path != posixpath.dirname(path):
        yield path
        path = posixpath.dirname(path)


def _jobs(index: int, stage: Given) -> List[_Unit]:
    return [_Unit(('stages', index, 'jobs', number), stage,
                  {'name': job} if isinstance(job, str) else job or {})
            for number, job in enumerate(stage.get('jobs') or ())]


def _units(stages: Sequence[Given]) -> Iterator[_Unit]:
    for index, stage in enumerate(stages):
        yield from _jobs(index, stage) or [_Unit(('stages', index), stage, stage)]


def _declared(stages: Sequence[Given], key: str) -> List[Tuple[Where, str]]:
    """Return the values that stages and jobs give a key, with their places."""
    found = []
    for index, stage in enumerate(stages):
        for unit in [_Unit(('stages', index), stage, stage), *_jobs(index, stage)]:
            if unit.own.get(key):
                found.append((unit.where + (key,), unit.own[key]))
    return found


# -- names, folders, outputs -------------------------------------------------------

def _name_clashes(names: Iterable[Tuple[Where, Any]]) -> List[Fault]:
    faults = []
    first: Dict[str, Tuple[Where, str]] = {}
    for where, name in names:
        if not name:
            continue
        place, other = first.setdefault(name.lower(), (where, name))
        if place != where:
            same = '' if other == name else ' but for the case of its letters'
            owner = place_text(place[:-1] if place[-1] == 'name' else place)
            faults.append(Fault(where, f"'{name}' is the name of {owner} too{same}"))
    return faults


def _folder_faults(stages: Sequence[Given]) -> List[Fault]:
    """Refuse output folders that would mix with the runner's own files or with code."""
    faults = []
    code = {posixpath.dirname(posixpath.normpath(path))
            for _, path in _declared(stages, 'processor')} - {''}
    for where, raw in _declared(stages, 'outputDir'):
        folder = fixed_folder(posixpath.normpath(raw))
        if folder == '.':
            faults.append(Fault(where, 'must be a folder inside the workspace, not its root'
                                if OPENING not in raw else
                                'must begin with a folder that is the same for all items'))
            continue
        for other in (*OWN_FOLDERS, *sorted(code)):
            if is_within(folder.lower(), other.lower()) or is_within(other.lower(),
                                                                     folder.lower()):
                owner = "the runner's own folder" if other in OWN_FOLDERS else 'the code in'
                faults.append(Fault(where, f"'{folder}' would mix outputs with {owner} '{other}'; "
                                           f'choose another folder'))
                break
    return faults


def _output_clashes(stages: Sequence[Given], defaults: Given, items: Given) -> List[Fault]:
    """Refuse two tasks that declare to publish the same path."""
    faults = []
    first: Dict[Tuple[str, str], Where] = {}
    for unit in _units(stages):
        folder = unit.own.get('outputDir', unit.stage.get('outputDir'))
        owner = ('stages', unit.where[1]) if 'outputs' in unit.stage else ('defaults',)
        for number, name in enumerate(merge(defaults, unit.stage).get('outputs') or ()):
            if not folder or not name or any(sign in name for sign in '*?['):
                continue
            where = owner + ('outputs', number) if unit.own is unit.stage else unit.where
            path = posixpath.normpath(posixpath.join(folder, name))
            each = unit.stage.get('forEach') or ''
            # What has the items of two collections in its name differs, as far as is known.
            key = (path.lower(), each if OPENING in path else '')
            other = first.setdefault(key, unit.where)
            if other != unit.where:
                faults.append(Fault(where, f"'{path}' is published by {place_text(other)} too"))
            elif OPENING not in path and _has_many(items.get(each)):
                faults.append(Fault(where, f"'{path}' is published by every item of '{each}'; "
                                           f'put {{item.id}} into it or into outputDir'))
    return faults


def _has_many(collection: Any) -> bool:
    """True for a collection that exists and may have more than one item."""
    return bool(collection) and ('list' not in collection or len(collection['list']) > 1)


# -- jobs and items ------------------------------------------------------------------

def _fan_out_faults(index: int, stage: Given, items: Given) -> List[Fault]:
    name = stage.get('forEach')
    faults = []
    if 'jobs' in stage and 'forEach' in stage:
        faults.append(Fault(('stages', index), "'jobs' and 'forEach' exclude each other, "
                                               'give one of them', 'forEach'))
    if name and name not in items:
        faults.append(Fault(('stages', index, 'forEach'),
                            f"there is no '{name}' in 'items'{nearest(name, list(items))}"))
    return faults + _path_faults(index, stage, (items.get(name or '') or {}).get('list') or ())


def _path_faults(index: int, stage: Given, ids: Sequence[Any]) -> List[Fault]:
    """Refuse strings of a list that are used as paths and lead upwards."""
    faults = []
    for key in ('inputs', 'outputDir'):
        for where, text in texts_in(stage.get(key), ('stages', index, key)):
            if 'path' in fields_in(text):
                faults += [Fault(where, f"{{item.path}} leads upwards with the item "
                                        f'{describe(name)}')
                           for name in ids if name and '..' in name.replace('\\', '/').split('/')]
    return faults


def _placeholder_faults(index: int, stage: Given, defaults: Given) -> List[Fault]:
    """Refuse placeholders of a stage without items, and those of no known field."""
    faults = []
    found = list(_placeholders(('stages', index), stage, defaults))
    for unit in _jobs(index, stage):
        found += _placeholders(unit.where, unit.own, {})
    for where, text in found:
        for field in fields_in(text):
            shown = describe(f'{{item.{field}}}')
            if 'forEach' not in stage:
                faults.append(Fault(where, f"{shown} needs 'forEach'"))
            elif field not in FIELDS:
                faults.append(Fault(where, f'unknown placeholder {shown}'
                                           f'{nearest(field, FIELDS)}'))
    return faults


def _placeholders(where: Where, own: Given, defaults: Given) -> Iterator[Tuple[Where, str]]:
    """Yield what begins a placeholder, in what is a stage's own and in the defaults it takes."""
    for key in FILLED:
        yield from texts_in(own.get(key), where + (key,))
        common = defaults.get(key)
        if isinstance(common, dict):
            replaced = own.get(key) or {}
            common = {name: value for name, value in common.items() if name not in replaced}
        elif key in own:
            continue
        yield from texts_in(common, ('defaults', key))


# -- order ---------------------------------------------------------------------------

def _needs_of(stage: Given, defaults: Given) -> List[str]:
    return [name for name in merge(defaults, stage).get('dependsOn') or () if name]


def _dependency_faults(stages: Sequence[Given], defaults: Given) -> List[Fault]:
    """Refuse to depend on what does not exist or on oneself."""
    faults = []
    names = [stage['name'] for stage in stages if stage.get('name')]
    known = set(names)
    for index, stage in enumerate(stages):
        owner: Where = ('stages', index) if 'dependsOn' in stage else ('defaults',)
        for number, name in enumerate(merge(defaults, stage).get('dependsOn') or ()):
            where = owner + ('dependsOn', number)
            if name and name == stage.get('name'):
                own = '' if 'dependsOn' in stage else '; give it "dependsOn": [] of its own'
                faults.append(Fault(where, f"stage '{name}' cannot depend on itself, a cycle"
                                           f'{own}'))
            elif name and name not in known:
                faults.append(Fault(where, f"there is no stage '{name}'{nearest(name, names)}"))
    return faults


def _cycle_faults(stages: Sequence[Given], defaults: Given, items: Given) -> List[Fault]:
    """Refuse stages that wait for one another; only `dependsOn` can point forward."""
    places = {stage['name']: index for index, stage in enumerate(stages) if stage.get('name')}
    declared = {name: [need for need in _needs_of(stages[index], defaults)
                       if need in places and need != name] for name, index in places.items()}
    if not any(places[need] > places[name] for name in places for need in declared[name]):
        return []
    folders: Dict[str, List[int]] = {}
    for unit in _units(stages):
        folder = unit.own.get('outputDir', unit.stage.get('outputDir'))
        if folder:
            folders.setdefault(fixed_folder(posixpath.normpath(folder)), []).append(unit.where[1])
    cycle = find_cycle({name: list(dict.fromkeys(declared[name] + [
        stages[maker]['name'] for path in _inputs(stages[index], items) for above in upwards(path)
        for maker in folders.get(above, ()) if maker < index and stages[maker].get('name')]))
        for name, index in places.items()})
    return [Fault((), f"stages form a cycle: {' -> '.join(cycle)}", 'stages')] if cycle else []


def _inputs(stage: Given, items: Given) -> List[str]:
    """Return all that a stage reads: its inputs, those of its jobs, where its items come from."""
    found = [*(stage.get('inputs') or ())]
    for unit in _jobs(0, stage):
        found += unit.own.get('inputs') or ()
    collection = items.get(stage.get('forEach') or '') or {}
    return [path for path in [*found, collection.get('glob'), collection.get('jsonl')] if path]
