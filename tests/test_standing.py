"""Tests of `stagerunner.standing` and `stagerunner.register`: when is a stage passed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from typing import Optional

import pytest

from engine import Engine
from fakes import FakeClock
from fakes import FakeLauncher
from stagerunner import standing as room
from stagerunner.standing import Standing
from stagerunner.standing import config_of
from stagerunner.standing import is_settled
from stagerunner.standing import stand
from stagerunner.state.index import Index
from support import Workspace
from support import stage

pytestmark = [pytest.mark.unit,
              pytest.mark.skipif(os.name != 'posix', reason='stats are not believed there')]

INDEX = 'state/index.json'


def an_hour_later() -> FakeClock:
    """Return a clock on which every file is an hour old."""
    return FakeClock(now=time.time() + 3600)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace of three stages that was run twice: everything in it is known."""
    workspace = Workspace(tmp_path)
    workspace.simple('import os, helper\n')
    workspace.write('bin/helper.py')
    workspace.write('data/globbed/a.csv', 'a')
    workspace.pipeline(
        stage('one'), stage('two', inputs=['data/one/in.txt'], outputDir='data/deep/two'),
        stage('three', inputs=['data/globbed/*.csv']))
    run(workspace)
    run(workspace)
    return workspace


def now(workspace: Workspace, **environment: str) -> Optional[Standing]:
    """Return what the index knows."""
    return stand(str(workspace.pipeline_file), '', environment, an_hour_later().now())


def run(workspace: Workspace, **asked: Any) -> Engine:
    """Run with what the index knows and return the engine."""
    engine = Engine(workspace, FakeLauncher(an_hour_later()))
    try:
        standing = stand(str(workspace.pipeline_file), '', {}, engine.clock.now())
        assert engine.run(standing=standing, **asked) == 0
    finally:
        engine.close()
    return engine


def changed(workspace: Workspace) -> Any:
    """Return the names of the stages that have to be looked at, None: nothing is known."""
    standing = now(workspace)
    if standing is None or standing.known is None:
        return None
    return [standing.known.names[position] for position in standing.changed()]


def test_what_was_skipped_once_is_known(workspace):
    assert changed(workspace) == []


@pytest.mark.parametrize('name, stages', [
    ('data/one/.one.done', []), ('data/deep/two/in.txt', []), ('data/one/in.txt', ['two']),
    ('data/input/in.txt', ['one']), ('bin/work.py', ['one', 'two', 'three'])])
def test_what_a_stage_left_is_no_reason_to_refuse_it_and_is_looked_at_in_its_turn(
        workspace, name, stages):
    before = now(workspace).changed()
    workspace.write(name, 'changed')
    standing = now(workspace)

    refusable = [standing.known.names[position] for position in standing.may_be_refused()]

    assert (before, refusable) == ([], stages)
    assert [standing.known.names[position]
            for position in standing.changed()] == changed(workspace) != []


def test_a_success_is_not_known_before_it_was_skipped(tmp_path):
    """Its outputs are as young as the run: a write in the same tick would not show."""
    workspace = Workspace(tmp_path).simple()

    run(workspace)

    assert changed(workspace) is None


@pytest.mark.parametrize('age_s, is_known', [(-1.0, False), (3600.0, True)])
def test_what_is_younger_than_the_run_is_not_noted(tmp_path, age_s, is_known):
    workspace = Workspace(tmp_path).simple()
    run(workspace)
    os.utime(str(workspace.pipeline_file), (1, 1))
    engine = Engine(workspace, FakeLauncher(an_hour_later()))
    standing = now(workspace)
    standing.looked_ns = int((time.time() + age_s) * 1e9)

    assert engine.run(standing=standing) == 0
    engine.close()

    assert (changed(workspace) == []) is is_known


@pytest.mark.parametrize('name, stages', [
    ('data/input/in.txt', ['one']), ('data/one/in.txt', ['one', 'two']),
    ('data/deep/two/in.txt', ['two']), ('data/one/.one.done', ['one']),
    ('data/globbed/a.csv', ['three']), ('bin/helper.py', ['one', 'two', 'three']),
    ('bin/work.py', ['one', 'two', 'three']),
])
def test_a_file_that_is_written_changes_those_that_rest_on_it(workspace, name, stages):
    path = workspace.path(name)
    before = path.stat()
    time.sleep(0.02)
    path.write_bytes(path.read_bytes())
    os.utime(str(path), ns=(before.st_atime_ns, before.st_mtime_ns))

    assert changed(workspace) == stages


