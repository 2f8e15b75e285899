"""What no single key shows is refused: clashes, cycles, placeholders without items."""

import pytest

from stagerunner.definition import Items
from stagerunner.definition import QuotaUse
from stagerunner.definition import parse
from stagerunner.schema import in_file_order
from support import stage

pytestmark = pytest.mark.unit

PAPERS = {'papers': {'glob': 'data/in/*.txt'}}


def pipeline(*stages, **top):
    return dict({'name': 'test', 'stages': list(stages)}, **top)


def faults(*stages, **top):
    """Return the faults of a definition as users see them."""
    document = pipeline(*stages, **top)
    return [fault.line('f') for fault in in_file_order(parse(document).faults, document)]


def parsed(*stages, **top):
    found = parse(pipeline(*stages, **top))
    assert found.faults == []
    return found.pipeline


# -- what is read ------------------------------------------------------------------

def test_keys_of_parallel_stages_arrive():
    found = parsed(stage('a', maxWorkers=2, stopOnFailure=False, limit='x'), stage(
        'b', dependsOn=['a', 'a'], max_workers=3, stop_on_failure=True, limit=['x', 'y', 'x']))

    assert [(s.depends_on, s.max_workers, s.stops_on_failure, s.limits) for s in found.stages] == [
        ((), 2, False, ('x',)), (('a',), 3, True, ('x', 'y'))]


@pytest.mark.parametrize(('quota', 'uses'), [
    ('api', [('api', 1, True)]),
    ({'api': 2}, [('api', 2, True)]),
    ({'api': {'tokens': 2, 'wait': False}, 'b': {}}, [('api', 2, False), ('b', 1, True)]),
])
def test_a_quota_is_written_in_three_ways(quota, uses):
    assert parsed(stage(quota=quota)).stages[0].quota == tuple(QuotaUse(*use) for use in uses)


def test_defaults_may_be_spelled_either_way():
    found = parsed(stage('a'), stage('b', maxWorkers=1), defaults={'max_workers': 4})

    assert [one.max_workers for one in found.stages] == [4, 1]


def test_a_job_is_the_stage_with_its_own_laid_over_it():
    found = parsed(stage('a', params={'x': 1, 'y': 1}, env={'A': '1'}, jobs=[
        'plain', {'name': 'own', 'params': {'y': 2}, 'env': {'B': '2'}, 'inputs': ['other'],
                  'processor': './bin/b.py', 'outputDir': 'data/own/'}]),
        defaults={'params': {'z': 0}, 'timeoutSec': 9}).stages[0]
    plain, own = found.jobs

    assert (plain.name, plain.stage) == ('plain', found._replace(jobs=()))
    assert own == ('own', plain.stage._replace(
        params={'x': 1, 'y': 2, 'z': 0}, env={'A': '1', 'B': '2'}, inputs=('other',),
        processor='bin/b.py', output_dir='data/own'))


@pytest.mark.parametrize(('entry', 'items'), [
    ({'glob': 'x/*'}, Items('glob', 'x/*')),
    ({'list': ['a', 'doi:10.1/x']}, Items('list', ('a', 'doi:10.1/x'))),
    ({'list': []}, Items('list', ())),
    ({'jsonl': 'rows.jsonl', 'id': 'key'}, Items('jsonl', 'rows.jsonl', 'key')),
    ({'queue': True}, Items('queue', None)),
])
def test_a_collection_is_one_of_four(entry, items):
    assert parsed(stage(), items={'papers': entry}).items == {'papers': items}


# -- keys --------------------------------------------------------------------------

