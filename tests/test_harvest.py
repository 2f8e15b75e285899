"""Tests of `stagerunner.harvest`: what a processor left behind, and whether its inputs held."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from fakes import FakeClock
from fakes import ListSink
from stagerunner.commit import Batch
from stagerunner.commit import Finished
from stagerunner.errors import InputChanged
from stagerunner.errors import StageError
from stagerunner.files import digest_bytes
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import digest_input
from stagerunner.flushing import Flusher
from stagerunner.harvest import Harvester
from stagerunner.imports import Source
from stagerunner.ledger import Claims
from stagerunner.ledger import Ledger
from stagerunner.publish import prepare
from stagerunner.publish import written_files
from stagerunner.spelling import private_folder
from stagerunner.state.marker import Marker
from stagerunner.tasks import Task
from stagerunner.tasks import make_groups
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

DIRECTLY = 'wrote to data/shared directly; use PIPELINE_OUTPUT_DIR'


class Field:
    """Two stages `a` and `b` that share a folder, a third one `c` whose folder lies in it."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace.simple()
        workspace.processor('#!/bin/sh\n', 'bin/work.sh')
        workspace.pipeline(
            stage('a', outputDir='data/shared'), stage('b', outputDir='data/shared'),
            stage('c', outputDir='data/shared/deep'),
            stage('declares', outputDir='data/shared', outputs=['must']),
            stage('program', processor='bin/work.sh'))
        root = str(workspace.root)
        groups = make_groups(load(root + '/pipeline.json'))
        self.tasks = {task.name: task for group in groups for task in group}
        self.sink = ListSink()
        self.digests = Digests(root + '/index', FakeClock(now=time.time() + 3600))
        self.ledger = Ledger(root)
        self.harvester = Harvester(root, self.digests, self.ledger,
                                   Claims(root, self.ledger, groups), self.sink)

    def begin(self, name: str) -> int:
        """Do what happens before a launch."""
        return prepare(self.private(self.tasks[name]), keeps_content=False)

    def private(self, task: Task) -> str:
        return private_folder(task.output_dir, task.name)

    def write(self, name: str, file: str, content: str = 'x') -> None:
        """Let a task write a file where it should."""
        folder = os.path.relpath(self.private(self.tasks[name]), str(self.workspace.root))
        self.workspace.write(f'{folder}/{file}', content)

    def gather(self, name: str, made_ns: int) -> Any:
        task = self.tasks[name]
        private = self.private(task)
        return self.harvester.gather(task, private, written_files(private), made_ns)

    def publish(self, name: str, *files: str) -> None:
        """Let a task write files and succeed."""
        made_ns = self.begin(name)
        for file in files:
            self.write(name, file)
        self.commit(name, self.gather(name, made_ns))

    def commit(self, name: str, crop: Any) -> None:
        task = self.tasks[name]
        marker = Marker(name, 'k', 'r', '', 0.0, crop.is_staged, {}, crop.outputs)
        batch = Batch([Finished(name, self.private(task), task.output_dir, marker, crop.former)],
                      Flusher(str(self.workspace.root)))
        batch.publish()
        batch.settle()
        assert not batch.errors

    def warnings(self):
        return [event.message for event in self.sink.events]


@pytest.fixture
def field(workspace: Workspace) -> Field:
    return Field(workspace)


def paths(crop: Any):
    return [output.path for output in crop.outputs]


# -- gathering ----------------------------------------

def test_what_lies_in_the_private_folder_is_the_crop(field):
    made_ns = field.begin('a')
    field.write('a', 'x')
    field.write('a', 'deep/y')

    crop = field.gather('a', made_ns)

    assert paths(crop) == ['deep/y', 'x'] and crop.is_staged and crop.former is None
    assert field.warnings() == []


def test_the_former_success_is_handed_over(field):
    field.publish('a', 'x')

    crop = field.gather('a', field.begin('a'))

    assert [output.path for output in crop.former.outputs] == ['x']


def test_a_former_marker_that_cannot_be_read_is_none(field):
    field.publish('a', 'x')
    field.workspace.write('data/shared/.a.done', 'garbage')

    assert field.ledger.former(field.tasks['a']) is None


def test_a_declared_output_that_is_missing_fails(field):
    made_ns = field.begin('declares')
    field.write('declares', 'other')

    with pytest.raises(StageError, match="did not write its output 'must'"):
        field.gather('declares', made_ns)


def test_nothing_written_is_no_failure_where_nothing_is_declared(field):
    assert field.gather('a', field.begin('a')) == ((), True, None)


# -- two tasks, one path ----------------------------------------

@pytest.mark.parametrize('first, file, second, again', [
    ('a', 'x', 'b', 'x'), ('a', 'deep/x', 'c', 'x'), ('c', 'x', 'a', 'deep/x')])
def test_the_second_task_that_publishes_a_path_is_refused_and_the_first_is_named(
        field, first, file, second, again):
    field.publish(first, file)
    made_ns = field.begin(second)
    field.write(second, again)

    with pytest.raises(StageError) as refused:
        field.gather(second, made_ns)

    assert str(refused.value) == (f"output '{again}' was already published by '{first}'; "
                                  f'two tasks cannot publish the same file')


