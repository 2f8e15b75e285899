"""`adopt` takes outputs that are there already for what a stage would make."""

import json
import os

import pytest

from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.report.trail import Trail
from stagerunner.state.names import StateNames
from support import stage

pytestmark = pytest.mark.integration


@pytest.fixture
def adopt(workspace, main):
    """Return a function that adopts in this process."""
    def call(name='work', *args):
        return main('adopt', '--pipeline', workspace.pipeline_file, name, *args)
    return call


@pytest.fixture
def made(workspace):
    """Return a workspace whose output somebody has made by hand."""
    workspace.simple()
    workspace.write('data/work/in.txt', 'by hand')
    return workspace


def audits(workspace):
    """Return what each audit tells, as (event, task)."""
    names = StateNames(str(workspace.root))
    return [[(told['event'], told.get('task')) for told in Trail(names, run_id).read()]
            for run_id in names.audited_runs()]


def test_what_was_adopted_is_skipped_while_nothing_changes(made, engine, adopt):
    assert adopt() == (0, '[ADOPT] work (1 output)\n', '')

    assert engine.run('r1') == 0 and engine.skipped() == ['work']
    assert made.read('data/work/in.txt') == 'by hand'
    made.write('data/input/in.txt', 'new')
    engine.run('r2')
    assert engine.reasons() == ['input changed: data/input/in.txt']


def test_an_adopted_output_that_was_edited_is_made_by_a_run(made, engine, adopt):
    adopt()
    made.write('data/work/in.txt', 'edited')
    engine.run('r1')

    assert engine.reasons() == ['output edited: data/work/in.txt']


def test_why_and_the_records_say_that_it_was_adopted(made, main, adopt):
    adopt()

    why = main('why', '--pipeline', made.pipeline_file, 'work')
    assert why.lines == ['work: skip', '  idempotent key matched: adopted']
    assert made.json('data/work/.work.done')['adopted'] is True
    assert made.json('state/stage_work.json')['lastStatus'] == 'adopted'
    assert audits(made) == [[('run_started', None), ('task_adopted', 'work'),
                             ('run_ended', None)]]


def test_the_audit_holds_and_what_is_a_run_is_not_touched(made, main, engine, adopt):
    """An adoption must not make `--resume` believe that all was settled."""
    made.write('state/run_r0.json', json.dumps({
        'runId': 'r0', 'pipeline': 'p', 'startedAt': 'x', 'state': 'interrupted'}))
    adopt()

    assert StateNames(str(made.root)).finished_runs() == ['r0']
    assert main('audit', 'verify', '--pipeline', made.pipeline_file).code == 0
    assert os.listdir(str(made.path('locks/.run'))) == []


def test_files_of_other_stages_of_the_runner_and_inputs_are_not_adopted(
        made, engine, adopt):
    made.pipeline(stage('first', outputDir='data/work'),
                  stage('work', inputs=['data/input/in.txt', 'data/work/config.txt']))
    made.write('data/work/config.txt')
    made.path('data/work/in.txt').unlink()
    made.write('data/work/sub/more.txt')
    made.write('data/work/.old.partial/x')
    adopt('first', '--json')

    assert {output['path'] for output in made.json('data/work/.first.done')['outputs']} == {
        'config.txt', 'sub/more.txt'}
    made.write('data/work/late.txt')
    adopt()
    assert {output['path'] for output in made.json('data/work/.work.done')['outputs']} == {
        'late.txt'}


def test_where_outputs_are_named_those_are_adopted(made, adopt):
    made.write('data/work/notes.txt')
    made.write('data/work/parts/1.csv')
    made.write('data/work/parts/2.csv')
    made.pipeline(stage(outputs=['in.txt', 'parts']))

    assert adopt().out == '[ADOPT] work (3 outputs)\n'
    made.pipeline(stage(outputs=['parts/*.csv']))
    assert adopt().out == '[ADOPT] work (2 outputs)\n'


