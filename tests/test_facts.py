"""Tests of `stagerunner.facts`: what is observed about a task, changing nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from fakes import FakeClock
from stagerunner.errors import InputChanged
from stagerunner.errors import OfflineViolation
from stagerunner.facts import Observer
from stagerunner.files import digest_bytes
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import key_of
from stagerunner.fingerprint import stats_of
from stagerunner.ledger import Ledger
from stagerunner.resume import Binding
from stagerunner.resume import ResumePoint
from stagerunner.resume import write_binding
from stagerunner.state.names import StateNames
from stagerunner.tasks import make_tasks
from stagerunner.workspace import load
from support import stage

pytestmark = pytest.mark.unit


@pytest.fixture
def observer(workspace):
    """Return an observer of a workspace that is made before the first look."""
    digests = Digests(str(workspace.path('state/index.json')), FakeClock(now=time.time() + 3600))
    return Observer(str(workspace.root), digests, '3.11', {}, Ledger(str(workspace.root)))


@pytest.fixture
def observe(workspace, observer):
    """Return a function that looks at the n-th task of the workspace as it is now."""
    def look(position=0):
        return observer.observe(make_tasks(load(str(workspace.pipeline_file)))[position])
    return look


@pytest.fixture
def done(workspace, engine):
    """Return a workspace whose stage has finished."""
    workspace.simple()
    engine.python_version = '3.11'
    assert engine.run() == 0
    return workspace


def test_a_fresh_task_has_inputs_program_and_key(workspace, observe):
    workspace.simple('import helper\n', params={'n': 1}, env={'A': 'b'})
    workspace.write('bin/helper.py', '')

    facts = observe()

    content = digest_bytes(b'one\ntwo\n')
    assert [(entry.name, entry.digest) for entry in facts.inputs] == [
        ('data/input/in.txt', content)]
    assert facts.parts == {
        'format': 1, 'inputs': [['data/input/in.txt', content]],
        'processor': ['bin/work.py', digest_bytes(b'import helper\n')],
        'helpers': [['bin/helper.py', digest_bytes(b'')]],
        'params': {'n': 1}, 'env': {'A': 'b'}, 'options': {}, 'python': '3.11'}
    assert facts.key == key_of(facts.parts)
    assert facts.former_end == '' and not facts.trouble and facts.marker is None


def test_a_program_that_is_no_python_has_no_helpers_and_no_python_in_its_key(workspace, observe):
    workspace.simple(processor='bin/work.sh')
    workspace.processor('#!/bin/sh\nimport socket\n', 'bin/work.sh')

    facts = observe()

    assert facts.parts['python'] is None and facts.parts['helpers'] == []
    assert facts.trouble is None


def test_looking_changes_nothing(workspace, observe):
    workspace.simple(checkpoint={'enabled': True})
    workspace.write('data/work/.work.done', 'garbage')
    workspace.write('state/progress_work.json', 'garbage')
    before = workspace.tree()

    observe()

    assert workspace.tree() == before


# -- trouble ----------------------------------------

def test_a_missing_input_is_named_with_the_stage_that_should_have_made_it(workspace, observe):
    workspace.simple()
    workspace.pipeline(stage('first'), stage(inputs=['data/input/in.txt', 'data/first/x']))

    trouble = observe(1).trouble

    assert str(trouble) == 'input data/first/x is missing after first' and trouble.is_final


def test_an_input_that_went_missing_is_named(workspace, observer):
    workspace.simple()
    tasks = make_tasks(load(str(workspace.pipeline_file)))
    workspace.path('data/input/in.txt').unlink()

    assert str(observer.observe(tasks[0]).trouble) == 'input data/input/in.txt is missing'


def test_a_processor_that_went_missing_is_named(workspace, observer):
    workspace.simple()
    tasks = make_tasks(load(str(workspace.pipeline_file)))
    workspace.path('bin/work.py').unlink()

    assert str(observer.observe(tasks[0]).trouble).endswith('bin/work.py is missing')


def test_an_input_that_is_no_file_is_named(workspace, observe):
    workspace.simple(inputs=['data/pipe'])
    os.mkfifo(str(workspace.path('data/pipe')))

    assert str(observe().trouble) == 'data/pipe: is not a regular file'


def test_an_input_whose_name_is_not_utf8_is_refused(workspace, observe):
    """The marker is JSON and cannot hold it: this was once reported as a bug of the runner."""
    workspace.simple(inputs=['data/input/*'])
    open(os.path.join(os.fsencode(str(workspace.root)), b'data/input/\xff'), 'w').close()

    trouble = observe().trouble

    assert str(trouble) == r"input 'data/input/\udcff' has a name that is not UTF-8; rename it"


def test_a_forbidden_import_is_trouble_wherever_it_stands(workspace, observe):
    workspace.simple('import helper\n')
    workspace.write('bin/helper.py', '\nimport socket\n')

    trouble = observe().trouble

    assert isinstance(trouble, OfflineViolation)
    assert (trouble.module, trouble.path, trouble.line) == ('socket', 'bin/helper.py', 2)


class Restless(Digests):
    """Meets a file that somebody keeps rewriting."""

    def of(self, path):
        raise InputChanged(path, 'it was read')


def test_an_input_that_does_not_hold_still_is_trouble_worth_another_try(workspace, clock):
    workspace.simple()
    tasks = make_tasks(load(str(workspace.pipeline_file)))
    observer = Observer(str(workspace.root), Restless('', clock), '3.11', {},
                        Ledger(str(workspace.root)))

    trouble = observer.observe(tasks[0]).trouble

    assert isinstance(trouble, InputChanged) and not trouble.is_final


def test_globs_without_matches_are_told(workspace, observe):
    workspace.simple(inputs=['data/none/*', 'data/input/*'])

    facts = observe()

    assert facts.unmatched == ('data/none/*',)
    assert [entry.name for entry in facts.inputs] == ['data/input/in.txt']


# -- the program is read anew when it must be ----------------------------------------

def test_a_program_is_kept_while_nothing_about_it_changed(workspace, observe):
    workspace.simple('import helper\n')
    workspace.write('bin/helper.py', '')

    assert observe().program is observe().program


@pytest.mark.parametrize('change', [
    pytest.param(lambda w: w.write('bin/helper.py', 'x = 1\n'), id='edited'),
    pytest.param(lambda w: w.path('bin/helper.py').unlink(), id='removed'),
    pytest.param(lambda w: (w.path('bin/helper.py').unlink(), w.path('bin/helper.py').mkdir()),
                 id='a folder now'),
])
def test_a_program_is_read_anew_when_a_helper_changed(workspace, observe, change):
    workspace.simple('import helper\n')
    workspace.write('bin/helper.py', '')
    before = observe()

    change(workspace)

    assert observe().key != before.key


def test_folders_on_the_search_path_inside_the_workspace_hold_helpers_too(workspace, observe):
    workspace.simple('import helper\n', env={'PYTHONPATH': 'lib'})
    workspace.write('lib/helper.py', '')

    assert observe().parts['helpers'] == [['lib/helper.py', digest_bytes(b'')]]


@pytest.mark.parametrize('item, options', [
    ('data/one.txt', True), ('data', True), ('doi:10.1/x', False), ('..', False), ('.', False),
    ('/', False), ('data/..', False)])
def test_what_lies_at_the_id_of_an_item_counts_but_not_the_workspace_itself(
        workspace, observe, item, options):
    """Bug: with an id like `..` all that lies beside the workspace was read for the key."""
    workspace.processor()
    workspace.write('data/one.txt')
    workspace.pipeline(stage(inputs=[], forEach='all', outputDir='out/{item.id}'),
                       items={'all': {'list': [item]}})

    assert ('item' in observe().parts['options']) is options


# -- markers and outputs ----------------------------------------

def test_a_finished_task_has_a_marker_and_nothing_broken(done, observe):
    facts = observe()

    assert facts.marker.key == facts.key and facts.former_end == 'ok'
    assert facts.broken == () and not facts.has_leftover


@pytest.mark.parametrize('record, end', [
    ('{"lastStatus": "ok"}', 'ok'), ('{"lastStatus": "failed"}', 'failed'),
    ('{"lastStatus": "interrupted"}', 'interrupted'), ('{', 'ok'), ('[]', 'ok')])
def test_of_a_task_without_a_marker_its_record_tells_how_it_ended(done, observe, record, end):
    """For people: why it runs.  Bug: after a failed attempt it was 'marker missing'."""
    done.path('data/work/.work.done').unlink()
    done.write('state/stage_work.json', record)

    facts = observe()

    assert facts.marker is None and facts.former_end == end


@pytest.mark.parametrize('content, fault', [
    ('', 'is empty'), ('[]', 'is not a marker of this runner'),
    ('{"format": "2"}', "has format '2', this version reads 1"),
    ('{"format": 1, "task": "other"}', "belongs to 'other'")])
def test_a_marker_that_cannot_be_used_is_a_fault_and_no_marker(done, observe, content, fault):
    done.write('data/work/.work.done', content)

    facts = observe()

    assert facts.marker is None and facts.marker_fault == fault


@pytest.mark.parametrize('change, reason', [
    pytest.param(lambda out: out.unlink(), 'output missing: data/work/in.txt', id='deleted'),
    pytest.param(lambda out: out.write_text('one'), 'output edited: data/work/in.txt',
                 id='truncated'),
    pytest.param(lambda out: out.write_text('ONE\ntwo\n'), 'output edited: data/work/in.txt',
                 id='same size'),
    pytest.param(lambda out: (out.unlink(), out.mkdir()), 'output edited: data/work/in.txt',
                 id='a folder now'),
    pytest.param(lambda out: (out.unlink(), out.symlink_to('x')),
                 'output edited: data/work/in.txt', id='a link now'),
    pytest.param(lambda out: (out.unlink(), os.mkfifo(str(out))),
                 'output edited: data/work/in.txt', id='a pipe now'),
])
def test_an_output_that_is_not_as_recorded_is_broken(done, observe, change, reason):
    change(done.path('data/work/in.txt'))

    assert [str(found) for found in observe().broken] == [reason]


@pytest.mark.parametrize('change', [
    pytest.param(lambda w: os.utime(str(w.path('data/work/in.txt'))), id='touched'),
    pytest.param(lambda w: w.path('data/work/in.txt').chmod(0o600), id='mode'),
    pytest.param(lambda w: w.write('data/work/extra', ''), id='extra file'),
])
def test_what_leaves_the_recorded_bytes_alone_breaks_nothing(done, observe, change):
    change(done)

    assert observe().broken == ()


def test_a_published_link_must_keep_its_target(done, observe):
    marker = json.loads(done.read('data/work/.work.done'))
    marker['outputs'] = [{'path': 'link', 'size': 0, 'sha256': 'd', 'link': 'in.txt'}]
    done.write('data/work/.work.done', json.dumps(marker))
    link = done.path('data/work/link')

    assert observe().broken[0].new is None
    link.symlink_to('in.txt')
    assert observe().broken == ()
    link.unlink()
    link.symlink_to('elsewhere')
    assert (observe().broken[0].old, observe().broken[0].new) == ('in.txt', 'elsewhere')


def test_outputs_are_not_looked_at_where_the_key_differs_anyway(done, observe):
    done.path('data/work/in.txt').unlink()
    done.write('data/input/in.txt', 'other')

    assert observe().broken == ()


# -- going on ----------------------------------------

@pytest.fixture
def stopped(workspace, observe):
    """Return a workspace whose checkpointing stage was stopped at line 7."""
    workspace.simple(checkpoint={'enabled': True})
    workspace.write('data/work/.work.partial/r', 'abc')
    names = StateNames(str(workspace.root))
    workspace.write('state/progress_work.json', '{"lineOffset": 7, "outputs": {"r": 3}}')
    facts = observe()
    write_binding(names, 'work', Binding(facts.key, 1, 'r1', 'data/work/.work.partial',
                                         inputs=stats_of(facts.inputs)))
    return workspace


def test_a_stopped_task_can_go_on(stopped, observe):
    facts = observe()

    assert facts.resume_point == ResumePoint(7, {'r': 3}) and facts.has_leftover


def test_a_stopped_task_with_another_key_says_why_it_cannot(stopped, observe):
    stopped.write('data/input/in.txt', 'other')

    facts = observe()

    assert facts.resume_point is None
    assert facts.restart_why.startswith('its inputs, processor or parameters changed')


def test_a_stopped_task_whose_input_was_put_back_cannot_go_on(stopped, observe):
    before = stopped.read('data/input/in.txt')
    stopped.write('data/input/in.txt', 'other')
    stopped.write('data/input/in.txt', before)

    facts = observe()

    assert facts.resume_point is None
    assert facts.restart_why == 'its inputs were written to since its progress was made'


def test_without_checkpointing_nobody_looks_for_progress(stopped, observe):
    stopped.pipeline(stage())

    facts = observe()

    assert facts.resume_point is None and facts.restart_why == ''


def test_names_are_those_of_the_workspace(workspace, observer):
    assert Path(observer.ledger.names.index()) == workspace.path('state/index.json')
