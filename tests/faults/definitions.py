"""Random definitions, ways to break them, and a small judge of its own of what is valid.

The judge shares no code with the runner: it was written from the contract.
Where the contract names no limit, the values made here are either sane or
absurd, never close to one.
"""

from __future__ import annotations

import copy
import json
import os
import posixpath
import random
import re
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Tuple

from support import Workspace

#: Writes one output whose name no other stage has.
PROCESSOR = '''\
import os

name = os.environ['PIPELINE_STAGE_NAME'] + '.txt'
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], name), 'w') as out:
    out.write('done')
'''

INPUTS = ('data/input/x.txt', 'data/input/y.txt', 'data/input', 'data/input/*.txt',
          'data/input/none-*.txt', './data/input/x.txt', 'data/input/odd [name].txt')


def make_files(root: Path) -> Workspace:
    """Make everything that random definitions refer to."""
    workspace = Workspace(root)
    for name in ('bin/a.py', 'bin/deep/b.py'):
        workspace.write(name, PROCESSOR)
    for name in ('x.txt', 'y.txt', 'odd [name].txt'):
        workspace.write(f'data/input/{name}', name)
    workspace.write('a-file', '')
    return workspace


# -- valid ones --------------------------------------------------------------------------

def random_document(rng: random.Random) -> Dict[str, Any]:
    """Return a definition that is valid and whose stages all succeed."""
    document: Dict[str, Any] = {'name': rng.choice([
        'demo', 'My pipeline 2', 'ünï – ok', 'x' * 200])}
    if rng.random() < 0.5:
        document['version'] = rng.choice(['1.0.0', '0', '2025-12-01'])
    if rng.random() < 0.3:
        document['$schema'] = './pipeline.schema.json'
    if rng.random() < 0.3:
        document['keepRuns'] = rng.choice([1, 5, 200, 7.0])
    if rng.random() < 0.4:
        document['defaults'] = _shared(rng)
    document['stages'] = []
    for number in range(rng.randint(1, 6)):
        document['stages'].append(_stage(rng, number, document['stages']))
    items = list(document.items())
    rng.shuffle(items)
    return dict(items)


def _stage(rng: random.Random, number: int, earlier: List[Dict[str, Any]]) -> Dict[str, Any]:
    name = rng.choice(['stage', 'Clean', '0', 'a.b', 'x-y_z', 'con1', 'N' * 90]) + str(number)
    stage: Dict[str, Any] = {
        'name': name, 'processor': rng.choice(['bin/a.py', 'bin/deep/b.py', './bin//a.py']),
        'outputDir': rng.choice(['data/out', f'out{number}', f'data/deep/er/{number}',
                                 f'data/with space {number}/', './results', 'states', 'binary'])}
    if rng.random() < 0.8:
        stage['inputs'] = rng.sample(INPUTS, rng.randint(0, 3))
        if earlier and rng.random() < 0.5:
            maker = rng.choice(earlier)
            stage['inputs'].append(f'{maker["outputDir"].rstrip("/")}/{maker["name"]}.txt')
    if rng.random() < 0.3:
        stage['outputs'] = rng.choice([[f'{name}.txt'], ['*.txt'], []])
    stage.update(_shared(rng))
    return stage


def _shared(rng: random.Random) -> Dict[str, Any]:
    every = {
        'params': lambda: rng.choice([{}, {'n': 1, 'deep': {'er': [None, True, 'x', 1e-3]}},
                                      {'': '', 'ключ': '\u202e'}]),
        'env': lambda: rng.choice([{}, {'MODE': 'fast', '_x1': ''}, {'LONG': 'y' * 1000}]),
        'idempotency': lambda: rng.choice([{}, {'enabled': True}, {'enabled': False}]),
        'checkpoint': lambda: rng.choice([{}, {'enabled': True, 'lineInterval': 50},
                                          {'lineInterval': 1}]),
        'retry': lambda: rng.choice([{}, {'maxAttempts': 1}, {
            'maxAttempts': 3, 'baseDelaySec': 0, 'factor': 1.5, 'maxDelaySec': 60,
            'jitter': 0.5, 'unknown': 'fail'}]),
        'timeoutSec': lambda: rng.choice([60, 7200, 59.5]),
        'graceSec': lambda: rng.choice([0, 5, 0.25])}
    return {key: make() for key, make in every.items() if rng.random() < 0.25}


# -- mutations -----------------------------------------------------------------------------