@pytest.mark.parametrize(('keys', 'line'), [
    ({'maxWorkers': 1, 'max_workers': 1},
     ": 'maxWorkers' and 'max_workers' are one key, give one of them"),
    ({'stop_on_failure': 'no'}, ".stop_on_failure: expected true or false, got 'no'"),
    ({'maxWorkers': 0}, '.maxWorkers: expected a whole number above 0, got 0'),
    ({'dependsOn': 'a'}, ".dependsOn: expected a list, got 'a'"),
    ({'limit': 3}, '.limit: expected a name or a list of names, got 3'),
    ({'limit': ['']}, '.limit[0]: must not be empty'),
    ({'quota': True}, '.quota: expected a name or an object, got true'),
    ({'quota': {'': 1}}, '.quota.: the name of a quota must not be empty'),
    ({'quota': {'a': 0}}, '.quota.a: expected a whole number above 0, got 0'),
    ({'quota': {'a': {'waits': True}}}, ".quota.a: unknown key 'waits', did you mean 'wait'?"),
    ({'jobs': []}, '.jobs: expected at least 1, got an empty list'),
    ({'jobs': [3]}, '.jobs[0]: expected a name or an object, got 3'),
    ({'jobs': [{}]}, ".jobs[0]: key 'name' is missing"),
    ({'jobs': ['con']}, ".jobs[0]: 'con' is the name of a device on Windows"),
    ({'jobs': [{'name': 'a', 'retry': {}}]}, ".jobs[0]: unknown key 'retry'"),
    ({'jobs': ['a', 'A']}, ".jobs[1].name: 'A' is the name of stages[0].jobs[0] too but for the "
                           'case of its letters'),
    ({'jobs': ['a'], 'forEach': 'papers'},
     ": 'jobs' and 'forEach' exclude each other, give one of them"),
    ({'forEach': 'paper'}, ".forEach: there is no 'paper' in 'items', did you mean 'papers'?"),
    ({'dependsOn': ['works']}, ".dependsOn[0]: there is no stage 'works', did you mean 'work'?"),
    ({'dependsOn': ['work']}, ".dependsOn[0]: stage 'work' cannot depend on itself, a cycle"),
    ({'jobs': [{'name': 'a', 'outputDir': 'state/x'}]},
     ".jobs[0].outputDir: 'state/x' would mix outputs with the runner's own folder 'state'; "
     'choose another folder'),
    ({'jobs': [{'name': 'a', 'processor': 'data/work/x.py'}]},
     ".outputDir: 'data/work' would mix outputs with the code in 'data/work'; choose another "
     'folder'),
])
def test_a_fault_is_told_at_its_place(keys, line):
    assert faults(stage(**keys), items=PAPERS) == [f'f: stages[0]{line}']


@pytest.mark.parametrize(('entry', 'line'), [
    ({}, ": expected exactly one of 'glob', 'list', 'jsonl', 'queue', got 0"),
    ({'glob': 'x', 'list': []}, ": expected exactly one of 'glob', 'list', 'jsonl', 'queue', "
                                'got 2'),
    ([], ': expected an object, got a list'),
    ({'glob': '../x'}, ".glob: '..' is refused in '../x'; use an absolute path or a link"),
    ({'list': ['a', 'b', 'a']}, ".list[2]: 'a' is [0] too"),
    ({'list': ['']}, '.list[0]: must not be empty'),
    ({'jsonl': 'x'}, ": key 'id' is missing"),
    ({'glob': 'x', 'id': 'x'}, ": 'id' belongs to 'jsonl' only"),
    ({'queue': False}, '.queue: expected true, got false'),
])
def test_a_fault_of_a_collection_is_told_at_its_place(entry, line):
    assert faults(stage(), items={'papers': entry}) == [f'f: items.papers{line}']


def test_names_of_collections_are_one_path_part_and_no_key_of_the_checkpoint_file():
    some = {'list': ['x']}

    assert [line[:25] for line in faults(stage(), items={'a/b': some})] == [
        'f: items.a/b: expected a ']
    assert faults(stage(), items={'stats': some}) == [
        "f: items.stats: 'stats' has another meaning in the checkpoint file"]
    assert faults(stage(), items={'x': some, 'X': some}) == [
        "f: items.X: 'X' is the name of items.x too but for the case of its letters"]


