"""A definition becomes frozen records, or every fault of it is told at its place."""

import json

import pytest

from stagerunner import definition
from stagerunner.definition import Checkpointing
from stagerunner.definition import parse
from stagerunner.keys import name_complaint
from stagerunner.retry import RetryPolicy
from stagerunner.rules import merge
from stagerunner.schema import in_file_order
from stagerunner.strictjson import parse as parse_json
from support import CHECKOUT
from support import stage


def pipeline(*stages, **top):
    return dict({'name': 'test', 'stages': list(stages)}, **top)


def one(**keys):
    """Return the only stage of a definition in which it has these keys."""
    parsed = parse(pipeline(stage(**keys)))
    assert parsed.faults == []
    return parsed.pipeline.stages[0]


def faults(document):
    """Return the faults of a definition as users see them."""
    parsed = parse(document)
    assert (parsed.pipeline is None) == bool(parsed.faults)
    return [fault.line('f') for fault in in_file_order(parsed.faults, document)]


# -- what is read ------------------------------------------------------------------

def test_the_shipped_definition_is_read_whole():
    parsed = parse(json.loads((CHECKOUT / 'pipeline.json').read_text()))

    assert parsed.faults == []
    assert parsed.pipeline[:2] == ('offline_pipeline_demo', '1.0.0')
    assert [found.name for found in parsed.pipeline.stages] == ['stage_copy', 'stage_upper']
    assert parsed.pipeline.stages[1].checkpoint == Checkpointing(True, 50)


def test_what_is_not_given_has_the_defaults_of_the_contract():
    parsed = parse(pipeline({'name': 'a', 'processor': 'bin/a.py', 'outputDir': 'data/a'}))

    assert parsed.faults == []
    assert parsed.pipeline._replace(stages=()) == (
        'test', '0', (), None, 200, {}, None, None)
    assert parsed.pipeline.stages[0] == definition.Stage(
        name='a', position=0, processor='bin/a.py', inputs=(), output_dir='data/a', outputs=(),
        params={}, env={}, is_idempotent=True, checkpoint=Checkpointing(False, 50),
        retry=RetryPolicy(3, 0.5, 2.0, 60.0, 0.1, True), timeout_s=None, grace_s=5)


def test_every_key_of_a_stage_arrives_where_it_belongs():
    found = one(name='b', processor='./bin//b.sh', inputs=['./x', '/abs/y', '*.z'],
                outputDir='data//out/', outputs=['./r.txt', '*.csv'], params={'deep': [1]},
                env={'A': ''}, idempotency={'enabled': False},
                checkpoint={'enabled': True, 'lineInterval': 7},
                retry={'maxAttempts': 5, 'baseDelaySec': 1, 'factor': 3, 'maxDelaySec': 9,
                       'jitter': 0, 'unknown': 'fail'}, timeoutSec=1.5, graceSec=0)

    assert found == definition.Stage(
        name='b', position=0, processor='bin/b.sh', inputs=('./x', '/abs/y', '*.z'),
        output_dir='data/out', outputs=('r.txt', '*.csv'), params={'deep': [1]}, env={'A': ''},
        is_idempotent=False, checkpoint=Checkpointing(True, 7),
        retry=RetryPolicy(5, 1, 3, 9, 0, False), timeout_s=1.5, grace_s=0)


@pytest.mark.parametrize(('name', 'is_python'), [('bin/a.py', True), ('bin/a.sh', False),
                                                 ('bin/a', False), ('bin/a.py.sh', False)])
def test_a_processor_that_ends_in_py_is_a_python_script(name, is_python):
    assert one(processor=name).is_python is is_python


def test_top_level_keys_are_read():
    parsed = parse(pipeline(stage(), **{'$schema': 'x', 'version': '2', 'python': 'python3',
                                        'keepRuns': 3}))

    assert parsed.faults == []
    assert parsed.pipeline[:2] + parsed.pipeline[3:5] == ('test', '2', 'python3', 3)