class Mutant(NamedTuple):
    """Bytes of a definition; `n_lines` is how many faults it has, where that is known."""

    data: bytes
    kind: str
    n_lines: Optional[int] = None


JUNK: List[Any] = [None, True, False, 0, -1, 1.5, '', 'x', [], {}, [1], {'a': 1}]

BAD_NAMES = ['', ' ', '.', '..', '.hidden', '-x', '_x', 'a b', 'a/b', 'a\\b', 'ä', 'nul', 'CON',
             'com1.txt', 'LPT9', 'aux.', 'name.', 'a' * 101, 'a\nb', 'a\0b', 'a:b', 'a*', '~',
             '\u202ename', '../../etc', 'a\x1b[2J']

BAD_PATHS = ['', '..', '../x', 'a/../../b', '/etc/passwd', '\\x', 'a\\b', 'C:x', 'c:/x', 'a\nb',
             'a\0b', '\x1b[2J', '\u202ex', '/', '//x', 'x/..', '..\\x']

BAD_FOLDERS = ['.', './', 'state', 'state/x', 'State', 'locks', 'LOCKS/deep', 'src', 'src/x/y',
               'bin', 'bin/out', 'bin/deep', 'Bin', 'a-file', 'a-file/x', 'n' * 300,
               'd/' * 3000 + 'x', 'data/' + 'n' * 256]

NUMBERS = [-1, 0, 0.5, 1.5, 1e308, 2 ** 63, 10 ** 30, -0.0, 1e-320, 10 ** 900]

BAD_TOKENS = ['NaN', 'Infinity', '-Infinity', '1e999', '-1e400', '9' * 1001, '9' * 4301, '01',
              '.5', "'x'", 'undefined', '"\\ud800"', '"\\udfff x"', '"\\x41"', '"a\nb"', '"a\tb"',
              '[1,]', '{"a":1,}', '/* no */ 1', '[' * 70 + ']' * 70, '{"a":' * 70 + '1' + '}' * 70,
              '[' * 100_000, '"' + 'x', '+1', '1e', '0x10', '﻿1', 'tru']

LATER = ['onsuccess', 'on_failure', 'depends_on', 'foreach', 'max-workers', 'limits', 'quotas']

_MARK = '"@here@"'


def mutants(rng: random.Random) -> Iterator[Mutant]:
    """Yield broken definitions for ever; now and then one that is harmless."""
    while True:
        document: Any = random_document(rng)
        is_single = rng.random() < 0.75
        if not is_single:
            # Broken in more than one way: how many lines that makes is not foretold.
            _, document, _ = _mutate(rng, document)
        kind, changed, n_lines = _mutate(rng, document)
        if not isinstance(changed, bytes):
            changed = json.dumps(changed, ensure_ascii=rng.random() < 0.5,
                                 indent=rng.choice([None, 2])).encode('utf-8')
        yield Mutant(changed, kind, n_lines if is_single else None)


def _mutate(rng: random.Random, document: Any) -> Tuple[str, Any, Optional[int]]:
    """Return kind, result (bytes or still a document) and number of faults of one mutation."""
    kind = rng.choice(list(MUTATIONS))
    try:
        changed, n_lines = MUTATIONS[kind](rng, copy.deepcopy(document))
    except (TypeError, AttributeError, LookupError):
        # Broken so much already that it cannot be broken in this way too.
        return 'unchanged', document, None
    return kind, changed, n_lines


def _delete_key(rng: random.Random, document: Dict[str, Any]) -> Any:
    target, keys = rng.choice([(document, ['name', 'stages'])] + [
        (stage, ['name', 'processor', 'outputDir']) for stage in document['stages']])
    key = rng.choice(keys)
    existed = target.pop(key, None) is not None
    return document, 1 if existed else None