def test_defaults_may_not_make_a_stage_depend_on_itself():
    default = {'dependsOn': ['a']}

    assert faults(stage('a'), stage('b'), defaults=default) == [
        "f: defaults.dependsOn[0]: stage 'a' cannot depend on itself, a cycle; "
        'give it "dependsOn": [] of its own']
    assert faults(stage('a', dependsOn=[]), stage('b'), defaults=default) == []


def test_a_default_that_names_no_stage_is_told_once():
    assert faults(stage('a'), stage('b'), defaults={'dependsOn': ['zzz']}) == [
        "f: defaults.dependsOn[0]: there is no stage 'zzz'"]


# -- placeholders ------------------------------------------------------------------

@pytest.mark.parametrize(('keys', 'place'), [
    ({'inputs': ['x', '{item.path}']}, 'inputs[1]'),
    ({'outputDir': 'data/{item.path}'}, 'outputDir'),
    ({'outputs': ['{item.path}']}, 'outputs[0]'),
    ({'params': {'deep': [{'er': 'x {item.path} y'}]}}, 'params.deep[0].er'),
    ({'env': {'A': '{item.path}'}}, 'env.A'),
    ({'jobs': [{'name': 'j', 'params': {'a': '{item.path}'}}]}, 'jobs[0].params.a'),
])
def test_placeholders_need_items(keys, place):
    assert faults(stage(**keys)) == [f"f: stages[0].{place}: '{{item.path}}' needs 'forEach'"]


def test_an_unknown_placeholder_is_refused_and_the_nearest_suggested():
    assert faults(stage(forEach='papers', inputs=['{item.pth}'], params={'a': '{item.zzzz}'}),
                  items=PAPERS) == [
        "f: stages[0].inputs[0]: unknown placeholder '{item.pth}', did you mean 'path'?",
        "f: stages[0].params.a: unknown placeholder '{item.zzzz}'"]


def test_placeholders_of_the_defaults_count_where_they_hold():
    default = {'params': {'who': '{item.id}'}}
    each = stage('each', forEach='papers')

    assert faults(each, defaults=default, items=PAPERS) == []
    assert faults(each, stage('b', params={'who': 'x'}), defaults=default, items=PAPERS) == []
    assert faults(each, stage('b'), stage('c'), defaults=default, items=PAPERS) == [
        "f: defaults.params.who: '{item.id}' needs 'forEach'"]


def test_what_only_looks_like_a_placeholder_is_text():
    assert faults(stage(params={'a': '{item} {item.id {items.id}', '{item.id}': 1})) == []


@pytest.mark.parametrize(('folder', 'line'), [
    ('{item.id}', 'must begin with a folder that is the same for all items'),
    ('x{item.id}/y', 'must begin with a folder that is the same for all items'),
    ('state/{item.id}', "'state' would mix outputs with the runner's own folder 'state'; "
                        'choose another folder'),
    ('bin/x-{item.id}', "'bin' would mix outputs with the code in 'bin'; choose another folder"),
])
def test_the_fixed_part_of_an_output_folder_obeys_the_rules(folder, line):
    assert faults(stage(forEach='papers', outputDir=folder), items=PAPERS) == [
        f'f: stages[0].outputDir: {line}']


def test_a_path_of_a_list_does_not_lead_upwards():
    items = {'papers': {'list': ['a/b', 'a/../../b', 'x..y']}}

    assert faults(stage(forEach='papers', params={'a': '{item.path}'}), items=items) == []
    assert faults(stage(forEach='papers', inputs=['{item.path}']), items=items) == [
        "f: stages[0].inputs[0]: {item.path} leads upwards with the item 'a/../../b'"]


# -- outputs -----------------------------------------------------------------------

def test_jobs_that_declare_the_same_output_are_refused():
    own = {'name': 'c', 'outputDir': 'data/c'}

    assert faults(stage('a', outputs=['r.txt'], jobs=['a', own, 'b'])) == [
        "f: stages[0].jobs[2]: 'data/a/r.txt' is published by stages[0].jobs[0] too"]
    assert faults(stage('a', outputs=['*.txt'], jobs=['a', 'b'])) == []
    assert faults(stage('a', outputs=['r'], jobs=[own]), stage('b', outputDir='data',
                                                               outputs=['c/r'])) == [
        "f: stages[1].outputs[0]: 'data/c/r' is published by stages[0].jobs[0] too"]