def test_defaults_hold_for_every_stage_and_objects_merge_key_by_key():
    parsed = parse(pipeline(
        stage('a'), stage('b', retry={'factor': 3}, env={'X': '2'}, outputs=['own']),
        defaults={'retry': {'factor': 1, 'jitter': 0}, 'env': {'X': '1', 'Y': '1'},
                  'outputs': ['common'], 'timeoutSec': 9}))
    first, second = parsed.pipeline.stages

    assert (first.retry.factor, first.retry.jitter, first.outputs) == (1, 0, ('common',))
    assert (second.retry.factor, second.retry.jitter, second.outputs) == (3, 0, ('own',))
    assert second.env == {'X': '2', 'Y': '1'} and second.timeout_s == 9


def test_merging_changes_neither_side():
    defaults, given = {'a': {'x': 1}, 'b': 1}, {'a': {'y': 2}, 'b': {'z': 3}}

    merged = merge(defaults, given)

    assert merged == {'a': {'x': 1, 'y': 2}, 'b': {'z': 3}}
    assert (defaults, given) == ({'a': {'x': 1}, 'b': 1}, {'a': {'y': 2}, 'b': {'z': 3}})


def test_stages_may_share_an_output_folder():
    assert faults(pipeline(stage('a', outputDir='data/x', outputs=['1']),
                           stage('b', outputDir='data/x', outputs=['2', '*']),
                           stage('c', outputDir='data/x', outputs=['*']))) == []


def test_a_path_may_be_long():
    assert faults(pipeline(stage(outputDir='/'.join(['x' * 255] * 7) + '/' + 'y' * 208))) == []


# -- names -------------------------------------------------------------------------

@pytest.mark.parametrize('name', [
    'a', 'A', '0', 'stage_copy', 'a.b-c_d', 'a' * 100, 'console', 'com0', 'com10', 'lpt', 'auxx',
    'nulls', 'a..b', 'a.con', '1.0.0'])
def test_a_name_that_is_one_path_part_everywhere_is_taken(name):
    assert name_complaint(name) is None


SHAPE = ('expected a name of at most 100 letters, digits, dots, dashes and underscores '
         'that starts with a letter or digit, got ')


@pytest.mark.parametrize(('name', 'complaint'), [
    pytest.param('', SHAPE + "''", id='empty'),
    pytest.param('a' * 101, SHAPE + repr('a' * 57) + '...', id='101'),
    pytest.param('.a', SHAPE + "'.a'", id='leading-dot'),
    pytest.param('-a', SHAPE + "'-a'", id='leading-dash'),
    pytest.param('_a', SHAPE + "'_a'", id='leading-underscore'),
    pytest.param('..', SHAPE + "'..'", id='parent'),
    pytest.param('a/b', SHAPE + "'a/b'", id='slash'),
    pytest.param('a\\b', SHAPE + "'a\\\\b'", id='backslash'),
    pytest.param('a b', SHAPE + "'a b'", id='space'),
    pytest.param('a\n', SHAPE + "'a\\n'", id='line-feed'),
    pytest.param('a:b', SHAPE + "'a:b'", id='colon'),
    pytest.param('a[b]', SHAPE + "'a[b]'", id='brackets'),
    pytest.param('ä', SHAPE + "'\\xe4'", id='umlaut'),
    pytest.param('\uff41', SHAPE + "'\\uff41'", id='full-width'),
    pytest.param('\u0661', SHAPE + "'\\u0661'", id='other-digit'),
    pytest.param('a.', "a name must not end with a dot, got 'a.'", id='trailing-dot'),
    *(pytest.param(name, f"'{name}' is the name of a device on Windows", id=name)
      for name in ('con', 'CON', 'prn', 'aux', 'nul', 'NUL.txt', 'com1', 'COM9', 'lpt1', 'Lpt9',
                   'con.a.b')),
])
def test_every_other_name_is_refused(name, complaint):
    assert name_complaint(name) == complaint


# -- faults of single keys -----------------------------------------------------------

OUTSIDE = "must not leave the workspace, '..' is refused in "


