"""Definitions and configs made at random: valid ones, and those with something changed."""

from __future__ import annotations

import copy
import random
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import Tuple

#: What breaks a rule somewhere: of names, paths, variables, titles.
STRINGS = (
    '', '.', '..', 'a.', '.a', 'a', 'A-b_c.d', 'a' * 100, 'a' * 101, 'con', 'NUL.txt', 'com1',
    'com0', 'a\n', 'a b', 'é', '\0', 'tab\t', '/abs', 'C:/x', 'a\\b', 'a/../b', '..\\b', '../a',
    'a/..', 'a..b', 'a/.x.done', '.x.partial', 'a/.done.corrupt-1', '.hidden', 'x/y' * 400,
    'p' * 256, 'é' * 150, 'PIPELINE_X', 'pipeline_x', 'A_1', '1A', '$', '\u200b', '\xa0', '\ufeff',
    '\ue000',
    '\u0378', 'run_id', 'stages', 'gemini_api', 'deny', 'open', 'retry', 'Retry', '{item.id}',
    '{item.nmae}', '*.txt', 'x' * 200, 'x' * 201, '\U0001f600', 'a/./b', 'bin', 'state/x')

NUMBERS = (-1, 0, 1, 2, 0.5, 1.0, 1.5, 1000, 1001, 4096, 3600.5, 2 ** 40, 2 ** 41, 315_000_001,
           1e300)

OTHERS: Tuple[Any, ...] = (None, True, False, [], {}, [1], ['a'], ['a', 'a'], {'a': 1},
                           {'name': 'j'}, {'tokens': 2, 'wait': False}, {'glob': '*', 'list': []})

KEYS = ('name', 'outputdir', 'max_workers', 'maxWorkers', 'stop_on_failure', 'retry', 'id',
        'queue', 'env', 'params', 'forEach', 'jobs', 'items', 'glob', 'jsonl', 'onSuccess', '',
        'limits', 'quota', 'v2_features', 'x y', 'dependsOn', 'rate', 'timeoutSec')


def some(rng: random.Random, given: Dict[str, Callable[[], Any]], share: float = 0.4
         ) -> Dict[str, Any]:
    """Return some of the keys, with values that are made for them."""
    return {key: make() for key, make in given.items() if rng.random() < share}


def valid_pipeline(rng: random.Random) -> Dict[str, Any]:
    """Return a definition without a fault."""
    count = rng.randint(1, 4)
    document = some(rng, {
        'version': lambda: '1.2', 'keepRuns': lambda: rng.randint(1, 300),
        'python': lambda: 'python3', '$schema': lambda: 'x.json',
        'defaults': lambda: _shared(rng, []),
        'items': lambda: {f'c{n}': _collection(rng) for n in range(rng.randint(0, 3))}})
    stages = [_stage(rng, number, list(document.get('items', {}))) for number in range(count)]
    return dict(document, name='pipeline é', stages=stages)


def _stage(rng: random.Random, number: int, collections: List[str]) -> Dict[str, Any]:
    stage = dict(_shared(rng, [f's{n}' for n in range(number)]), name=f's{number}',
                 processor=f'bin/{number}.py', outputDir=f'data/{number}')
    stage.update(some(rng, {'inputs': lambda: ['data/in.txt', '/abs/*.csv']}))
    kind = rng.choice(['plain', 'jobs', 'items'])
    if kind == 'jobs':
        stage['jobs'] = ['left', dict({'name': 'right'}, **some(rng, {
            'inputs': lambda: ['x'], 'params': lambda: {'a': [1]}, 'env': lambda: {'A': ''},
            'outputDir': lambda: f'data/{number}/right'}))]
    elif kind == 'items' and collections:
        stage['forEach'] = rng.choice(collections)
        stage['outputDir'] += '/{item.id}'
    return stage


