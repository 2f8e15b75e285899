"""Tests of `stagerunner.publish`: the private folder of a task, and what may leave it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.publish import check_declared
from stagerunner.publish import check_room
from stagerunner.publish import describe_outputs
from stagerunner.publish import discard
from stagerunner.publish import is_intact
from stagerunner.publish import prepare
from stagerunner.publish import stale_files
from stagerunner.publish import written_directly
from stagerunner.publish import written_files
from stagerunner.spelling import private_folder
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output

pytestmark = pytest.mark.unit


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def output(path: str, content: bytes) -> Output:
    return Output(path, len(content), sha(content))


def marker(*outputs: Output) -> Marker:
    return Marker('work', 'k', 'r', '', 0.0, True, {}, outputs)


def write(path: Path, content: str = 'x') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    folder = tmp_path / 'out' / '.work.partial'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def published(private: Path) -> Path:
    return private.parent


# -- the folder ----------------------------------------

def test_the_private_folder_lies_in_the_output_folder_under_the_name_of_the_task():
    assert private_folder('/w/data/out', 'work') == '/w/data/out/.work.partial'


def test_a_fresh_start_begins_in_an_emptied_folder(private):
    write(private / 'deep/left')

    made_ns = prepare(str(private), keeps_content=False)

    assert os.listdir(private) == []
    assert made_ns == os.stat(private).st_ctime_ns


def test_a_resumed_task_finds_what_it_wrote(private):
    write(private / 'left')

    prepare(str(private), keeps_content=True)

    assert os.listdir(private) == ['left']


def test_a_link_in_place_of_the_folder_is_not_followed(private, tmp_path):
    private.rmdir()
    write(tmp_path / 'victim/file')
    private.symlink_to(tmp_path / 'victim')

    prepare(str(private), keeps_content=False)

    assert not private.is_symlink() and private.is_dir()
    assert (tmp_path / 'victim/file').exists()


@pytest.mark.parametrize('act', [
    lambda path: prepare(path, keeps_content=False), discard], ids=['prepare', 'discard'])
def test_a_folder_that_cannot_be_had_is_a_fault_of_the_state(tmp_path, act):
    write(tmp_path / 'file')

    with pytest.raises(StateError):
        act(str(tmp_path / 'file' / 'inside'))


def test_discarding_removes_all_and_twice_is_fine(private):
    write(private / 'deep/left')

    discard(str(private))
    discard(str(private))

    assert not private.exists()


# -- what was written ----------------------------------------

def test_files_and_links_are_outputs_and_empty_folders_are_not(private):
    write(private / 'b')
    write(private / 'deep/er/a')
    (private / 'empty').mkdir()
    (private / 'link').symlink_to('b')
    (private / 'folder-link').symlink_to('deep')
    (private / 'dangling').symlink_to('nowhere')
    write(private / '.hidden')

    assert written_files(str(private)) == [
        '.hidden', 'b', 'dangling', 'deep/er/a', 'folder-link', 'link']


def test_a_pipe_cannot_be_published(private):
    os.mkfifo(str(private / 'pipe'))

    with pytest.raises(StageError, match="^output 'pipe' is not a file$"):
        written_files(str(private))


@pytest.mark.parametrize('name', ['.work.done', 'deep/.other.done', '.x.partial/a'])
def test_names_of_the_runner_cannot_be_published(private, name):
    write(private / name)

    with pytest.raises(StageError) as refused:
        written_files(str(private))

    assert str(refused.value) == f"output '{name}' has a name that belongs to the runner"


def test_a_name_that_is_not_utf8_cannot_be_published(private):
    """The manifest is JSON and cannot hold it: this was once reported as a bug of the runner."""
    open(os.path.join(os.fsencode(str(private)), b'\xff.txt'), 'w').close()

    with pytest.raises(StageError) as refused:
        written_files(str(private))

    assert str(refused.value) == r"output '\udcff.txt' has a name that is not UTF-8"


def test_direct_writes_are_what_changed_since_and_is_nobody_elses(published, private):
    since_ns = os.stat(private).st_ctime_ns
    for name in ('old', 'new', 'deep/new', 'theirs', '.work.done', '.other.partial/x'):
        write(published / name)
    (published / 'link').symlink_to('new')
    future = since_ns + 10_000_000_000
    found = written_directly(str(published), since_ns, ['theirs'])

    assert found == ['deep/new', 'new', 'old']
    assert written_directly(str(published), future, []) == []


def test_a_direct_write_that_sets_the_clock_back_is_found_by_its_time_of_change(
        published, private):
    os.utime(str(write(published / 'new')), (0, 0))

    assert written_directly(str(published), os.stat(private).st_ctime_ns, []) == ['new']


def test_outputs_are_described_by_their_bytes_and_links_by_their_target(private):
    write(private / 'a', 'abc')
    (private / 'link').symlink_to('a')

    assert describe_outputs(str(private), ['a', 'link']) == (
        output('a', b'abc'), Output('link', 0, sha(b'a'), 'a'))


# -- what must be and must not be ----------------------------------------

@pytest.mark.parametrize('declared', [['a'], ['*.txt'], ['deep/*'], ['**/c.txt'], ['[x]'], []])
def test_declared_outputs_that_are_there_satisfy(private, declared):
    for name in ('a', 'b.txt', 'deep/c.txt', '[x]'):
        write(private / name)

    check_declared(str(private), declared)


@pytest.mark.parametrize('name', ['gone', '*.csv', 'deep/none', '*'])
def test_a_declared_output_that_is_missing_is_named(private, name):
    if name != '*':
        write(private / 'a')

    with pytest.raises(StageError) as failed:
        check_declared(str(private), [name])

    assert str(failed.value) == f"exited with 0 but did not write its output '{name}'"


def test_a_dangling_link_is_an_output_that_is_there(private):
    (private / 'a').symlink_to('nowhere')

    check_declared(str(private), ['a'])


def test_outputs_may_replace_files_and_links(published):
    write(published / 'a')
    (published / 'folder').mkdir()
    (published / 'link').symlink_to('folder')

    check_room(str(published), ['a', 'link', 'folder/b', 'new/c'], {'z': 'other'}.get)


@pytest.mark.parametrize('name, said', [
    ('a/b', "output 'a/b' needs a folder where 'a' is a file"),
    ('a/b/c', "output 'a/b/c' needs a folder where 'a' is a file"),
    ('dangling/b', "output 'dangling/b' needs a folder where 'dangling' is a file"),
    ('folder', "output 'folder' cannot replace a folder of that name"),
    ('theirs', "output 'theirs' was already published by 'other'; two tasks cannot publish "
               "the same file"),
])
def test_an_output_without_room_is_refused(published, name, said):
    write(published / 'a')
    (published / 'folder').mkdir()
    (published / 'dangling').symlink_to('nowhere')

    with pytest.raises(StageError) as refused:
        check_room(str(published), ['fine', name], {'theirs': 'other'}.get)

    assert str(refused.value) == said


# -- what a former success left ----------------------------------------

def test_former_outputs_are_stale_unless_made_again_or_edited(published):
    for name in ('kept', 'stale', 'same-size', 'longer'):
        write(published / name, 'old')
    (published / 'link').symlink_to('kept')
    (published / 'turned').symlink_to('kept')
    former = marker(*(output(name, b'old') for name in (
        'kept', 'stale', 'same-size', 'longer', 'gone', 'turned')),
        Output('link', 0, sha(b'kept'), 'kept'))
    write(published / 'same-size', 'new')
    write(published / 'longer', 'longer')

    assert stale_files(str(published), former, [output('kept', b'new')]) == ['stale', 'link']


@pytest.mark.parametrize('change', [
    pytest.param(lambda link: link.symlink_to('b'), id='another target'),
    pytest.param(lambda link: link.write_text('a'), id='a file now'),
    pytest.param(lambda link: None, id='gone'),
])
def test_a_link_is_intact_while_it_leads_to_the_same_place(published, change):
    link = published / 'link'
    recorded = Output('link', 0, sha(b'a'), 'a')
    link.symlink_to('a')
    assert is_intact(str(published), recorded)

    link.unlink()
    change(link)

    assert not is_intact(str(published), recorded)
