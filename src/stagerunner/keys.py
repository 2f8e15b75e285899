"""Every key of `pipeline.json`: what its value must be, and what holds when it is not given."""

from __future__ import annotations

import posixpath
import re

from stagerunner.records import TYPE_CHECKING
from stagerunner.schema import AnyJson
from stagerunner.schema import ByKind
from stagerunner.schema import Choice
from stagerunner.schema import Fault
from stagerunner.schema import Flag
from stagerunner.schema import Key
from stagerunner.schema import ListOf
from stagerunner.schema import Mapping
from stagerunner.schema import Number
from stagerunner.schema import Record
from stagerunner.schema import Rule
from stagerunner.schema import Text
from stagerunner.schema import Where
from stagerunner.schema import describe
from stagerunner.spelling import NAME
from stagerunner.spelling import is_name

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional

#: Keys of the checkpoint file, in which a collection is listed under its own name.
CHECKPOINT_KEYS = ('run_id', 'version', 'created_at', 'last_updated', 'status', 'stages', 'stats',
                   'config')

_VARIABLE = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')

#: Variables with this prefix are the runner's own.
RESERVED_PREFIX = 'PIPELINE_'

#: No file system takes a longer name, in bytes; and a path must leave room for what is below it.
LONGEST_NAME, LONGEST_PATH = 255, 2000


# -- rules for single strings --------------------------------------------------

def name_complaint(name: str) -> Optional[str]:
    """Return what is wrong with the name of a stage or run, or None."""
    if is_name(name):
        return None
    if not NAME.fullmatch(name):
        return (f'expected a name of at most 100 letters, digits, dots, dashes and underscores '
                f'that starts with a letter or digit, got {describe(name)}')
    if name.endswith('.'):
        return f'a name must not end with a dot, got {describe(name)}'
    return f'{describe(name)} is the name of a device on Windows'


def _plain_complaint(text: str) -> Optional[str]:
    if not text.isprintable():
        return f'must not contain control characters, got {describe(text)}'
    return None


def _title_complaint(text: str) -> Optional[str]:
    if len(text) > 200:
        return 'expected at most 200 characters'
    return _plain_complaint(text)


def _inside_complaint(path: str) -> Optional[str]:
    """Return what is wrong with a path that must stay in the workspace, or None."""
    if '\\' in path:
        return f"use '/' between folders, got {describe(path)}"
    if path.startswith('/') or re.match(r'[A-Za-z]:', path):
        return f'expected a path relative to the workspace, got {describe(path)}'
    if '..' in path.split('/'):
        return f"must not leave the workspace, '..' is refused in {describe(path)}"
    if len(path) > LONGEST_PATH or any(len(part.encode('utf-8', 'replace')) > LONGEST_NAME
                                       for part in path.split('/')):
        return (f'expected names of at most {LONGEST_NAME} bytes and a path of at most '
                f'{LONGEST_PATH} characters, got {describe(path)}')
    return _plain_complaint(path)


def _input_complaint(path: str) -> Optional[str]:
    if '..' in path.replace('\\', '/').split('/'):
        return f"'..' is refused in {describe(path)}; use an absolute path or a link"
    return _plain_complaint(path)


def _output_complaint(path: str) -> Optional[str]:
    complaint = _inside_complaint(path)
    if not complaint and is_reserved(posixpath.normpath(path)):
        return f'{describe(path)} is a name of the runner'
    return complaint


def is_reserved(relative: str) -> bool:
    """True for names inside an output folder that belong to the runner.

    >>> is_reserved('.copy.done'), is_reserved('sub/.copy.partial'), is_reserved('.hidden')
    (True, True, False)
    """
    return any(part.startswith('.') and (part.endswith(('.done', '.partial'))
                                         or '.done.corrupt-' in part)
               for part in relative.split('/'))


def _variable_complaint(name: str) -> Optional[str]:
    if not _VARIABLE.fullmatch(name):
        return 'expected a variable name of letters, digits and underscores'
    if name.upper().startswith(RESERVED_PREFIX):
        return f'names that start with {RESERVED_PREFIX} belong to the runner'
    return None


def _quota_complaint(name: str) -> Optional[str]:
    return _title_complaint(name) if name else 'the name of a quota must not be empty'


def _collection_complaint(name: str) -> Optional[str]:
    if name in CHECKPOINT_KEYS:
        return f'{describe(name)} has another meaning in the checkpoint file'
    return name_complaint(name)


# -- the same rules as patterns --------------------------------------------------

#: No character of these is printable; of those beyond only Python knows.
_CONTROLS = (r'\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f'
             r'\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb')


