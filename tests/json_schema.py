"""The part of JSON Schema (draft 7) that `stagerunner.blueprint` writes, and nothing else.

`.ci/run` compares it with a validator of the outside world on the same documents.
"""

from __future__ import annotations

import json
import re
from typing import Any
from typing import Dict
from typing import List

#: Keywords that say nothing about whether a document is valid.
SILENT = {'$schema', 'title', 'description', 'default', 'definitions'}

TYPES = {'string': str, 'boolean': bool, 'array': list, 'object': dict}


def complaints(schema: Any, document: Any) -> List[str]:
    """Return where a document breaks a schema: places and keywords."""
    return list(_Checker(schema).check(schema, document, '$'))


class _Checker:
    def __init__(self, whole: Dict[str, Any]):
        self.whole = whole

    def check(self, schema: Any, value: Any, place: str) -> List[str]:
        if schema is True:
            return []
        found: List[str] = []
        for keyword, wanted in schema.items():
            if keyword in SILENT:
                continue
            # An unknown keyword ends the test: nobody would notice that it is not checked.
            found += getattr(self, 'key_' + keyword.replace('$', ''))(wanted, value, place, schema)
        return found

    def key_ref(self, wanted, value, place, schema):
        assert set(schema) == {'$ref'}, 'what stands beside a reference does not count'
        name = wanted.replace('#/definitions/', '')
        return self.check(self.whole['definitions'][name], value, place)

    def key_type(self, wanted, value, place, _):
        if wanted in ('number', 'integer'):
            is_fine = isinstance(value, (int, float)) and not isinstance(value, bool) and (
                wanted == 'number' or value == int(value))
        else:
            is_fine = isinstance(value, TYPES[wanted])
        return [] if is_fine else [f'{place}: type']

    def key_enum(self, wanted, value, place, _):
        return [] if _spelled(value) in map(_spelled, wanted) else [f'{place}: enum']

    def key_const(self, wanted, value, place, _):
        return [] if _spelled(value) == _spelled(wanted) else [f'{place}: const']

    def key_minLength(self, wanted, value, place, _):
        return [f'{place}: minLength'] if isinstance(value, str) and len(value) < wanted else []

    def key_pattern(self, wanted, value, place, _):
        # In JSON Schema a dollar is the end, in Python the end or before a line break there.
        pattern = re.sub(r'\$(?=$|[|)])', r'\\Z', wanted)
        is_bad = isinstance(value, str) and not re.search(pattern, value)
        return [f'{place}: pattern'] if is_bad else []

    def _compare(self, value, place, keyword, is_fine):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return [f'{place}: {keyword}'] if is_number and not is_fine(value) else []

    def key_minimum(self, wanted, value, place, _):
        return self._compare(value, place, 'minimum', lambda number: number >= wanted)

    def key_exclusiveMinimum(self, wanted, value, place, _):
        return self._compare(value, place, 'exclusiveMinimum', lambda number: number > wanted)

    def key_maximum(self, wanted, value, place, _):
        return self._compare(value, place, 'maximum', lambda number: number <= wanted)

    def key_items(self, wanted, value, place, _):
        return [complaint for index, entry in enumerate(value if isinstance(value, list) else ())
                for complaint in self.check(wanted, entry, f'{place}[{index}]')]

    def key_minItems(self, wanted, value, place, _):
        return [f'{place}: minItems'] if isinstance(value, list) and len(value) < wanted else []

    def key_uniqueItems(self, _, value, place, __):
        spelled = list(map(_spelled, value)) if isinstance(value, list) else []
        return [f'{place}: uniqueItems'] if len(set(spelled)) < len(spelled) else []

    def key_required(self, wanted, value, place, _):
        return [f'{place}: required {key}' for key in wanted
                if isinstance(value, dict) and key not in value]

    def key_properties(self, wanted, value, place, _):
        return [complaint for key in wanted if isinstance(value, dict) and key in value
                for complaint in self.check(wanted[key], value[key], f'{place}.{key}')]

    def key_additionalProperties(self, wanted, value, place, schema):
        others = set(value if isinstance(value, dict) else ()) - set(schema.get('properties', ()))
        if wanted is False:
            return [f'{place}: additionalProperties {key}' for key in others]
        return [complaint for key in others
                for complaint in self.check(wanted, value[key], f'{place}.{key}')]

    def key_propertyNames(self, wanted, value, place, _):
        return [complaint for key in (value if isinstance(value, dict) else ())
                for complaint in self.check(wanted, key, f'{place}.{key}')]

    def key_dependencies(self, wanted, value, place, _):
        return [f'{place}: dependencies {key}' for key, needs in wanted.items()
                if isinstance(value, dict) and key in value and not set(needs) <= set(value)]

    def key_allOf(self, wanted, value, place, _):
        return [complaint for each in wanted for complaint in self.check(each, value, place)]

    def key_anyOf(self, wanted, value, place, _):
        is_fine = any(not self.check(each, value, place) for each in wanted)
        return [] if is_fine else [f'{place}: anyOf']

    def key_oneOf(self, wanted, value, place, _):
        fitting = [each for each in wanted if not self.check(each, value, place)]
        return [] if len(fitting) == 1 else [f'{place}: oneOf']

    def key_not(self, wanted, value, place, _):
        return [] if self.check(wanted, value, place) else [f'{place}: not']


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
