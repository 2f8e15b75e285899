"""Tests of `stagerunner.blueprint`: the schema says what the parser says, and the files are it."""

from __future__ import annotations

import json
import random
import re
from typing import Any
from typing import Dict
from typing import List

import pytest

from documents import STRINGS
from documents import made
from documents import valid_config
from documents import valid_pipeline
from json_schema import complaints
from stagerunner import definition
from stagerunner import keys
from stagerunner import settings
from stagerunner.blueprint import as_file
from stagerunner.blueprint import config_schema
from stagerunner.blueprint import pipeline_schema
from stagerunner.legend import SENTENCES
from support import CHECKOUT
from support import SOURCE

pytestmark = pytest.mark.unit

SCHEMAS = {'pipeline': pipeline_schema, 'config': config_schema}
PARSERS = {'pipeline': definition.parse, 'config': settings.parse}

#: What only the parser finds, by cause: the message, and a document with nothing else wrong.
CAUSES: Dict[str, Any] = {
    'two of one name': r"is the name of .* too",
    'jobs and forEach': r"'jobs' and 'forEach' exclude each other",
    'a name that nothing has': r"there is no (stage )?'.*",
    'a placeholder that cannot be filled in': r"unknown placeholder|needs 'forEach'",
    'a path of an item that leads upwards': r'leads upwards with the item',
    'a folder of the runner or of code': r'would mix outputs with|not its root|must begin with',
    'one path of two tasks': r"is published by",
    'a circle': r'stages form a cycle|cannot depend on itself',
    'bytes beyond what a pattern can count': r'expected names of at most 255 bytes',
    'characters that only Unicode tables know': r'must not contain control characters',
    'two values of one setting': r'says something else; keep one of them',
    'a lease that is too short': r'is shorter than 3 heartbeats',
}

#: A definition or config for each cause that the random ones might not meet.
ONLY_THE_PARSER: Dict[str, Any] = {
    'two of one name': {'name': 'x', 'stages': [
        {'name': 'a', 'processor': 'bin/a', 'outputDir': 'o'},
        {'name': 'A', 'processor': 'bin/a', 'outputDir': 'p'}]},
    'two values of one setting': {'max_workers': 1, 'v2_features': {'max_workers': 2}},
    'a lease that is too short': {'queue': {'lease_ttl_seconds': 10, 'heartbeat_seconds': 5}},
}


def cause_of(message: str) -> str:
    """Return why only the parser knows, or the message itself where a schema should know too."""
    for cause, pattern in CAUSES.items():
        if re.search(pattern, message):
            return cause
    return message


@pytest.mark.parametrize('make', [valid_pipeline, valid_config], ids=['pipeline', 'config'])
def test_documents_without_a_fault_are_made(make):
    parse = definition.parse if make is valid_pipeline else settings.parse
    found = [parse(make(random.Random(seed)))[-1] for seed in range(60)]

    # Two places of a config may say different things at random.
    assert [faults for faults in found
            if [fault for fault in faults if 'keep one of' not in fault.message]] == []


@pytest.mark.slow
@pytest.mark.parametrize('kind, make, count', [
    pytest.param('pipeline', valid_pipeline, 350, id='pipeline'),
    pytest.param('config', valid_config, 150, id='config')])
def test_schema_and_parser_agree_on_500_documents(rng, kind, make, count):
    """What the schema refuses the parser refuses; what it accepts has only faults of `CAUSES`."""
    schema = SCHEMAS[kind]()
    verdicts = {(True, True): 0, (True, False): 0, (False, False): 0}
    for document in made(rng, make, count):
        refused = complaints(schema, document)
        faults = PARSERS[kind](document)[-1]
        if refused:
            assert faults, f'{refused} but no fault: {json.dumps(document)}'
        else:
            assert {cause_of(fault.message) for fault in faults} <= set(CAUSES), \
                json.dumps(document)
        verdicts[not refused, not faults] += 1

    # Neither says yes or no to everything.
    assert verdicts[True, True] > count / 6 and verdicts[False, False] > count / 4


@pytest.mark.slow
def test_every_cause_that_only_the_parser_knows_is_met():
    """A cause that is met no more goes from the table."""
    rng = random.Random(1)
    met = set()
    for kind, make in (('pipeline', valid_pipeline), ('config', valid_config)):
        for document in [*made(rng, make, 900), *ONLY_THE_PARSER.values(), *awkward()]:
            if not complaints(SCHEMAS[kind](), document):
                met |= {cause_of(fault.message) for fault in PARSERS[kind](document)[-1]}

    assert met == set(CAUSES)


