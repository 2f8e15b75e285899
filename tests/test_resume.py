"""Tests of `stagerunner.resume`: when a task goes on, and when it starts at line 0 and why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stagerunner.errors import StateError
from stagerunner.resume import LEFT_OVER
from stagerunner.resume import NOT_VERIFIED
from stagerunner.resume import Binding
from stagerunner.resume import ResumePoint
from stagerunner.resume import final_offset
from stagerunner.resume import find
from stagerunner.resume import forget_progress
from stagerunner.resume import restore
from stagerunner.resume import tells_lengths
from stagerunner.resume import unreadable
from stagerunner.resume import write_binding
from stagerunner.state.names import StateNames

pytestmark = pytest.mark.unit


class Stopped:
    """A task `work` that was stopped at line 150 after 8 bytes of `r.txt`."""

    def __init__(self, root: Path):
        self.names = StateNames(str(root))
        self.private = root / 'data' / '.work.partial'
        (root / 'state').mkdir()
        self.private.mkdir(parents=True)
        (self.private / 'r.txt').write_bytes(b'12345678 not committed')
        self.bind()
        self.progress({'lineOffset': 150, 'outputs': {'r.txt': 8}})

    def bind(self, **changed: Any) -> None:
        binding = Binding('k1', 1, 'r1', 'data/.work.partial')
        write_binding(self.names, 'work', binding._replace(**changed))

    def progress(self, value: Any) -> None:
        Path(self.names.progress('work')).write_text(json.dumps(value))

    def find(self, key: str = 'k1', inputs: str = ''):
        return find(self.names, 'work', key, str(self.private), inputs)

    def restore(self) -> None:
        restore(self.find()[0], str(self.private))


@pytest.fixture
def stopped(tmp_path: Path) -> Stopped:
    return Stopped(tmp_path)


def test_a_task_goes_on_at_its_last_committed_line(stopped):
    assert stopped.find() == (ResumePoint(150, {'r.txt': 8}), '')


def test_what_was_made_before_an_input_was_written_to_does_not_count(stopped):
    stopped.bind(inputs='stats of then')

    assert stopped.find(inputs='stats of then') == (ResumePoint(150, {'r.txt': 8}), '')
    assert stopped.find(inputs='stats of now') == (
        None, 'its inputs were written to since its progress was made')


def test_looking_changes_nothing(stopped, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}

    stopped.find()
    stopped.find(key='other')

    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_progress_without_outputs_counts_unverified(stopped):
    stopped.progress({'lineOffset': 150})

    point, why = stopped.find()

    assert point == ResumePoint(150, None) and why == ''
    assert point.note == NOT_VERIFIED == "outputs not verified: progress has no 'outputs'"
    assert ResumePoint(150, {}).note == ''


def test_without_progress_there_is_nothing_to_explain(stopped):
    os.unlink(stopped.names.progress('work'))

    assert stopped.find() == (None, '')


def test_line_0_is_a_fresh_start_without_a_reason(stopped):
    stopped.progress({'lineOffset': 0, 'outputs': {}})

    assert stopped.find() == (None, '')


OFFSET = "its progress file has no valid 'lineOffset'"


@pytest.mark.parametrize('progress, why', [
    pytest.param([], OFFSET, id='a list'),
    pytest.param({}, OFFSET, id='no offset'),
    pytest.param({'lineOffset': -1}, OFFSET, id='negative'),
    pytest.param({'lineOffset': 1.5}, OFFSET, id='not whole'),
    pytest.param({'lineOffset': True}, OFFSET, id='true'),
    pytest.param({'lineOffset': '150'}, OFFSET, id='a string'),
    pytest.param({'lineOffset': 150, 'outputs': ['r.txt']},
                 "'outputs' in its progress file is not an object of lengths", id='outputs list'),
    pytest.param({'lineOffset': 150, 'outputs': None},
                 "'outputs' in its progress file is not an object of lengths", id='outputs null'),
    pytest.param({'lineOffset': 150, 'outputs': {'r.txt': -8}},
                 "its progress file has no valid length of 'r.txt'", id='negative length'),
    pytest.param({'lineOffset': 150, 'outputs': {'r.txt': '8'}},
                 "its progress file has no valid length of 'r.txt'", id='length as string'),
    pytest.param({'lineOffset': 150, 'outputs': {'../x': 0}},
                 "its progress file names '../x' outside its output folder", id='outside'),
    pytest.param({'lineOffset': 150, 'outputs': {'a\\..\\x': 0}},
                 "its progress file names 'a\\..\\x' outside its output folder", id='backslashes'),
    pytest.param({'lineOffset': 150, 'outputs': {'/etc/passwd': 0}},
                 "its progress file names '/etc/passwd' outside its output folder", id='absolute'),
    pytest.param({'lineOffset': 150, 'outputs': {'gone': 0}},
                 "its partial output 'gone' is gone", id='gone'),
    pytest.param({'lineOffset': 150, 'outputs': {'a\0b': 0}},
                 "its partial output 'a\0b' is gone", id='no name at all'),
    pytest.param({'lineOffset': 150, 'outputs': {'r.txt': 23}},
                 "its partial output 'r.txt' is shorter than what was committed", id='too short'),
    pytest.param({'lineOffset': 150, 'outputs': {'': 0}},
                 "its partial output '' is shorter than what was committed", id='the folder'),
])
def test_progress_that_makes_no_sense_restarts(stopped, progress, why):
    stopped.progress(progress)

    assert stopped.find() == (None, why)


def test_progress_that_is_no_json_restarts(stopped):
    Path(stopped.names.progress('work')).write_bytes(b'\0' * 20)

    assert stopped.find() == (None, 'its progress file is unreadable: not valid JSON at line 1 '
                                    'column 1: Expecting value')


def test_a_link_in_place_of_an_output_restarts(stopped, tmp_path):
    (tmp_path / 'victim').write_bytes(b'x' * 100)
    (stopped.private / 'r.txt').unlink()
    (stopped.private / 'r.txt').symlink_to(tmp_path / 'victim')

    assert stopped.find() == (
        None, "its partial output 'r.txt' is shorter than what was committed")


FOREIGN = 'its progress file was not made by a run of this stage'


@pytest.mark.parametrize('record, why', [
    pytest.param(None, FOREIGN, id='made by hand'),
    pytest.param('[]', FOREIGN, id='a list'),
    pytest.param('{"lineOffset": 150}', FOREIGN, id='of another program'),
    pytest.param('{"format": 2}',
                 'its progress file was made by another version of the runner',
                 id='another format'),
    pytest.param('{', 'the record that binds its progress file is unreadable', id='torn'),
    pytest.param('{"format": 1, "key": "k1"}',
                 LEFT_OVER, id='not said to go on'),
])
def test_progress_that_nothing_binds_restarts(stopped, record, why):
    os.unlink(stopped.names.checkpoint('work'))
    if record is not None:
        Path(stopped.names.checkpoint('work')).write_text(record)

    assert stopped.find() == (None, why)


def test_progress_of_a_finished_run_restarts(stopped):
    stopped.bind(is_finished=True)

    assert stopped.find() == (None, LEFT_OVER)


def test_progress_of_another_key_restarts(stopped):
    assert stopped.find(key='k2') == (
        None, 'its inputs, processor or parameters changed since its progress was made')


def test_progress_without_its_private_folder_restarts(stopped):
    (stopped.private / 'r.txt').unlink()
    stopped.private.rmdir()

    assert stopped.find() == (None, 'its partial outputs are gone')


def test_the_binding_record_has_the_documented_keys(stopped):
    stopped.bind(attempt=2, line_offset=150)

    assert json.loads(Path(stopped.names.checkpoint('work')).read_text()) == {
        'format': 1, 'lineOffset': 150, 'key': 'k1', 'attempt': 2, 'runId': 'r1',
        'privateDir': 'data/.work.partial', 'finished': False, 'inputs': ''}


# -- restoring ----------------------------------------

def test_outputs_are_cut_to_what_was_committed(stopped):
    stopped.restore()

    assert (stopped.private / 'r.txt').read_bytes() == b'12345678'


def test_what_was_never_committed_is_removed(stopped, tmp_path):
    (stopped.private / 'deep').mkdir()
    (stopped.private / 'deep/new').write_text('x')
    (stopped.private / 'link').symlink_to(tmp_path)

    stopped.restore()

    assert sorted(os.listdir(stopped.private)) == ['deep', 'r.txt']
    assert os.listdir(stopped.private / 'deep') == [] and tmp_path.is_dir()


@pytest.mark.parametrize('name', ['./r.txt', './/r.txt'])
def test_names_may_be_written_in_a_roundabout_way(stopped, name):
    """`./r.txt` was once removed as never committed, and then could not be cut: exit code 5."""
    stopped.progress({'lineOffset': 150, 'outputs': {name: 8}})

    stopped.restore()

    assert (stopped.private / 'r.txt').read_bytes() == b'12345678'


def test_without_lengths_everything_stays_as_it_was_left(stopped):
    stopped.progress({'lineOffset': 150})

    stopped.restore()

    assert (stopped.private / 'r.txt').read_bytes() == b'12345678 not committed'


def test_outputs_that_cannot_be_restored_are_a_fault_of_the_state(stopped):
    point = stopped.find()[0]
    (stopped.private / 'r.txt').unlink()

    with pytest.raises(StateError) as failed:
        restore(point, str(stopped.private))

    assert failed.value.path == str(stopped.private)


# -- the files around ----------------------------------------

def test_forgotten_progress_is_gone(stopped):
    forget_progress(stopped.names, 'work')
    forget_progress(stopped.names, 'work')

    assert not os.path.lexists(stopped.names.progress('work'))


def test_progress_that_cannot_be_removed_is_a_fault_of_the_state(tmp_path):
    (tmp_path / 'state').write_text('a file')

    with pytest.raises(StateError):
        forget_progress(StateNames(str(tmp_path)), 'work')


@pytest.mark.parametrize('content, expected', [
    (None, True), ('{"lineOffset": 1, "outputs": {}}', True), ('{"lineOffset": 1}', False),
    ('[]', False), ('{', False)])
def test_only_progress_with_outputs_tells_lengths(stopped, content, expected):
    os.unlink(stopped.names.progress('work'))
    if content is not None:
        Path(stopped.names.progress('work')).write_text(content)

    assert tells_lengths(stopped.names, 'work') == expected


def test_unreadable_files_are_named_with_their_faults(stopped):
    assert unreadable(stopped.names, 'work') == []

    Path(stopped.names.progress('work')).write_bytes(b'')
    Path(stopped.names.checkpoint('work')).write_bytes(b'\xff')

    assert unreadable(stopped.names, 'work') == [
        (stopped.names.checkpoint('work'), 'not UTF-8 at byte 0'),
        (stopped.names.progress('work'), 'is empty')]


@pytest.mark.parametrize('content, expected', [
    ('{"lineOffset": 150}', 150), ('{"lineOffset": -1}', 0), ('{}', 0), ('[]', 0), ('{', 0)])
def test_the_total_is_what_the_processor_committed_last(stopped, content, expected):
    Path(stopped.names.progress('work')).write_text(content)

    assert final_offset(stopped.names, 'work') == expected


def test_a_processor_that_commits_nothing_has_a_total_of_0(stopped):
    os.unlink(stopped.names.progress('work'))

    assert final_offset(stopped.names, 'work') == 0