@pytest.mark.parametrize(('keys', 'line'), [
    ({'name': 'a b'}, f"name: {SHAPE}'a b'"),
    ({'processor': ''}, 'processor: must not be empty'),
    ({'processor': '/bin/sh'}, "processor: expected a path relative to the workspace, "
                               "got '/bin/sh'"),
    ({'processor': 'C:\\x.py'}, "processor: use '/' between folders, got 'C:\\\\x.py'"),
    ({'processor': 'c:x.py'}, "processor: expected a path relative to the workspace, "
                              "got 'c:x.py'"),
    ({'processor': '../x.py'}, f"processor: {OUTSIDE}'../x.py'"),
    ({'processor': 'bin/../x.py'}, f"processor: {OUTSIDE}'bin/../x.py'"),
    ({'processor': 'bin/a\0.py'}, 'processor: must not contain a NUL character'),
    ({'processor': 'bin/a\n.py'}, "processor: must not contain control characters, "
                                  "got 'bin/a\\n.py'"),
    ({'processor': 'bin/\u202e.py'}, "processor: must not contain control characters, "
                                     "got 'bin/\\u202e.py'"),
    ({'processor': 'ü' * 128}, 'processor: expected names of at most 255 bytes and a path of at '
                               'most 2000 characters, got ' + ascii('ü' * 57) + '...'),
    ({'outputDir': 'a/' * 1000 + 'b'}, 'outputDir: expected names of at most 255 bytes and a path '
     'of at most 2000 characters, got ' + repr('a/' * 28 + 'a') + '...'),
    ({'inputs': 'x'}, "inputs: expected a list, got 'x'"),
    ({'inputs': [1]}, 'inputs[0]: expected a string, got 1'),
    ({'inputs': ['a', '']}, 'inputs[1]: must not be empty'),
    ({'inputs': ['../x']}, "inputs[0]: '..' is refused in '../x'; use an absolute path or a link"),
    ({'inputs': ['a\\..\\x']}, "inputs[0]: '..' is refused in 'a\\\\..\\\\x'; use an absolute "
                               'path or a link'),
    ({'inputs': ['a\x1b[2J']}, "inputs[0]: must not contain control characters, "
                               "got 'a\\x1b[2J'"),
    ({'outputDir': '/data'}, "outputDir: expected a path relative to the workspace, got '/data'"),
    ({'outputDir': 'data/..'}, f"outputDir: {OUTSIDE}'data/..'"),
    ({'outputDir': '.'}, 'outputDir: must be a folder inside the workspace, not its root'),
    ({'outputDir': './/.'}, 'outputDir: must be a folder inside the workspace, not its root'),
    ({'outputDir': 'state'}, "outputDir: 'state' would mix outputs with the runner's own folder "
                             "'state'; choose another folder"),
    ({'outputDir': 'State/x'}, "outputDir: 'State/x' would mix outputs with the runner's own "
                               "folder 'state'; choose another folder"),
    ({'outputDir': './locks/'}, "outputDir: 'locks' would mix outputs with the runner's own "
                                "folder 'locks'; choose another folder"),
    ({'outputDir': 'src/data'}, "outputDir: 'src/data' would mix outputs with the runner's own "
                                "folder 'src'; choose another folder"),
    ({'outputDir': 'bin/out'}, "outputDir: 'bin/out' would mix outputs with the code in 'bin'; "
                               'choose another folder'),
    ({'outputDir': 'a', 'processor': 'a/b/x.py'},
     "outputDir: 'a' would mix outputs with the code in 'a/b'; choose another folder"),
    # Bug: a stage could publish into the private folder of another one, which is emptied.
    ({'outputDir': 'data/.a.partial'}, "outputDir: 'data/.a.partial' is a name of the runner"),
    ({'outputs': ['../r']}, f"outputs[0]: {OUTSIDE}'../r'"),
    ({'outputs': ['/r']}, "outputs[0]: expected a path relative to the workspace, got '/r'"),
    ({'outputs': ['a', '.x.done']}, "outputs[1]: '.x.done' is a name of the runner"),
    ({'outputs': ['a/./.x.partial/y']}, "outputs[0]: 'a/./.x.partial/y' is a name of the runner"),
    ({'params': []}, 'params: expected an object, got a list'),
    ({'env': {'A': 1}}, 'env.A: expected a string, got 1'),
    ({'env': {'A': 'x\0'}}, 'env.A: must not contain a NUL character'),
    ({'env': {'1A': ''}}, 'env.1A: expected a variable name of letters, digits and underscores'),
    ({'env': {'A=B': ''}}, 'env.A=B: expected a variable name of letters, digits and underscores'),
    ({'env': {'PIPELINE_X': ''}}, 'env.PIPELINE_X: names that start with PIPELINE_ belong to the '
                                  'runner'),
    ({'env': {'pipeline_x': ''}}, 'env.pipeline_x: names that start with PIPELINE_ belong to the '
                                  'runner'),
    ({'idempotency': True}, 'idempotency: expected an object, got true'),
    ({'idempotency': {'enabled': 1}}, 'idempotency.enabled: expected true or false, got 1'),
    ({'idempotency': {'enable': True}}, "idempotency: unknown key 'enable', did you mean "
                                        "'enabled'?"),
    ({'checkpoint': {'lineInterval': '50'}},
     "checkpoint.lineInterval: expected a whole number above 0, got '50'"),
    ({'checkpoint': {'lineInterval': 0}},
     'checkpoint.lineInterval: expected a whole number above 0, got 0'),
    ({'retry': {'maxAttempts': 0}},
     'retry.maxAttempts: expected a whole number from 1 to 1000, got 0'),
    ({'retry': {'maxAttempts': 1001}}, 'retry.maxAttempts: expected at most 1000, got 1001'),
    ({'retry': {'baseDelaySec': -1}}, 'retry.baseDelaySec: expected a number of at least 0, '
                                      'got -1'),
    ({'retry': {'factor': 1001}}, 'retry.factor: expected at most 1000, got 1001'),
    ({'retry': {'jitter': 2}}, 'retry.jitter: expected at most 1, got 2'),
    ({'retry': {'unknown': 'never'}}, "retry.unknown: expected 'retry' or 'fail', got 'never'"),
    ({'timeoutSec': 0}, 'timeoutSec: expected a number above 0, got 0'),
    ({'timeoutSec': None}, 'timeoutSec: expected a number above 0, got null'),
    ({'graceSec': -1}, 'graceSec: expected a number from 0 to 3600, got -1'),
    ({'graceSec': 3601}, 'graceSec: expected at most 3600, got 3601'),
])
def test_a_fault_of_a_key_is_told_at_its_place(keys, line):
    assert faults(pipeline(stage(**keys))) == [f'f: stages[0].{line}']