def awkward() -> List[Any]:
    """Return definitions of one stage with each awkward string as a path, and two of items."""
    stage = {'name': 'a', 'processor': 'bin/a', 'outputDir': 'o'}
    paths = [dict(stage, **{key: value}) for value in STRINGS
             for key in ('processor', 'outputDir')]
    up = {'items': {'c': {'list': ['../x']}},
          'stages': [dict(stage, forEach='c', inputs=['{item.path}'])]}
    circle = {'stages': [dict(stage, dependsOn=['b']), {
        'name': 'b', 'processor': 'bin/a', 'outputDir': 'p', 'dependsOn': ['a']}]}
    clash = {'stages': [dict(stage, outputs=['x']), dict(stage, name='b', outputs=['x'])]}
    both = {'items': {'c': {'list': ['x']}}, 'stages': [dict(stage, forEach='c', jobs=['a'])]}
    return [dict({'name': 'x'}, **top) for top in (
        up, circle, clash, both, *({'stages': [given]} for given in paths))]


@pytest.mark.parametrize('rule, texts', [
    pytest.param(getattr(keys, name), STRINGS, id=name.strip('_').lower())
    for name in ('_NAME_RULE', '_TITLE', '_PLAIN', '_INSIDE', '_INPUT', '_OUTPUT', '_A_VARIABLE',
                 '_QUOTA_NAME', '_COLLECTION')])
def test_a_pattern_says_what_its_rule_says(rule, texts):
    """But for bytes, and for characters that only Python's tables know."""
    schema = {'pattern': rule.pattern}
    for text in filter(None, texts):
        complaint = rule.complaint(text)
        if complaints(schema, text):
            assert complaint, text
        elif complaint:
            assert cause_of(complaint) in CAUSES, text


def test_the_controls_that_a_pattern_refuses_are_unprintable():
    schema = {'pattern': keys.PIPELINE.keys['python'].checker.rule.pattern}

    wrong = [code for code in range(0x10000) if chr(code).isprintable()
             and complaints(schema, chr(code))]
    assert wrong == []


# -- sentences and files -------------------------------------------------------------

def test_every_key_has_a_sentence_and_no_sentence_is_of_no_key():
    """A missing one is a `KeyError` of the schema: add it to `stagerunner/legend.py`."""
    used = set()
    writing = json.dumps([pipeline_schema(), config_schema()])
    for place, sentence in SENTENCES.items():
        if json.dumps(sentence) in writing:
            used.add(place)

    assert set(SENTENCES) == used
    assert [text for text in SENTENCES.values() if text.endswith('.') or '\n' in text] == []


@pytest.mark.parametrize('name, flags, make', [
    pytest.param('pipeline.schema.json', '', pipeline_schema, id='pipeline'),
    pytest.param('pipeline_config.schema.json', ' --config', config_schema, id='config')])
def test_the_shipped_file_is_current(name, flags, make):
    shipped = (SOURCE / 'stagerunner' / name).read_text('utf-8')

    assert shipped == as_file(make()), (
        f'python src/pipeline_runner.py schema{flags} > src/stagerunner/{name}')


def test_defaults_and_choices_are_told():
    retry = pipeline_schema()['definitions']['retry']['properties']

    assert retry['maxAttempts'] == {
        'description': 'attempts in all', 'type': 'integer', 'minimum': 1, 'maximum': 1000,
        'default': 3}
    assert retry['unknown']['enum'] == ['retry', 'fail']
    assert pipeline_schema()['required'] == ['name', 'stages']


@pytest.mark.parametrize('path', sorted(CHECKOUT.glob('examples/*/pipeline*.json'))
                         + [CHECKOUT / 'pipeline.json'],
                         ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_shipped_documents_are_valid_and_lead_editors_to_the_schema(path):
    document = json.loads(path.read_text('utf-8'))
    kind = 'config' if 'config' in path.name else 'pipeline'

    assert complaints(SCHEMAS[kind](), document) == []
    name = 'pipeline_config.schema.json' if kind == 'config' else 'pipeline.schema.json'
    assert (path.parent / document['$schema']).resolve() == SOURCE / 'stagerunner' / name


@pytest.mark.integration
def test_the_command_prints_either(main):
    assert main('schema').out == as_file(pipeline_schema())
    assert main('schema', '--config').out == as_file(config_schema())
    assert json.loads(main('schema', '--json').lines[0]) == pipeline_schema()
    assert len(main('schema', '--config', '--json').lines) == 1