def _shared(rng: random.Random, earlier: List[str]) -> Dict[str, Any]:
    found = some(rng, {
        'params': lambda: {'deep': [{'x': None}]}, 'env': lambda: {'LEVEL': '3', '_x': ''},
        'idempotency': lambda: {'enabled': rng.random() < 0.5},
        'checkpoint': lambda: {'enabled': True, 'lineInterval': rng.choice([1, 50, 2.0])},
        'retry': lambda: some(rng, {'maxAttempts': lambda: 2, 'factor': lambda: 1.5,
                                    'unknown': lambda: 'fail', 'jitter': lambda: 0}),
        'timeoutSec': lambda: rng.choice([0.1, 7200]), 'graceSec': lambda: rng.choice([0, 3600]),
        'cleanEnv': lambda: True, 'secretEnv': lambda: ['TOKEN'],
        'resources': lambda: some(rng, {'memoryMB': lambda: 100, 'cpuCores': lambda: 1}),
        'network': lambda: 'allow', 'files': lambda: 'declared', 'stopOnFailure': lambda: False,
        'quota': lambda: rng.choice(['api', {'api': 2}, {'api': {'tokens': 1, 'wait': False}}]),
        'limit': lambda: rng.choice(['disk', ['disk', 'net']])}, 0.2)
    found.update(some(rng, {rng.choice(['maxWorkers', 'max_workers']): lambda: 3}, 0.2))
    if earlier and rng.random() < 0.3:
        found['dependsOn'] = [rng.choice(earlier)]
    return found


def _collection(rng: random.Random) -> Dict[str, Any]:
    return rng.choice([{'glob': 'data/*.txt'}, {'list': ['a', 'doi:10.1/x']}, {'queue': True},
                       {'jsonl': 'rows.jsonl', 'id': 'key'}])


def valid_config(rng: random.Random) -> Dict[str, Any]:
    """Return a config without a fault."""
    features: Dict[str, Callable[[], Any]] = {
        'max_workers': lambda: 4, 'enable_parallel': lambda: False,
        'checkpoint_file': lambda: 'x.json',
        'retry': lambda: {'attempts': 3, 'base': 0.5, 'enable_jitter': True},
        'quota': lambda: {'api': {'rate': 60, 'per_seconds': 0.5}},
        'feature_flags': lambda: {'enable_smart_retry': True}}
    return dict(some(rng, {
        'version': lambda: '2.0.0', 'stage_timeout': lambda: 7200, 'log_level': lambda: 'INFO',
        'dry_run': lambda: False, 'safetyGate': lambda: ['gate.txt'],
        'retry_policy': lambda: {'enabled': True, 'default_max_attempts': 3, 'per_stage': {
            's': {'max_attempts': 5, 'backoff_base': 2}}},
        'limits': lambda: {'default': 8, 'per_key': {'a b': 2}},
        'queue': lambda: {'max_workers': 8, 'lease_ttl_seconds': 600, 'heartbeat_seconds': 30},
        'v2_features': lambda: some(rng, features)}), **some(rng, features))


def places(value: Any, place: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """Yield every place in a document."""
    yield place
    entries = value.items() if isinstance(value, dict) else enumerate(
        value if isinstance(value, list) else ())
    for key, entry in entries:
        yield from places(entry, (*place, key))


def mutated(rng: random.Random, document: Any) -> Any:
    """Return a copy in which something at a random place is replaced, added, renamed or gone."""
    document = copy.deepcopy(document)
    chosen = rng.choice([place for place in places(document) if place] or [()])
    if not chosen:
        return rng.choice(OTHERS)
    holder = document
    for key in chosen[:-1]:
        holder = holder[key]
    what = rng.random()
    if what < 0.15:
        del holder[chosen[-1]]
    elif what < 0.3 and isinstance(holder, dict):
        holder[rng.choice(KEYS + STRINGS)] = holder.pop(chosen[-1])
    elif what < 0.45 and isinstance(holder, dict):
        holder[rng.choice(KEYS)] = rng.choice(STRINGS + NUMBERS + OTHERS)
    else:
        former = holder[chosen[-1]]
        alike = STRINGS if isinstance(former, str) else NUMBERS if isinstance(
            former, (int, float)) else OTHERS
        holder[chosen[-1]] = rng.choice(alike if rng.random() < 0.8 else
                                        STRINGS + NUMBERS + OTHERS)
    return document


def made(rng: random.Random, make: Callable[[random.Random], Any], count: int) -> List[Any]:
    """Return documents: one in five is valid, the others have one to three changes."""
    found = []
    for number in range(count):
        document = make(rng)
        for _ in range(rng.choice([1, 1, 2, 3]) if number % 5 else 0):
            document = mutated(rng, document)
        found.append(document)
    return found