@pytest.mark.parametrize(('document', 'lines'), [
    pytest.param([], ['f: expected an object, got a list'], id='list'),
    pytest.param(None, ['f: expected an object, got null'], id='null'),
    pytest.param({}, ["f: key 'name' is missing", "f: key 'stages' is missing"], id='empty'),
    pytest.param({'name': 'x', 'stages': []},
                 ['f: stages: expected at least 1, got an empty list'], id='no-stages'),
    pytest.param({'name': 'x', 'stages': {}}, ['f: stages: expected a list, got an object'],
                 id='stages-object'),
    pytest.param({'name': 'x', 'stages': [5, 'x']},
                 ['f: stages[0]: expected an object, got 5',
                  "f: stages[1]: expected an object, got 'x'"], id='stages-of-nothing'),
    pytest.param({'name': 'x', 'stages': [{}]},
                 [f"f: stages[0]: key '{key}' is missing"
                  for key in ('name', 'processor', 'outputDir')], id='empty-stage'),
    pytest.param({'name': '', 'stages': [stage()]}, ['f: name: must not be empty'], id='no-name'),
    pytest.param({'name': 'a\tb', 'stages': [stage()]},
                 ["f: name: must not contain control characters, got 'a\\tb'"], id='tab-in-name'),
    pytest.param({'name': 'x' * 201, 'stages': [stage()]},
                 ['f: name: expected at most 200 characters'], id='long-name'),
    pytest.param(pipeline(stage(), version=1), ['f: version: expected a string, got 1'],
                 id='version-number'),
    pytest.param(pipeline(stage(), keepRuns=0),
                 ['f: keepRuns: expected a whole number above 0, got 0'], id='keep-no-runs'),
    pytest.param(pipeline(stage(), onSuccess=[], onFailure=1),
                 ['f: onSuccess: expected at least 1, got an empty list',
                  'f: onFailure: expected a path, a list of words or an object, got 1'],
                 id='hooks'),
    pytest.param(pipeline(stage(), onSuccess={'command': 'a\tb', 'timeoutSec': 0}, onFailure={}),
                 ["f: onSuccess.command: must not contain control characters, got 'a\\tb'",
                  'f: onSuccess.timeoutSec: expected a number above 0, got 0',
                  "f: onFailure: key 'command' is missing"], id='hook-keys'),
    pytest.param(pipeline(stage(), Stages=1, verison='x'),
                 ["f: unknown key 'Stages', did you mean 'stages'?",
                  "f: unknown key 'verison', did you mean 'version'?"], id='unknown'),
    pytest.param(pipeline(stage(), defaults={'name': 'x', 'processor': 'x'}),
                 ["f: defaults: unknown key 'name'", "f: defaults: unknown key 'processor'"],
                 id='defaults-that-no-stage-shares'),
])
def test_a_fault_of_the_whole_is_told(document, lines):
    assert faults(document) == lines