def _any_case(word: str) -> str:
    return ''.join(f'[{c.upper()}{c.lower()}]' if c.isalpha() else c for c in word)


_NO_DEVICE = ('(?!(?:' + '|'.join(map(_any_case, ('con', 'prn', 'aux', 'nul')))
              + f'|(?:{_any_case("com")}|{_any_case("lpt")})[1-9])' + r'(?:\.|$))')
_NAME_PATTERN = r'[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$'

#: Paths that stay in the workspace, and those that do not lead into the files of the runner.
_INSIDE_PATTERN = (rf'(?!/|[A-Za-z]:|(?:.*/)?\.\.(?:/|$)|.*[^/]{{{LONGEST_NAME + 1}}})'
                   rf'[^\\{_CONTROLS}]{{1,{LONGEST_PATH}}}$')
_NOT_RESERVED = (r'(?!(?:.*/)?\.(?:[^/]*\.)?(?:(?:done|partial)(?:/|$)|done\.corrupt-))')

_NAME_RULE = Rule(name_complaint, f'^{_NO_DEVICE}{_NAME_PATTERN}')
_TITLE = Rule(_title_complaint, f'^[^{_CONTROLS}]{{0,200}}$')
_PLAIN = Rule(_plain_complaint, f'^[^{_CONTROLS}]*$')
_INSIDE = Rule(_inside_complaint, f'^{_INSIDE_PATTERN}')
_INPUT = Rule(_input_complaint,
              rf'^(?!(?:.*[/\\])?\.\.(?:[/\\]|$))[^{_CONTROLS}]*$')
_OUTPUT = Rule(_output_complaint, f'^{_NOT_RESERVED}{_INSIDE_PATTERN}')
_A_VARIABLE = Rule(_variable_complaint,
                   f'^(?!{_any_case(RESERVED_PREFIX)})[A-Za-z_][A-Za-z0-9_]*$')
_QUOTA_NAME = Rule(_quota_complaint, f'^[^{_CONTROLS}]{{1,200}}$')
_COLLECTION = Rule(_collection_complaint,
                   f'^(?!(?:{"|".join(CHECKPOINT_KEYS)})$){_NO_DEVICE}{_NAME_PATTERN}')


# -- the table -----------------------------------------------------------------

#: How a failed stage is tried again; the defaults of the contract.
RETRY = Record({
    'maxAttempts': Key(Number(1, 1000, whole=True), 3),
    'baseDelaySec': Key(Number(0), 0.5),
    'factor': Key(Number(0, 1000), 2.0),
    'maxDelaySec': Key(Number(0), 60.0),
    'jitter': Key(Number(0, 1), 0.1),
    'unknown': Key(Choice('retry', 'fail'), 'retry'),
    'deadlineSec': Key(Number(0, above=True), None),
})

CHECKPOINT = Record({
    'enabled': Key(Flag(), False),
    'lineInterval': Key(Number(1, whole=True), 50),
})

IDEMPOTENCY = Record({'enabled': Key(Flag(), True)})

#: No limit of a process can be larger than this.
_LARGEST = 2 ** 40

RESOURCES = Record({
    'memoryMB': Key(Number(1, _LARGEST, whole=True), None),
    'cpuSec': Key(Number(1, whole=True), None),
    'fileMB': Key(Number(1, _LARGEST, whole=True), None),
    'cpuCores': Key(Number(1, 4096, whole=True), None),
})

#: What one attempt takes out of a quota.
QUOTA_USE = Record({
    'tokens': Key(Number(1, whole=True), 1),
    'wait': Key(Flag(), True),
})

_TOKEN_NAME = Text(_TITLE)

#: Keys that `defaults` may have as well.
_SHARED = {
    'outputs': Key(ListOf(Text(_OUTPUT)), []),
    'params': Key(Mapping(AnyJson()), {}),
    'env': Key(Mapping(Text(may_be_empty=True), _A_VARIABLE), {}),
    'idempotency': Key(IDEMPOTENCY, {}),
    'checkpoint': Key(CHECKPOINT, {}),
    'retry': Key(RETRY, {}),
    'timeoutSec': Key(Number(0, above=True), None),
    'graceSec': Key(Number(0, 3600), 5),
    'cleanEnv': Key(Flag(), False),
    'secretEnv': Key(ListOf(Text(_A_VARIABLE)), []),
    'resources': Key(RESOURCES, {}),
    'network': Key(Choice('deny', 'allow'), 'deny'),
    'files': Key(Choice('open', 'declared'), 'open'),
    'dependsOn': Key(ListOf(Text(_NAME_RULE)), []),
    'maxWorkers': Key(Number(1, whole=True), None),
    'stopOnFailure': Key(Flag(), True),
    'quota': Key(ByKind('a name or an object', text=_TOKEN_NAME, record=Mapping(
        ByKind('a number or an object', number=Number(1, whole=True), record=QUOTA_USE),
        _QUOTA_NAME)), None),
    'limit': Key(ByKind('a name or a list of names', text=_TOKEN_NAME,
                        entries=ListOf(_TOKEN_NAME)), None),
}