def test_outputs_of_the_defaults_clash_too():
    assert faults(stage('a'), stage('b', outputDir='data/a'), defaults={'outputs': ['r']}) == [
        "f: defaults.outputs[0]: 'data/a/r' is published by stages[0] too"]


@pytest.mark.parametrize(('keys', 'is_refused'), [
    ({'outputs': ['r.txt']}, True),
    ({'outputs': ['{item.id}.txt']}, False),
    ({'outputs': ['*.txt']}, False),
    ({'outputs': ['r.txt'], 'outputDir': 'data/work/{item.stem}'}, False),
    ({}, False),
])
def test_items_that_share_an_output_are_refused(keys, is_refused):
    line = ("f: stages[0].outputs[0]: 'data/work/r.txt' is published by every item of 'papers'; "
            'put {item.id} into it or into outputDir')
    each = stage(forEach='papers', **keys)

    assert faults(each, items=PAPERS) == [line] * is_refused
    assert faults(each, items={'papers': {'list': ['a', 'b']}}) == [line] * is_refused
    assert faults(each, items={'papers': {'list': ['one']}}) == []


def test_two_stages_of_the_same_items_cannot_declare_the_same_output():
    keys = {'outputDir': 'data/{item.id}', 'outputs': ['r']}
    items = dict(PAPERS, other={'list': ['x', 'y']})

    assert faults(stage('a', forEach='papers', **keys), stage('b', forEach='papers', **keys),
                  items=items) == [
        "f: stages[1].outputs[0]: 'data/{item.id}/r' is published by stages[0] too"]
    assert faults(stage('a', forEach='papers', **keys), stage('b', forEach='other', **keys),
                  items=items) == []


# -- cycles ------------------------------------------------------------------------

@pytest.mark.parametrize(('stages', 'cycle'), [
    pytest.param([('a', ['b'], []), ('b', ['a'], [])], 'a -> b -> a', id='declared'),
    pytest.param([('a', ['b'], []), ('b', [], ['data/a/x'])], 'a -> b -> a', id='input'),
    pytest.param([('a', ['b'], []), ('b', [], ['data/a/*.txt'])], 'a -> b -> a', id='glob'),
    pytest.param([('a', ['c'], []), ('b', [], ['./data//a']), ('c', ['b'], [])],
                 'a -> c -> b -> a', id='three'),
    pytest.param([('a', ['b'], []), ('b', [], [])], '', id='forward'),
    pytest.param([('a', [], ['data/b/x']), ('b', ['a'], [])], '', id='later-producer'),
    pytest.param([('a', ['b'], ['data/a/x']), ('b', [], ['data/b/x', '/data/a/x'])], '',
                 id='own-folder'),
])
def test_a_cycle_is_refused_as_a_path(stages, cycle):
    document = [stage(name, dependsOn=needs, inputs=inputs) for name, needs, inputs in stages]

    assert faults(*document) == [f'f: stages form a cycle: {cycle}'] * bool(cycle)


def test_a_cycle_goes_through_folders_of_jobs_and_items():
    first = stage('a', dependsOn=['b'], inputs=[])
    through_job = dict(first, jobs=[{'name': 'j', 'outputDir': 'data/j'}])
    through_item = dict(first, forEach='papers', outputDir='data/j/{item.id}')
    reader = stage('b', inputs=['x'], jobs=[{'name': 'k', 'inputs': ['data/j/x']}])
    each = stage('b', inputs=[], forEach='made')

    for maker in (through_job, through_item):
        for user in (reader, each):
            assert faults(maker, user, items=dict(PAPERS, made={'glob': 'data/j/*'})) == [
                'f: stages form a cycle: a -> b -> a']
    assert faults(first, reader) == []