def test_a_key_with_a_slip_is_one_fault_with_the_nearest_key_also_where_that_is_required():
    found = dict(stage(), outputdir='x')
    del found['outputDir'], found['name']

    assert faults(pipeline(found)) == [
        "f: stages[0]: unknown key 'outputdir', did you mean 'outputDir'?",
        "f: stages[0]: key 'name' is missing"]


# -- rules across stages -------------------------------------------------------------

@pytest.mark.parametrize(('names', 'lines'), [
    (['a', 'b', 'a', 'a'], ["f: stages[2].name: 'a' is the name of stages[0] too",
                            "f: stages[3].name: 'a' is the name of stages[0] too"]),
    (['Copy', 'copy'], ["f: stages[1].name: 'copy' is the name of stages[0] too but for the case "
                        'of its letters']),
])
def test_two_stages_cannot_share_a_name_whatever_its_case(names, lines):
    stages = [stage(name, outputDir=f'data/{index}') for index, name in enumerate(names)]

    assert faults(pipeline(*stages)) == lines


@pytest.mark.parametrize(('first', 'second', 'path'), [
    (('data/x', ['r']), ('data/x', ['r']), 'data/x/r'),
    (('data/x', ['a/r']), ('data/x/a', ['./r']), 'data/x/a/r'),
    (('data/x', ['R']), ('DATA/x', ['r']), 'DATA/x/r'),
])
def test_two_stages_cannot_declare_the_same_output(first, second, path):
    document = pipeline(stage('a', outputDir=first[0], outputs=first[1]),
                        stage('b', outputDir=second[0], outputs=['own', *second[1]]))

    assert faults(document) == [f"f: stages[1].outputs[1]: '{path}' is published by stages[0] too"]


def test_one_stage_may_name_an_output_twice():
    assert faults(pipeline(stage(outputs=['r', './r']))) == []


def test_a_folder_of_code_of_any_stage_is_no_output_folder_of_another():
    assert faults(pipeline(stage('a', processor='tools/x.py'),
                           stage('b', outputDir='tools/cache'))) == [
        "f: stages[1].outputDir: 'tools/cache' would mix outputs with the code in 'tools'; "
        'choose another folder']


def test_a_processor_in_the_root_makes_no_folder_taboo():
    assert faults(pipeline(stage(processor='x.py', outputDir='data'))) == []


def test_all_faults_are_told_in_one_go_in_the_order_of_the_file():
    document = parse_json(b'''{
        "version": 5,
        "stages": [
            {"outputDir": "../x", "name": "con", "zzz": 1, "processor": "a.py",
             "retry": {"factor": -1, "jitter": "x"}},
            7,
            {"name": "ok", "processor": "p/b.py", "outputDir": "src", "name": "ok"},
            {"name": "OK", "processor": "p/b.py", "outputDir": "data", "params": {"a": 1, "a": 2}}
        ],
        "nmae": "x",
        "version": "1"
    }''')

    assert faults(document) == [
        "f: duplicate key 'version'",
        f"f: stages[0].outputDir: {OUTSIDE}'../x'",
        "f: stages[0].name: 'con' is the name of a device on Windows",
        "f: stages[0]: unknown key 'zzz'",
        'f: stages[0].retry.factor: expected a number from 0 to 1000, got -1',
        "f: stages[0].retry.jitter: expected a number from 0 to 1, got 'x'",
        'f: stages[1]: expected an object, got 7',
        "f: stages[2]: duplicate key 'name'",
        "f: stages[2].outputDir: 'src' would mix outputs with the runner's own folder 'src'; "
        'choose another folder',
        "f: stages[3].name: 'OK' is the name of stages[2] too but for the case of its letters",
        "f: stages[3].params: duplicate key 'a'",
        "f: unknown key 'nmae', did you mean 'name'?"]