def _objects(document: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Return every object that has known keys only."""
    found = [document, *document['stages']]
    found += [document['defaults']] if isinstance(document.get('defaults'), dict) else []
    for holder in found[1:]:
        found += [holder[key] for key in ('retry', 'checkpoint', 'idempotency')
                  if isinstance(holder.get(key), dict)]
    return found


def _unknown_key(rng: random.Random, document: Dict[str, Any]) -> Any:
    key = rng.choice(['x', 'Name', 'outputdir', 'input', '', 'stage', 'lineinterval', 'a' * 5000,
                      'k\ney', '\x1b[2J', 'ключ', *LATER])
    rng.choice(_objects(document))[key] = rng.choice(JUNK)
    return document, 1


def _wrong_type(rng: random.Random, document: Dict[str, Any]) -> Any:
    target = rng.choice(_objects(document))
    if target:
        target[rng.choice(list(target))] = rng.choice(JUNK)
    return document, None


def _duplicate_key(rng: random.Random, document: Dict[str, Any]) -> Any:
    target = rng.choice([*_objects(document), *(
        stage['params'] for stage in document['stages'] if isinstance(stage.get('params'), dict))])
    key = rng.choice(list(target) or ['twice'])
    value = target.setdefault(key, 1)
    target['@here@'] = 0
    pair = f'{json.dumps(key)}: {json.dumps(value)}'
    # A key that was unknown before is a fault of its own.
    return json.dumps(document).replace(f'{_MARK}: 0', pair).encode('utf-8'), \
        1 if key != 'twice' else None


def _twin_name(rng: random.Random, document: Dict[str, Any]) -> Any:
    stage = copy.deepcopy(rng.choice(document['stages']))
    if not isinstance(stage.get('name'), str):
        return document, None
    stage['name'] = rng.choice([stage['name'], stage['name'].swapcase()])
    stage.pop('outputs', None)
    document['stages'].append(stage)
    return document, 1


def _bad_name(rng: random.Random, document: Dict[str, Any]) -> Any:
    rng.choice(document['stages'])['name'] = rng.choice(BAD_NAMES)
    return document, 1


def _bad_path(rng: random.Random, document: Dict[str, Any]) -> Any:
    stage = rng.choice(document['stages'])
    key = rng.choice(['processor', 'outputDir', 'inputs', 'outputs'])
    path = rng.choice(BAD_PATHS)
    if key in ('processor', 'outputDir'):
        stage[key] = path
        return document, 1
    stage[key] = [path]
    # An absolute input is allowed, and so is a backslash in the name of one.
    return document, None


def _bad_folder(rng: random.Random, document: Dict[str, Any]) -> Any:
    rng.choice(document['stages'])['outputDir'] = rng.choice(BAD_FOLDERS)
    return document, None


def _missing_file(rng: random.Random, document: Dict[str, Any]) -> Any:
    stage = rng.choice(document['stages'])
    name = rng.choice(['nowhere.py', 'bin/c.py', 'n' * 300, 'd/' * 3000 + 'x', 'bin/a.py/x'])
    if rng.random() < 0.5:
        stage['processor'] = rng.choice([name, 'bin', 'bin/deep/'])
    else:
        stage['inputs'] = [name]
    return document, 1


def _late_producer(rng: random.Random, document: Dict[str, Any]) -> Any:
    document['stages'].append({'name': 'later', 'processor': 'bin/a.py',
                               'outputDir': 'from/later'})
    document['stages'][0]['inputs'] = ['from/later/later.txt']
    return document, 1 if document['stages'][0]['name'] != 'later' else None


def _number(rng: random.Random, document: Dict[str, Any]) -> Any:
    value = rng.choice(NUMBERS)
    stage = rng.choice(document['stages'])
    key = rng.choice(['timeoutSec', 'graceSec', 'lineInterval', 'maxAttempts', 'baseDelaySec',
                      'factor', 'maxDelaySec', 'jitter', 'keepRuns'])
    if key == 'keepRuns':
        document[key] = value
    elif key in ('timeoutSec', 'graceSec'):
        stage[key] = value
    else:
        stage['checkpoint' if key == 'lineInterval' else 'retry'] = {key: value}
    return document, None


def _bad_token(rng: random.Random, document: Dict[str, Any]) -> Any:
    target = rng.choice([document, *document['stages']])
    target['params' if target is not document else 'version'] = '@here@'
    token = rng.choice(BAD_TOKENS)
    return json.dumps(document).replace(_MARK, token, 1).encode('utf-8', 'surrogatepass'), 1


def _flip(rng: random.Random, document: Dict[str, Any]) -> Any:
    data = bytearray(json.dumps(document).encode('utf-8'))
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data), None


def _delete_byte(rng: random.Random, document: Dict[str, Any]) -> Any:
    data = json.dumps(document).encode('utf-8')
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice([1, 1, 2, 40]):], None


def _truncate(rng: random.Random, document: Dict[str, Any]) -> Any:
    data = json.dumps(document).encode('utf-8')
    return data[:rng.randrange(len(data))], 1


def _splice(rng: random.Random, document: Dict[str, Any]) -> Any:
    one, other = (json.dumps(doc).encode('utf-8') for doc in (document, random_document(rng)))
    return one[:rng.randrange(len(one))] + other[rng.randrange(len(other)):], None


def _encoding(rng: random.Random, document: Dict[str, Any]) -> Any:
    text = json.dumps(document, ensure_ascii=False)
    codec = rng.choice(['utf-16', 'utf-16-le', 'utf-32', 'cp1252', 'utf-8-sig', 'utf-7'])
    return text.replace('"name"', '"näme"' if codec == 'cp1252' else '"name"').encode(
        codec, 'replace'), None


def _surroundings(rng: random.Random, document: Dict[str, Any]) -> Any:
    data = json.dumps(document).encode('utf-8')
    before, after = rng.choice([(b'', b'x'), (b'', b'{}'), (b'', b'\0'), (b'// c\n', b''),
                                (b'', b'# c'), (b'[', b']'), (b'\xff', b''), (b'\0', b''),
                                (b'', b','), (b'\x1a', b''), (b'\xef\xbb\xbf' * 2, b'')])
    return before + data + after, 1


def _nothing(rng: random.Random, document: Dict[str, Any]) -> Any:
    return rng.choice([b'', b' \n\t', b'\xef\xbb\xbf', b'null', b'[]', b'"x"', b'5', b'\0' * 50,
                       b'{', b'}', b'true', b'\n' * 1000]), 1


def _huge(rng: random.Random, document: Dict[str, Any]) -> Any:
    stage = rng.choice(document['stages'])
    key = rng.choice(['name', 'processor', 'outputDir', 'inputs', 'title', 'many keys', 'many'])
    if key == 'title':
        document['name'] = 'x' * 100_000
    elif key == 'many keys':
        document.update({f'k{number}': number for number in range(1000)})
        return document, None
    elif key == 'many':
        stage['inputs'] = list(range(3000))
        return document, None
    else:
        long = 'y' * 100_000
        stage[key] = [long] if key == 'inputs' else long
        return document, None
    return document, 1


def _interpreter(rng: random.Random, document: Dict[str, Any]) -> Any:
    document['python'] = rng.choice(['no-such-python', 'bin/no', '/nowhere/python3', 'a-file',
                                     './a-file', 'x\ny', '', 3])
    return document, 1


def _environment(rng: random.Random, document: Dict[str, Any]) -> Any:
    name, value = rng.choice([('PIPELINE_X', ''), ('pipeline_run_id', ''), ('', 'x'), ('1A', 'x'),
                              ('A B', 'x'), ('A=B', 'x'), ('Ä', 'x'), ('A', 1), ('A', None),
                              ('A', 'x\0y'), ('A', ['x'])])
    rng.choice(document['stages'])['env'] = {name: value}
    return document, 1


def _same_output(rng: random.Random, document: Dict[str, Any]) -> Any:
    for name in ('one', 'two'):
        document['stages'].append({
            'name': name, 'processor': 'bin/a.py', 'outputDir': rng.choice(['o/p', './o/p/']),
            'outputs': [rng.choice(['r.txt', './r.txt', 'R.txt'])]})
    return document, 1


def _bad_need(rng: random.Random, document: Dict[str, Any]) -> Any:
    stage = rng.choice(document['stages'])
    stage['dependsOn'] = rng.choice([['nowhere'], [stage['name']], [''], [5], 'x', {}, [[]]])
    return document, 1


def _cycle(rng: random.Random, document: Dict[str, Any]) -> Any:
    needs = rng.choice([['three'], ['two', 'three'], ['three', 'three']])
    for name, key, value in (('one', 'dependsOn', needs), ('two', 'inputs', ['o/one/x']),
                             ('three', rng.choice(['inputs', 'jobs']), ['o/two'])):
        document['stages'].append({
            'name': name, 'processor': 'bin/a.py', 'outputDir': f'o/{name}',
            key: [{'name': 'j', 'inputs': value}] if key == 'jobs' else value})
    return document, 1


def _fan_out(rng: random.Random, document: Dict[str, Any]) -> Any:
    key, value = rng.choice([
        ('jobs', []), ('jobs', ['x', 'X']), ('jobs', [{}]), ('jobs', [7]), ('jobs', ['con']),
        ('forEach', 'nowhere'), ('forEach', 5), ('forEach', ''), ('maxWorkers', 0),
        ('max_workers', 'x'), ('stopOnFailure', 1), ('quota', 3), ('quota', {'x': 0}),
        ('quota', {'x': {'wait': 1}}), ('limit', {}), ('limit', [3]),
        ('params', {'x': [{'y': '{item.id}'}]}), ('env', {'X': '{item.path}'})])
    stage = rng.choice(document['stages'])
    stage[key] = value
    # Jobs inherit the names of outputs: two of them are a fault more.
    return document, None if key == 'jobs' and stage.get('outputs') else 1


def _collection(rng: random.Random, document: Dict[str, Any]) -> Any:
    document['items'] = {'papers': rng.choice([
        5, {}, {'glob': 'x', 'list': []}, {'glob': '../x'}, {'list': ['x', 'x']}, {'list': [5]},
        {'jsonl': 'x'}, {'jsonl': 'nowhere.jsonl', 'id': 'x'}, {'queue': False}, {'globs': 'x'}])}
    return document, None if document['items']['papers'] == {'globs': 'x'} else 1


MUTATIONS: Dict[str, Callable[[random.Random, Dict[str, Any]], Any]] = {
    'required key deleted': _delete_key, 'unknown key': _unknown_key,
    'wrong type': _wrong_type, 'duplicate key': _duplicate_key, 'twin name': _twin_name,
    'bad name': _bad_name, 'bad path': _bad_path, 'bad folder': _bad_folder,
    'missing file': _missing_file, 'late producer': _late_producer, 'number': _number,
    'bad token': _bad_token, 'bit flipped': _flip, 'bytes deleted': _delete_byte,
    'truncated': _truncate, 'spliced': _splice, 'encoding': _encoding,
    'surroundings': _surroundings, 'nothing': _nothing, 'huge': _huge,
    'interpreter': _interpreter, 'environment': _environment, 'same output': _same_output,
    'bad need': _bad_need, 'cycle': _cycle, 'fan-out': _fan_out, 'collection': _collection}


# -- the judge --------------------------------------------------------------------------------

class Refused(Exception):
    """The definition is not valid."""


def is_valid(data: bytes, root: Path) -> bool:
    """True for a definition that must be accepted in the workspace at `root`."""
    try:
        document = json.loads(data.decode('utf-8-sig'), object_pairs_hook=_pairs,
                              parse_constant=_refuse, parse_int=_whole, parse_float=_float)
        _need(_depth(document) <= 64)
        json.dumps(document, ensure_ascii=False).encode('utf-8')
        _judge(document, root)
    except (Refused, ValueError, RecursionError):
        return False
    return True


def _need(condition: Any) -> None:
    if not condition:
        raise Refused


def _refuse(token: str) -> None:
    raise Refused


def _pairs(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    _need(len({key for key, _ in pairs}) == len(pairs))
    return dict(pairs)


def _whole(digits: str) -> int:
    _need(len(digits) <= 1000)
    return int(digits)


def _float(digits: str) -> float:
    _need(abs(float(digits)) < float('inf'))
    return float(digits)


def _depth(value: Any) -> int:
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max((_depth(entry) for entry in inner), default=0)
    return 0


def _has_only(value: Any, keys: str, required: str = '') -> None:
    _need(isinstance(value, dict) and set(value) <= set(keys.split()))
    _need(set(value) >= set(required.split()))


def _is_text(value: Any, most: int = 10 ** 9) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and '\0' not in value


_SHARED_KEYS = 'outputs params env idempotency checkpoint retry timeoutSec graceSec'


def _judge(document: Any, root: Path) -> None:
    _has_only(document, '$schema name version defaults keepRuns stages', 'name stages')
    _need(_is_text(document.get('$schema', 'x')))
    for title in (document['name'], document.get('version', '0')):
        _need(_is_text(title, 200) and title.isprintable())
    _judge_number(document.get('keepRuns', 1), 1, 1e6, is_whole=True)
    _has_only(document.get('defaults', {}), _SHARED_KEYS)
    _judge_shared(document.get('defaults', {}))
    stages = document['stages']
    _need(isinstance(stages, list) and stages)
    for stage in stages:
        _has_only(stage, f'name processor inputs outputDir {_SHARED_KEYS}',
                  'name processor outputDir')
        _judge_shared(stage)
        _judge_name(stage['name'])
        _judge_path(stage['processor'])
        _need(os.path.isfile(os.path.join(str(root), posixpath.normpath(stage['processor']))))
        _judge_path(stage['outputDir'])
    _need(len({stage['name'].lower() for stage in stages}) == len(stages))
    _judge_folders(stages, root)
    _judge_inputs(stages, root)
    _judge_outputs(stages)


def _judge_name(name: Any) -> None:
    _need(isinstance(name, str) and re.fullmatch('[A-Za-z0-9][A-Za-z0-9._-]{0,99}', name))
    _need(not name.endswith('.'))
    _need(not re.fullmatch('con|prn|aux|nul|com[1-9]|lpt[1-9]', name.lower().split('.')[0]))


def _judge_path(path: Any) -> None:
    _need(_is_text(path) and path.isprintable() and '\\' not in path)
    _need(not path.startswith('/') and not re.match('[A-Za-z]:', path))
    _need('..' not in path.split('/') and len(path) < 3000)
    _need(all(len(part.encode('utf-8')) <= 255 for part in path.split('/')))


def _is_of_the_runner(path: str) -> bool:
    return any(part.startswith('.') and (part.endswith(('.done', '.partial'))
                                         or '.done.corrupt-' in part) for part in path.split('/'))


def _judge_folders(stages: List[Any], root: Path) -> None:
    code = {posixpath.dirname(posixpath.normpath(stage['processor'])) for stage in stages} - {''}
    for stage in stages:
        folder = posixpath.normpath(stage['outputDir'])
        _need(folder != '.' and not _is_of_the_runner(folder))
        for other in {'state', 'locks', 'src'} | code:
            one, two = folder.lower() + '/', other.lower() + '/'
            _need(not one.startswith(two) and not two.startswith(one))
        path = root
        for part in folder.split('/'):
            path = path / part
            _need(not path.exists() or path.is_dir())


def _judge_inputs(stages: List[Any], root: Path) -> None:
    for number, stage in enumerate(stages):
        inputs = stage.get('inputs', [])
        _need(isinstance(inputs, list) and all(_is_text(name) for name in inputs))
        for name in inputs:
            _need(name.isprintable() and '..' not in re.split(r'[/\\]', name))
            makers = [posixpath.normpath(maker['outputDir']) + '/' for maker in stages[:number]]
            path = posixpath.normpath(name) + '/'
            _need(os.path.exists(os.path.join(str(root), name)) or set(name) & set('*?[')
                  or any(path.startswith(maker) for maker in makers))


def _judge_outputs(stages: List[Any]) -> None:
    seen: Dict[str, int] = {}
    for number, stage in enumerate(stages):
        for name in stage.get('outputs', []):
            if not set(name) & set('*?['):
                path = posixpath.normpath(posixpath.join(
                    posixpath.normpath(stage['outputDir']), name)).lower()
                _need(seen.setdefault(path, number) == number)


def _judge_shared(given: Any) -> None:
    outputs = given.get('outputs', [])
    _need(isinstance(outputs, list))
    for name in outputs:
        _judge_path(name)
        _need(not _is_of_the_runner(name))
    _need(isinstance(given.get('params', {}), dict))
    # Where there is no item, as in all that this judge accepts.
    _need('{item.' not in json.dumps([given.get('params'), given.get('env')]))
    env = given.get('env', {})
    _need(isinstance(env, dict))
    for name, value in env.items():
        _need(re.fullmatch('[A-Za-z_][A-Za-z0-9_]*', name) and isinstance(value, str))
        _need(not name.upper().startswith('PIPELINE_') and '\0' not in value)
    _has_only(given.get('idempotency', {}), 'enabled')
    _has_only(given.get('checkpoint', {}), 'enabled lineInterval')
    for flags in (given.get('idempotency', {}), given.get('checkpoint', {})):
        _need(isinstance(flags.get('enabled', True), bool))
    _judge_number(given.get('checkpoint', {}).get('lineInterval', 1), 1, 1e8, is_whole=True)
    _judge_number(given.get('timeoutSec', 1), 0, 3e8, is_above=True)
    _judge_number(given.get('graceSec', 1), 0, 3600)
    _judge_retry(given.get('retry', {}))


def _judge_retry(retry: Any) -> None:
    _has_only(retry, 'maxAttempts baseDelaySec factor maxDelaySec jitter unknown')
    _judge_number(retry.get('maxAttempts', 1), 1, 1000, is_whole=True)
    for key in ('baseDelaySec', 'maxDelaySec'):
        _judge_number(retry.get(key, 0), 0, 3e8)
    _judge_number(retry.get('factor', 0), 0, 1000)
    _judge_number(retry.get('jitter', 0), 0, 1)
    _need(retry.get('unknown', 'fail') in ('fail', 'retry'))


def _judge_number(value: Any, least: float, most: float, *, is_whole: bool = False,
                  is_above: bool = False) -> None:
    _need(isinstance(value, (int, float)) and not isinstance(value, bool))
    _need(least <= value <= most and not (is_above and value == least))
    _need(not is_whole or value == int(value))