#: Other spellings that the documents use.
_SPELLINGS = {'max_workers': 'maxWorkers', 'stop_on_failure': 'stopOnFailure'}

#: What a job may have of its own; everything else comes from its stage.
JOB = Record({
    'name': Key(Text(_NAME_RULE), required=True),
    'processor': Key(Text(_INSIDE), None),
    'inputs': Key(ListOf(Text(_INPUT)), None),
    'outputDir': Key(Text(_OUTPUT), None),
    'params': Key(Mapping(AnyJson()), None),
    'env': Key(_SHARED['env'].checker, None),
})

STAGE = Record(dict({
    'name': Key(Text(_NAME_RULE), required=True),
    'processor': Key(Text(_INSIDE), required=True),
    'inputs': Key(ListOf(Text(_INPUT)), []),
    'outputDir': Key(Text(_OUTPUT), required=True),
    'jobs': Key(ListOf(ByKind('a name or an object', text=Text(_NAME_RULE), record=JOB),
                       at_least=1), None),
    'forEach': Key(Text(_NAME_RULE), None),
}, **_SHARED), spellings=_SPELLINGS)


#: What a collection can be made of.
KINDS = ('glob', 'list', 'jsonl', 'queue')


class _Collection(Record):
    """Where the members of a collection come from: one of a few ways."""

    more = {'oneOf': [{'required': [kind]} for kind in KINDS],
            'dependencies': {'id': ['jsonl'], 'jsonl': ['id']},
            'properties': {'queue': {'const': True}, 'list': {'uniqueItems': True}}}

    def check(self, value: Any, where: Where, faults: List[Fault]) -> Any:
        given = super().check(value, where, faults)
        if not isinstance(value, dict):
            return given
        kinds = [kind for kind in value if kind in KINDS]
        if len(kinds) != 1:
            names = ', '.join(repr(kind) for kind in KINDS)
            faults.append(Fault(where, f'expected exactly one of {names}, got {len(kinds)}'))
        elif ('id' in value) != (kinds == ['jsonl']):
            faults.append(Fault(where, "key 'id' is missing" if kinds == ['jsonl'] else
                                "'id' belongs to 'jsonl' only", 'id'))
        if value.get('queue') is False:
            faults.append(Fault(where + ('queue',), 'expected true, got false'))
        first: Dict[str, int] = {}
        for index, name in enumerate(given.get('list') or ()):
            if name and first.setdefault(name, index) != index:
                faults.append(Fault(where + ('list', index),
                                    f'{describe(name)} is [{first[name]}] too'))
        return given


ITEMS = _Collection({
    'glob': Key(Text(_INPUT), None),
    'list': Key(ListOf(Text()), None),
    'jsonl': Key(Text(_INPUT), None),
    'id': Key(Text(), None),
    'queue': Key(Flag(), None),
})

_COMMAND = ListOf(Text(_PLAIN), at_least=1)

#: What is called at the end of a run.
HOOK = Record({
    'command': Key(ByKind('a path or a list of words', text=Text(_PLAIN),
                          entries=_COMMAND), required=True),
    'timeoutSec': Key(Number(0, above=True), 60),
    'network': Key(Choice('deny', 'allow'), 'deny'),
})

_HOOK = ByKind('a path, a list of words or an object', text=Text(_PLAIN),
               entries=_COMMAND, record=HOOK)

PIPELINE = Record({
    '$schema': Key(Text()),
    'name': Key(Text(_TITLE), required=True),
    'version': Key(Text(_TITLE), '0'),
    'items': Key(Mapping(ITEMS, _COLLECTION), {}),
    'defaults': Key(Record(_SHARED, spellings=_SPELLINGS), {}),
    'python': Key(Text(_PLAIN), None),
    'keepRuns': Key(Number(1, whole=True), 200),
    'stages': Key(ListOf(STAGE, at_least=1), required=True),
    'onSuccess': Key(_HOOK, None),
    'onFailure': Key(_HOOK, None),
})
