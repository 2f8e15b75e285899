"""A marker says what a success left behind; a file that is not quite one is none."""

import copy
import os

import pytest

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.files import write_json
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.state.marker import marker_name
from stagerunner.state.marker import marker_path
from stagerunner.state.marker import read_marker
from stagerunner.state.marker import to_json

MARKER = Marker('work', 'key', 'r1', 'then', 1.5, True, {'inputs': [['in', 'aa']]},
                (Output('result.txt', 5, 'aa'), Output('sub/link', 0, 'bb', '../result.txt')))


def test_a_marker_lies_in_the_output_folder_under_the_name_of_its_task():
    assert marker_name('work') == '.work.done'
    assert marker_path('/ws/data', 'work') == os.path.join('/ws/data', '.work.done')


def test_a_marker_is_json_with_the_manifest_of_the_outputs():
    assert to_json(MARKER) == {
        'format': 1, 'task': 'work', 'key': 'key', 'runId': 'r1', 'doneAt': 'then',
        'durationSec': 1.5, 'staged': True, 'parts': {'inputs': [['in', 'aa']]},
        'outputs': [{'path': 'result.txt', 'size': 5, 'sha256': 'aa'},
                    {'path': 'sub/link', 'size': 0, 'sha256': 'bb', 'link': '../result.txt'}]}


@pytest.mark.parametrize('marker', [
    MARKER, MARKER._replace(is_staged=False, outputs=()), MARKER._replace(output_dir='data/ü'),
    MARKER._replace(is_adopted=True)])
def test_what_is_written_is_what_is_read(marker):
    write_json('.work.done', to_json(marker), durable=False)

    assert read_marker('.work.done', 'work') == marker


def test_no_file_is_no_marker():
    assert read_marker('.work.done', 'work') is None


@pytest.mark.parametrize(('content', 'fault'), [
    (b'', 'is empty'), (b'{"format": 1', 'not valid JSON at line 1'), (b'\0\0\0\0', 'not valid'),
    (b'[]', 'is not a marker of this runner'), (b'"x"', 'is not a marker of this runner'),
    (b'null', None), (b'{}', 'is not a marker of this runner'),
    (b'{"format": "1"}', "has format '1', this version reads 1"),
    (b'{"format": 1, "task": "other"}', "belongs to 'other'"),
])
def test_another_file_is_told_from_a_marker(tmp_path, content, fault):
    (tmp_path / '.work.done').write_bytes(content)

    if fault is None:
        assert read_marker('.work.done', 'work') is None
        return
    with pytest.raises(Unreadable) as caught:
        read_marker('.work.done', 'work')
    assert caught.value.fault.startswith(fault)


def test_a_marker_of_a_newer_format_is_refused_and_of_an_older_one_counts_for_nothing():
    write_json('.work.done', dict(to_json(MARKER), format=2), durable=False)
    with pytest.raises(StateError, match='has format 2, this version reads 1; use the newer'):
        read_marker('.work.done', 'work')

    write_json('.work.done', dict(to_json(MARKER), format=0), durable=False)
    assert read_marker('.work.done', 'work') is None


@pytest.mark.parametrize('key', ['task', 'key', 'runId', 'doneAt', 'durationSec', 'staged',
                                 'parts', 'outputs', 'format'])
def test_every_key_of_a_marker_is_needed(key):
    value = to_json(MARKER)
    del value[key]
    write_json('.work.done', value, durable=False)

    with pytest.raises(Unreadable, match='is not a marker of this runner'):
        read_marker('.work.done', 'work')


@pytest.mark.parametrize(('key', 'value'), [
    ('key', 5), ('key', None), ('runId', []), ('doneAt', 0), ('durationSec', 'x'),
    ('durationSec', None), ('durationSec', []), ('parts', 5), ('parts', None), ('parts', ['x']),
    ('outputs', 5), ('outputs', None), ('outputs', ['x']), ('outputs', [None]), ('outputs', [[]])])
def test_a_value_of_another_type_makes_it_no_marker(key, value):
    write_json('.work.done', dict(to_json(MARKER), **{key: value}), durable=False)

    with pytest.raises(Unreadable, match='is not a marker of this runner'):
        read_marker('.work.done', 'work')


@pytest.mark.parametrize(('key', 'value'), [
    ('path', '/etc/passwd'), ('path', '../x'), ('path', 'a/../../x'), ('path', '..'),
    ('path', 5), ('path', None), ('size', '5'), ('size', True), ('size', 1.5), ('size', None),
    ('sha256', None), ('sha256', 5), ('link', 5), ('link', [])])
def test_an_output_that_leads_elsewhere_or_is_odd_makes_it_no_marker(key, value):
    changed = copy.deepcopy(to_json(MARKER))
    changed['outputs'][0][key] = value
    write_json('.work.done', changed, durable=False)

    with pytest.raises(Unreadable, match='is not a marker of this runner'):
        read_marker('.work.done', 'work')


def test_a_marker_is_no_link(tmp_path):
    write_json('elsewhere', to_json(MARKER), durable=False)
    (tmp_path / '.work.done').symlink_to('elsewhere')

    with pytest.raises(Unreadable, match='symbolic links'):
        read_marker('.work.done', 'work')
