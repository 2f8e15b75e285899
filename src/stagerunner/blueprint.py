"""The tables of keys as JSON Schema (draft 7, which editors know best)."""

from __future__ import annotations

import json
from typing import Any
from typing import Dict
from typing import List

from stagerunner import keys
from stagerunner.legend import SENTENCES
from stagerunner.schema import ByKind
from stagerunner.schema import Checker
from stagerunner.schema import Choice
from stagerunner.schema import Flag
from stagerunner.schema import Key
from stagerunner.schema import ListOf
from stagerunner.schema import Mapping
from stagerunner.schema import Number
from stagerunner.schema import Record
from stagerunner.schema import Text
from stagerunner.settings import CONFIG

Schema = Dict[str, Any]

#: Objects that are defined once, under a name.
_NAMED = {'stage': keys.STAGE, 'job': keys.JOB, 'retry': keys.RETRY,
          'checkpoint': keys.CHECKPOINT, 'idempotency': keys.IDEMPOTENCY,
          'resources': keys.RESOURCES, 'quotaUse': keys.QUOTA_USE, 'hook': keys.HOOK,
          'collection': keys.ITEMS}

#: Places whose keys are those of another object.
_SAME = {'pipeline.defaults': 'stage', 'config.v2_features': 'config'}

#: A string has no NUL, whatever else it may be.
_NO_NUL = '^[^\\u0000]*$'


def pipeline_schema() -> Schema:
    """Return the schema of `pipeline.json`."""
    return _whole('pipeline.json of stagerunner', keys.PIPELINE, 'pipeline')


def config_schema() -> Schema:
    """Return the schema of `pipeline_config.json`."""
    return _whole('pipeline_config.json of stagerunner', CONFIG, 'config')


def as_file(schema: Schema) -> str:
    """Return a schema as the package ships it."""
    return json.dumps(schema, indent=2) + '\n'


def _whole(title: str, record: Record, name: str) -> Schema:
    writer = _Writer()
    top = writer.of(record, name)
    found: Schema = {'$schema': 'http://json-schema.org/draft-07/schema#', 'title': title, **top}
    if writer.defined:
        found['definitions'] = dict(sorted(writer.defined.items()))
    return found


class _Writer:
    """Turns checkers into schemas, and keeps those that have a name."""

    def __init__(self) -> None:
        self.defined: Dict[str, Schema] = {}
        self.names = {id(record): name for name, record in _NAMED.items()}

    def of(self, checker: Checker, place: str) -> Schema:
        """Return the schema of what `checker` accepts at `place`, a dotted path of keys."""
        if isinstance(checker, Record):
            return self._record(checker, place)
        if isinstance(checker, Text):
            return _text(checker)
        if isinstance(checker, Flag):
            return {'type': 'boolean'}
        if isinstance(checker, Choice):
            return {'type': 'string', 'enum': list(checker.allowed)}
        if isinstance(checker, Number):
            return _number(checker)
        if isinstance(checker, ListOf):
            least = {'minItems': checker.at_least} if checker.at_least else {}
            return {'type': 'array', 'items': self.of(checker.entry, place), **least}
        if isinstance(checker, Mapping):
            rule = checker.key_rule
            names = {'propertyNames': {'pattern': rule.pattern}} if rule else {}
            return {'type': 'object', **names,
                    'additionalProperties': self.of(checker.value, f'{place}.*') or True}
        if isinstance(checker, ByKind):
            return {'anyOf': [self.of(each, place) for _, each in checker.checkers]}
        return {}

    def _record(self, record: Record, place: str) -> Schema:
        name = self.names.get(id(record))
        if name is None:
            return self._object(record, _SAME.get(place, place))
        if name not in self.defined:
            self.defined[name] = {}
            self.defined[name] = self._object(record, name)
        return {'$ref': f'#/definitions/{name}'}

    def _object(self, record: Record, place: str) -> Schema:
        properties = {key: self._key(rule, f'{place}.{key}') for key, rule in record.keys.items()}
        extra: List[Schema] = [record.more] if record.more else []
        for other, main in record.spellings.items():
            properties[other] = dict(properties[main], description=f'another spelling of {main}')
            extra.append({'not': {'required': [main, other]}})
        required = [key for key, rule in record.keys.items() if rule.required]
        found: Schema = {'type': 'object', 'properties': properties,
                         'additionalProperties': False}
        if required:
            found['required'] = required
        if extra:
            found['allOf'] = extra
        return found

    def _key(self, rule: Key, place: str) -> Schema:
        found = self.of(rule.checker, place)
        if '$ref' in found:
            # What stands beside a reference does not count.
            found = {'allOf': [found]}
        found = {'description': SENTENCES[place], **found}
        if rule.default is not None:
            found['default'] = rule.default
        return found


def _text(checker: Text) -> Schema:
    found: Schema = {'type': 'string'}
    if not checker.may_be_empty:
        found['minLength'] = 1
    found['pattern'] = checker.rule.pattern if checker.rule else _NO_NUL
    return found


def _number(checker: Number) -> Schema:
    least = 'exclusiveMinimum' if checker.above else 'minimum'
    return {'type': 'integer' if checker.whole else 'number', least: checker.least,
            'maximum': checker.most}