def test_a_task_may_publish_its_own_paths_again(field):
    field.publish('a', 'x')
    field.publish('b', 'y')

    field.publish('a', 'x')


def test_a_task_may_publish_its_own_paths_beside_files_of_nobody(field):
    field.publish('a', 'x')
    field.workspace.write('data/shared/y', 'by hand')

    field.publish('a', 'x', 'y')

    assert field.workspace.read('data/shared/y') == 'x'


def test_a_file_of_nobody_is_replaced(field):
    field.workspace.write('data/shared/x', 'by hand')

    field.publish('a', 'x')

    assert field.workspace.read('data/shared/x') == 'x'


# -- direct writes ----------------------------------------

def test_files_written_directly_are_put_up_with(field):
    made_ns = field.begin('a')
    field.workspace.write('data/shared/x')

    crop = field.gather('a', made_ns)

    assert paths(crop) == ['x'] and not crop.is_staged
    assert field.warnings() == [DIRECTLY]


def test_direct_writes_beside_proper_outputs_are_not_looked_for(field):
    made_ns = field.begin('a')
    field.workspace.write('data/shared/x')
    field.write('a', 'y')

    assert paths(field.gather('a', made_ns)) == ['y']
    assert field.warnings() == []


def test_what_others_published_is_not_taken_for_a_direct_write(field):
    made_ns = field.begin('b')
    field.publish('a', 'x')

    assert field.gather('b', made_ns).outputs == ()


def test_what_a_task_wrote_directly_before_it_may_write_again(field):
    for content in ('1', '2'):
        made_ns = field.begin('a')
        field.workspace.write('data/shared/x', content)
        crop = field.gather('a', made_ns)
        field.commit('a', crop)

    assert paths(crop) == ['x'] and crop.outputs[0].digest == digest_bytes(b'2')


def test_declared_outputs_may_have_been_written_directly(field):
    made_ns = field.begin('declares')
    field.workspace.write('data/shared/other')
    with pytest.raises(StageError, match='must'):
        field.gather('declares', made_ns)

    field.workspace.write('data/shared/must')
    assert paths(field.gather('declares', made_ns)) == ['must', 'other']


def test_files_written_directly_before_stay_in_the_manifest_while_they_exist(field):
    made_ns = field.begin('a')
    for name in ('kept', 'gone'):
        field.workspace.write(f'data/shared/{name}')
    field.commit('a', field.gather('a', made_ns))
    old = os.stat(str(field.workspace.path('data/shared/kept'))).st_ctime_ns
    field.workspace.path('data/shared/gone').unlink()

    made_ns = max(field.begin('a'), old + 1)
    new = field.workspace.write('data/shared/new')
    os.utime(str(new), ns=(made_ns, made_ns))

    assert paths(field.gather('a', made_ns)) == ['kept', 'new']


# -- did the inputs hold? ----------------------------------------

NAME = 'data/input/in.txt'


def check(field: Field, change: Any, name: str = 'a') -> None:
    """Hash the input and the processor, let `change` happen, and check."""
    task = field.tasks[name]
    root = str(field.workspace.root)
    inputs = [digest_input(field.digests, root, NAME)]
    path = os.path.join(root, task.stage.processor)
    source = Source(task.stage.processor, field.digests.of(path)[0], path)
    change(field.workspace)
    field.harvester.check_inputs(task, inputs, source)


@pytest.mark.parametrize('name', ['a', 'program'])
def test_inputs_that_held_still_are_fine(field, name):
    check(field, lambda workspace: None, name)


@pytest.mark.parametrize('change', [
    pytest.param(lambda w: w.write(NAME, 'other'), id='edited'),
    pytest.param(lambda w: os.utime(str(w.path(NAME))), id='touched'),
    pytest.param(lambda w: w.path(NAME).unlink(), id='gone'),
])
def test_an_input_that_did_not_hold_still_is_told(field, change):
    with pytest.raises(InputChanged) as changed:
        check(field, change)

    assert (changed.value.path, changed.value.when) == (NAME, 'its stage ran')


@pytest.mark.parametrize('change', [
    pytest.param(lambda w: w.write('bin/work.sh', '#!/bin/sh\nfalse\n'), id='edited'),
    pytest.param(lambda w: w.path('bin/work.sh').unlink(), id='removed itself'),
    pytest.param(lambda w: (w.path('bin/work.sh').unlink(), w.path('bin/work.sh').mkdir()),
                 id='a folder now'),
])
def test_a_program_that_changed_while_it_ran_is_told(field, change):
    """A script that removes itself once ended the runner as a bug."""
    with pytest.raises(InputChanged) as changed:
        check(field, change, 'program')

    assert (changed.value.path, changed.value.when) == ('bin/work.sh', 'it ran')


def test_a_touched_program_is_the_same_program(field):
    check(field, lambda w: os.utime(str(w.path('bin/work.sh'))), 'program')


def test_python_files_are_pinned_and_need_no_second_look(field):
    check(field, lambda w: w.write('bin/work.py', 'other'))