@pytest.mark.parametrize('name, stages', [
    ('bin/os.py', ['one', 'two', 'three']), ('data/globbed/b.csv', ['three']),
    ('data/deep/two/.two.partial/x', ['two']), ('data/deep/two/more.txt', []),
    ('data/input/more.txt', []), ('state/stage_x.json', []),
])
def test_a_file_that_appears_changes_those_that_could_see_it(workspace, name, stages):
    time.sleep(0.02)
    workspace.write(name)

    assert changed(workspace) == stages


@pytest.mark.parametrize('name, stages', [
    ('data/deep', ['two']), ('data/deep/two', ['two']), ('bin', ['one', 'two', 'three']),
    ('data/globbed', ['three']), ('data/input', []), ('data', ['one', 'two', 'three']),
])
def test_a_link_in_place_of_a_folder_changes_those_that_would_be_refused(workspace, name, stages):
    """Inputs may lie behind links: the file that is reached is the same."""
    os.rename(str(workspace.path(name)), str(workspace.path('elsewhere')))
    workspace.path(name).symlink_to(workspace.path('elsewhere'))

    assert changed(workspace) == stages


def test_another_folder_in_place_of_a_folder_changes_those_that_rest_on_it(workspace):
    """Also when all that is in it is the same."""
    os.rename(str(workspace.path('data/deep')), str(workspace.path('elsewhere')))
    workspace.path('data/deep').mkdir()
    os.rename(str(workspace.path('elsewhere/two')), str(workspace.path('data/deep/two')))

    assert changed(workspace) == ['two']


def test_a_link_with_the_number_of_the_folder_that_it_replaces_is_no_folder(workspace):
    """File systems give numbers away again at once, but not when a test wants it."""
    os.rename(str(workspace.path('data/deep')), str(workspace.path('elsewhere')))
    workspace.path('data/deep').symlink_to(workspace.path('elsewhere'))
    standing = now(workspace)
    known = standing.known

    known.inodes[known.paths.index('data/deep')] = workspace.path('data/deep').lstat().st_ino

    assert [known.names[position] for position in standing.changed()] == ['two']


@pytest.mark.parametrize('make', [
    pytest.param(lambda workspace: workspace.pipeline(stage(python=None)), id='definition'),
    pytest.param(lambda workspace: os.utime(str(workspace.pipeline_file), (2, 2)), id='touched'),
    pytest.param(lambda workspace: workspace.path(INDEX).unlink(), id='index gone'),
    pytest.param(lambda workspace: workspace.write(INDEX, '{}'), id='index of another shape'),
])
def test_nothing_is_known_of_another_definition(workspace, make):
    make(workspace)

    assert changed(workspace) is None


@pytest.mark.parametrize('environment, is_known', [
    ({}, True), ({'LANG': 'C'}, True), ({'PYTHONPATH': 'lib'}, False), ({'PYTHONPATH': ''}, True)])
def test_nothing_is_known_of_another_search_path(workspace, environment, is_known):
    assert (now(workspace, **environment).known is not None) is is_known


def test_nothing_is_known_of_another_config(workspace):
    config = str(workspace.write('other.json', '{}'))

    found = stand(str(workspace.pipeline_file), config, {}, an_hour_later().now())

    assert found.known is None


def test_nothing_is_believed_of_a_definition_that_was_written_just_now(workspace):
    assert stand(str(workspace.pipeline_file), '', {}, time.time() - 1) is None


def test_nothing_is_believed_where_stats_do_not_tell(workspace, monkeypatch):
    monkeypatch.setattr(room, 'STAT_TELLS', False)

    assert now(workspace) is None


def test_a_definition_that_is_not_there_is_not_known(tmp_path):
    assert stand(str(tmp_path / 'pipeline.json'), '', {}, time.time()) is None


def test_an_index_that_was_moved_to_another_workspace_is_not_believed(workspace, tmp_path):
    other = Workspace(tmp_path / 'other')
    other.write('pipeline.json', workspace.read('pipeline.json'))
    other.write(INDEX, workspace.read_bytes(INDEX))

    assert now(other).known is None