def test_all_tasks_of_a_fan_out_are_adopted_or_none(engine, workspace, adopt):
    workspace.simple(jobs=[{'name': name, 'outputDir': f'data/{name}'} for name in 'xy'])
    workspace.write('data/x/out', '1')
    refused = adopt()
    nothing = sorted(workspace.contents('data'))
    workspace.write('data/y/out', '2')

    assert refused == (2, '', "work[y] cannot be adopted: there is no output in 'data/y'\n")
    assert nothing == ['input/in.txt', 'x/out']
    assert adopt().lines == ['[ADOPT] work[x] (1 output)', '[ADOPT] work[y] (1 output)']
    engine.run('r1')
    assert engine.ran() == [] and engine.skipped() == ['work[x]', 'work[y]']


@pytest.mark.parametrize(('spoil', 'said'), [
    (lambda made: made.path('data/work/in.txt').unlink(),
     "work cannot be adopted: there is no output in 'data/work'"),
    (lambda made: made.pipeline(stage(outputs=['other.txt'])),
     "work cannot be adopted: its output 'other.txt' is missing"),
    (lambda made: made.pipeline(stage(inputs=['data/one/*', 'data/gone.txt']),
                                ), "pipeline.json: stages[0].inputs[1]: 'data/gone.txt' does not "
                                   'exist and no earlier stage can publish it'),
    (lambda made: made.pipeline(stage('one', outputDir='data/one'),
                                stage(inputs=['data/one/x'])),
     'work cannot be adopted: input data/one/x is missing after one'),
    (lambda made: made.write('bin/work.py', 'import socket\n'),
     "work cannot be adopted: Offline violation: forbidden import 'socket' (bin/work.py:1)"),
    (lambda made: made.pipeline(stage(forEach='docs', inputs=['{item.path}']),
                                items={'docs': {'list': ['data/input/in.txt']}}),
     "work[data%2Finput%2Fin.txt] cannot be adopted: nobody can tell which files in 'data/work' "
     "are its own; name them under 'outputs'"),
    (lambda made: os.mkfifo(str(made.path('data/work/pipe'))),
     "work cannot be adopted: output 'pipe' is not a file"),
])
def test_what_cannot_be_vouched_for_is_refused_and_nothing_is_written(made, adopt, spoil, said):
    spoil(made)
    before = sorted(made.contents('data'))

    assert adopt() == (2, '', f'{said}\n')
    assert sorted(made.contents('data')) == before and audits(made) == []


def test_an_unknown_stage_is_a_mistake_of_the_caller(made, adopt):
    assert adopt('wrok').err == "there is no stage 'wrok', did you mean 'work'?\n"
    assert adopt('zzz') == (2, '', "there is no stage 'zzz'; the stages are work\n")


def test_while_a_run_holds_the_stage_it_is_busy(made, adopt):
    lock = try_lock(stage_lock(str(made.root), 'work'))
    try:
        busy = adopt()
    finally:
        lock.release()

    assert (busy.code, busy.err) == (4, "stage 'work' is busy: locks/work.lock locked (held by "
                                        'another process); wait for that run or stop it\n')


def test_adopted_files_are_not_the_runners_to_remove(made, main, adopt):
    adopt()

    done = main('clean', '--pipeline', made.pipeline_file, '--outputs')

    assert done.lines[0] == 'kept data/work/in.txt: it was adopted, not made by a run'
    assert made.read('data/work/in.txt') == 'by hand'
    assert not made.path('data/work/.work.done').exists()


def test_a_run_after_a_change_replaces_what_was_adopted_and_leaves_the_rest(
        made, engine, adopt):
    made.write('data/work/notes.txt', 'mine')
    adopt()
    made.write('data/input/in.txt', 'new')
    engine.run('r1')

    assert made.read('data/work/in.txt') == 'new'
    assert made.read('data/work/notes.txt') == 'mine'


def test_as_json_there_is_an_object_per_task(made, adopt):
    found = [json.loads(line) for line in adopt('work', '--json').lines]

    assert [(told['event'], told['task'], told['outputs']) for told in found] == [
        ('task_adopted', 'work', 1)]
