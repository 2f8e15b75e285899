"""A broken config is refused in full, a line per fault, before anything is touched."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import sizes
from support import CHECKOUT
from support import Finished
from support import Workspace

pytestmark = pytest.mark.integration

CONFIG = 'pipeline_config.json'
CONFIGS = sorted((CHECKOUT / 'tests' / 'configs').glob('*.json'))

#: What the examples of the documents do not have, so that all keys can be broken.
MORE: Dict[str, Any] = {
    '$schema': 'x', 'dry_run': False, 'safetyGate': ['passed'],
    'limits': {'default': 8, 'per_key': {'crossref': 3}},
    'queue': {'max_workers': 8, 'max_per_resolver': {'x': 2}, 'max_per_host': 4,
              'lease_ttl_seconds': 600, 'heartbeat_seconds': 30, 'max_job_attempts': 3,
              'retry_backoff_seconds': 60, 'jitter_seconds': 15}}

#: No value that is right for any key is of these, by what is right there.
WRONG: Dict[type, List[Any]] = {
    str: [5, None, True, [], {}, '', 1.5], bool: [0, 1, 'true', None, [], {}],
    int: ['4', None, True, [], {'a': 1}, -1, '', 10 ** 400],
    float: ['0.5', None, False, [], {'a': 1}, -0.5, ''],
    dict: [None, 5, 'x', [], True, [{}]], list: [None, 5, 'x', {}, True]}

#: Right in type and out of range.
OUT_OF_RANGE: Dict[str, List[Any]] = {
    'max_workers': [0, 1001, 1.5, 2 ** 70], 'attempts': [0, 1001, 2.5],
    'default_max_attempts': [0, 1001], 'max_attempts': [0, 0.5], 'factor': [1001, 1e300],
    'default_backoff_base': [1001], 'stage_timeout': [0, 1e300], 'rate': [0, 1.5],
    'per_seconds': [0, -0.0], 'circuit_breaker_threshold': [0, 1.5], 'default': [0, 2.5],
    'log_level': ['info', 'LOUD', 'ERROR '], 'heartbeat_seconds': [0, 201],
    'lease_ttl_seconds': [0, 89], 'max_per_host': [0]}

#: Objects whose keys people choose.
FREE = ('quota', 'per_stage', 'per_key', 'max_per_resolver')

UNKNOWN = ['x', 'max_worker', 'maxWorkers', 'Version', '', 'k\ney', '\x1b[2J', 'ключ', 'a' * 5000,
           'dryRun', 'safety_gate', '__proto__', 'rate ', 'retries']

BAD_TOKENS = ['NaN', '-Infinity', '1e999', '01', '.5', "'x'", 'undefined', '"\\ud800"', '"a\nb"',
              '[1,]', '/* no */ 1', '[' * 100_000, '"x', '0x10', 'tru', '9' * 4301]

Where = Tuple[Any, ...]


class Mutant(NamedTuple):
    """Bytes of a config with so many faults."""

    data: bytes
    kind: str
    n_lines: int


def complete(rng: random.Random) -> Dict[str, Any]:
    """Return a valid config: one of the documents, perhaps with everything else as well."""
    document: Dict[str, Any] = json.loads(rng.choice(CONFIGS).read_text('utf-8'))
    if rng.random() < 0.5:
        document.update(copy.deepcopy(MORE))
    return document


def places(value: Any, where: Where = ()) -> Iterator[Tuple[Where, Any]]:
    """Yield every value inside of a document and where it stands."""
    entries = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ())
    for key, entry in entries:
        yield (*where, key), entry
        yield from places(entry, (*where, key))


def put(document: Any, where: Where, value: Any) -> None:
    """Replace the value at a place."""
    for key in where[:-1]:
        document = document[key]
    document[where[-1]] = value


def mutants(rng: random.Random) -> Iterator[Mutant]:
    """Yield broken configs for ever, all kinds in turn."""
    while True:
        for kind, mutate in MUTATIONS.items():
            found = mutate(rng, complete(rng))
            if found is None:
                continue
            changed, n_lines = found
            data = changed if isinstance(changed, bytes) else json.dumps(
                changed, ensure_ascii=rng.random() < 0.5,
                indent=rng.choice([None, 2])).encode('utf-8')
            yield Mutant(data, kind, n_lines)


Result = Optional[Tuple[Any, int]]


def _wrong_type(rng: random.Random, document: Dict[str, Any]) -> Result:
    where, value = rng.choice(list(places(document)))
    put(document, where, rng.choice(WRONG[type(value)]))
    return document, 1


def _out_of_range(rng: random.Random, document: Dict[str, Any]) -> Result:
    where, _ = rng.choice([(where, value) for where, value in places(document)
                           if where[-1] in OUT_OF_RANGE and not isinstance(value, dict)])
    put(document, where, rng.choice(OUT_OF_RANGE[where[-1]]))
    return document, 1


def _unknown_key(rng: random.Random, document: Dict[str, Any]) -> Result:
    known = [value for where, value in places(document)
             if isinstance(value, dict) and where[-1] not in FREE]
    rng.choice([document, *known])[rng.choice(UNKNOWN)] = rng.choice([None, 1, 'x', {}, []])
    return document, 1


def _missing_key(rng: random.Random, document: Dict[str, Any]) -> Result:
    quotas = document.get('quota') or document['v2_features']['quota']
    del next(iter(quotas.values()))[rng.choice(['rate', 'per_seconds'])]
    return document, 1


def _empty_name(rng: random.Random, document: Dict[str, Any]) -> Result:
    free = [value for where, value in places(document) if where[-1] in FREE]
    chosen = rng.choice(free)
    chosen[''] = copy.deepcopy(next(iter(chosen.values())))
    return document, 1


def _duplicate_key(rng: random.Random, document: Dict[str, Any]) -> Result:
    found = [value for where, value in places(document) if isinstance(value, dict) and value]
    chosen = rng.choice([document, *found])
    key = rng.choice(list(chosen))
    pair = f'{json.dumps(key)}: {json.dumps(chosen[key])}'
    chosen['@here@'] = 0
    return json.dumps(document).replace('"@here@": 0', pair).encode('utf-8'), 1


def _said_twice(rng: random.Random, document: Dict[str, Any]) -> Result:
    other: Dict[str, Any] = rng.choice([
        {'max_workers': 7}, {'enable_parallel': True}, {'checkpoint_file': 'other.json'},
        {'retry': {'attempts': 9}}, {'retry': {'base': 9, 'attempts': 9}},
        {'quota': {name: {'rate': 1, 'per_seconds': 1} for name in ('api_x', 'gemini_api')}}])
    n_lines = 2 if len(other.get('retry', ())) == 2 else 1
    if 'v2_features' in document:
        document.update(other)
    else:
        document['v2_features'] = other
    return document, n_lines


def _several(rng: random.Random, document: Dict[str, Any]) -> Result:
    """Break the leaves of a config in many places at once."""
    leaves = [(where, value) for where, value in places(document)
              if not isinstance(value, (dict, list))]
    chosen = rng.sample(leaves, rng.randint(2, min(6, len(leaves))))
    for where, value in chosen:
        put(document, where, rng.choice([wrong for wrong in WRONG[type(value)]
                                         if not isinstance(wrong, dict)]))
    return document, len(chosen)


def _features_and_flat(rng: random.Random, document: Dict[str, Any]) -> Result:
    """Say a thing at the top, where the other place for it is no object at all."""
    document['v2_features'] = rng.choice(WRONG[dict])
    document['max_workers'] = 3
    document.setdefault('retry', {'attempts': 2})
    return document, 1


def _bad_token(rng: random.Random, document: Dict[str, Any]) -> Result:
    where, _ = rng.choice(list(places(document)))
    put(document, where, '@here@')
    text = json.dumps(document).replace('"@here@"', rng.choice(BAD_TOKENS), 1)
    return text.encode('utf-8', 'surrogatepass'), 1


def _truncated(rng: random.Random, document: Dict[str, Any]) -> Result:
    data = json.dumps(document).encode('utf-8')
    return data[:rng.randrange(len(data))], 1


def _spoilt(rng: random.Random, document: Dict[str, Any]) -> Result:
    """Flip a bit or cut bytes out; what is JSON after that is no mutant."""
    data = bytearray(json.dumps(document, indent=1).encode('utf-8'))
    place = rng.randrange(len(data))
    if rng.random() < 0.5:
        data[place] ^= 1 << rng.randrange(8)
    else:
        del data[place:place + rng.choice([1, 2, 40])]
    try:
        json.loads(data.decode('utf-8'))
    except ValueError:
        return bytes(data), 1
    return None


def _surroundings(rng: random.Random, document: Dict[str, Any]) -> Result:
    data = json.dumps(document).encode('utf-8')
    before, after = rng.choice([(b'', b'x'), (b'', b'{}'), (b'', b'\0'), (b'// c\n', b''),
                                (b'[', b']'), (b'\xff', b''), (b'', b','), (b'\x1a', b'')])
    return before + data + after, 1


def _encoding(rng: random.Random, document: Dict[str, Any]) -> Result:
    return json.dumps(document).encode(rng.choice(['utf-16', 'utf-16-le', 'utf-32'])), 1


def _no_object(rng: random.Random, document: Dict[str, Any]) -> Result:
    return rng.choice([b'', b' \n', b'\xef\xbb\xbf', b'null', b'[]', b'"x"', b'5', b'{', b'true',
                       b'\0' * 50, b'\n' * 1000]), 1


MUTATIONS: Dict[str, Callable[[random.Random, Dict[str, Any]], Result]] = {
    'wrong type': _wrong_type, 'out of range': _out_of_range, 'unknown key': _unknown_key,
    'missing key': _missing_key, 'empty name': _empty_name, 'duplicate key': _duplicate_key,
    'said twice': _said_twice, 'several': _several, 'features and flat': _features_and_flat,
    'bad token': _bad_token, 'truncated': _truncated, 'spoilt': _spoilt,
    'surroundings': _surroundings, 'encoding': _encoding, 'no object': _no_object}

COMMANDS: Sequence[Sequence[str]] = ((), ('plan',), ('--dry-run',), ('why', 'work'), ('--resume',),
                                     ('doctor',))


def check(mutant: Mutant, done: Finished) -> None:
    """Assert that everything is told, in lines fit for people, and nothing else."""
    shown = f'{done} for {mutant.data[:1500]!r}'
    assert done.code == 2 and done.out == '', shown
    assert 'Traceback' not in done.err and 'bug' not in done.err, shown
    lines = done.err.split('\n')
    assert lines.pop() == '', shown
    assert len(lines) == len(set(lines)) == mutant.n_lines, f'{mutant.n_lines} expected: {shown}'
    for line in lines:
        assert line.startswith(f'{CONFIG}: ') and line.isprintable(), shown


@sizes(60, 500)
def test_a_broken_config_is_refused(size: int, workspace: Workspace,
                                    main: Callable[..., Finished]) -> None:
    tally = Tally('fuzz-config in-process', SEED)
    kinds: Dict[str, int] = Counter()
    workspace.simple()
    made = mutants(random.Random(f'{SEED} config'))
    for number in range(size):
        mutant = next(made)
        workspace.write(CONFIG, mutant.data)
        command = COMMANDS[number % len(COMMANDS)]
        before = workspace.tree()
        with tally.trial(f'{number} {mutant.kind}') as trial:
            trial.fired()
            kinds[mutant.kind] += 1
            n_names = 1 if command and command[0] in ('plan', 'why', 'doctor') else 0
            check(mutant, main(*command[:n_names], '--pipeline', workspace.pipeline_file,
                               *command[n_names:]))
            assert workspace.tree() == before
    tally.conclude()
    assert set(kinds) == set(MUTATIONS), kinds


@sizes(5, 50)
def test_a_broken_config_is_refused_by_a_real_process(size: int, workspace: Workspace,
                                                      install: Install) -> None:
    tally = Tally('fuzz-config processes', SEED)
    workspace.simple()
    made = mutants(random.Random(f'{SEED} config processes'))
    for number in range(size):
        mutant = next(made)
        workspace.write(CONFIG, mutant.data)
        before = workspace.tree()
        with tally.trial(f'{number} {mutant.kind}') as trial:
            trial.fired()
            check(mutant, install.run(workspace))
            assert workspace.tree() == before
    tally.conclude()


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_complete_configs_of_the_documents_run(path: Path, workspace: Workspace,
                                                   main: Callable[..., Finished]) -> None:
    """Alone, and with every other key: what the mutants are made from is valid."""
    workspace.simple()
    document = json.loads(path.read_text('utf-8'))

    for config in (document, dict(document, **MORE)):
        workspace.write(CONFIG, json.dumps(config))
        done = main('--pipeline', workspace.pipeline_file)

        assert (done.code, done.err) == (0, ''), done