@pytest.mark.slow
def test_an_index_with_any_byte_changed_passes_no_stage(workspace):
    sound = workspace.read_bytes(INDEX)

    for position in range(0, len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        index = Index(workspace.path(INDEX))
        workspace.path(INDEX).write_bytes(damaged)
        index.load()
        assert index.lines == {}, position
    for length in range(0, len(sound), 7):
        workspace.path(INDEX).write_bytes(sound[:length])
        index.load()
        assert index.lines == {}, length


def test_an_index_is_json(workspace):
    found = workspace.json(INDEX)

    assert set(found) == {'format', 'crc32', 'digests', 'scans', room.SECTION}


def test_what_was_seen_is_looked_at_again_when_something_was_at_work(workspace):
    standing = now(workspace)
    assert standing.is_unchanged(0)
    workspace.write('data/input/in.txt', 'other')

    before = standing.is_unchanged(0)
    standing.disturb()

    assert (before, standing.is_unchanged(0)) == (True, False)


def test_rows_of_stages_that_did_not_change_are_kept(workspace):
    workspace.write('data/globbed/a.csv', 'other')
    run(workspace)
    assert changed(workspace) == ['three']

    run(workspace)

    assert changed(workspace) == []


def test_a_few_rows_are_written_apart_and_leave_the_section_of_all_as_it_is(workspace):
    before = workspace.json(INDEX)
    workspace.write('data/globbed/a.csv', 'other')
    run(workspace)
    voided = workspace.json(INDEX)
    run(workspace)
    noted = workspace.json(INDEX)

    assert voided[room.LATER] == {'2': None} and list(noted[room.LATER]) == ['2']
    assert before[room.SECTION] == voided[room.SECTION] == noted[room.SECTION]
    assert changed(workspace) == []
    workspace.write('data/globbed/a.csv', 'third')
    assert changed(workspace) == ['three']


def test_many_rows_are_written_into_the_section_of_all(workspace):
    workspace.write('data/input/in.txt', 'other')
    workspace.write('data/globbed/a.csv', 'other')
    run(workspace)

    found = workspace.json(INDEX)

    assert room.LATER not in found and found[room.SECTION]['rows'] == [None, None, None]
    run(workspace)
    assert changed(workspace) == []


def test_a_private_folder_is_seen_where_the_times_of_its_home_tell_nothing(workspace):
    """Something else came or went there; several stages may publish in one folder."""
    workspace.write('data/deep/two/more.txt')
    assert changed(workspace) == []

    workspace.path('data/deep/two/.two.partial').mkdir()

    assert changed(workspace) == ['two']


def test_without_anything_new_the_index_is_left_alone(workspace):
    before = workspace.path(INDEX).stat().st_mtime_ns

    run(workspace)

    assert workspace.path(INDEX).stat().st_mtime_ns == before


@pytest.mark.parametrize('mtime_ns, ctime_ns, is_so', [
    (1_500_000_000, 1_500_000_000, True), (9_950_000_000, 1, False), (1, 9_950_000_000, False),
    (8_000_000_000, 1, False), (7_000_000_000, 1, True)])
def test_times_are_settled_when_the_clock_cannot_blur_them(mtime_ns, ctime_ns, is_so):
    """Whole seconds may be those of a file system that keeps no others."""
    assert is_settled(mtime_ns, ctime_ns, 10_000_000_000) is is_so


@pytest.mark.parametrize('keys', [
    pytest.param({'idempotency': {'enabled': False}}, id='always runs'),
    pytest.param({'env': {'PYTHONPATH': 'lib'}}, id='search path of its own'),
    pytest.param({'inputs': ['data/**/*.txt']}, id='recursive glob'),
    pytest.param({'inputs': ['data/in*/in.txt']}, id='glob of folders'),
    pytest.param({'inputs': ['linked']}, id='folder with a link'),
    pytest.param({'processor': 'tools/linked.py'}, id='processor that is a link'),
])
def test_what_cannot_be_watched_goes_the_long_way(tmp_path, keys):
    workspace = Workspace(tmp_path).simple()
    workspace.write('linked/x')
    (tmp_path / 'linked/y').symlink_to('x')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/linked.py').symlink_to('../bin/work.py')
    workspace.pipeline(stage(**keys), stage('other'))
    run(workspace)
    run(workspace)

    assert changed(workspace) == ['work']


@pytest.mark.parametrize('given, beside, found', [
    (None, False, ''), (None, True, 'pipeline_config.json'), ('x.json', True, 'x.json')])
def test_settings_are_those_named_or_those_beside_the_definition(tmp_path, given, beside, found):
    if beside:
        (tmp_path / 'pipeline_config.json').write_text('{}')

    assert os.path.basename(config_of(str(tmp_path / 'pipeline.json'), given)) == found
