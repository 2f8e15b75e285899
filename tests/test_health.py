"""What a file system and the clock can promise is found out without changing a byte."""

import errno
import os
from types import SimpleNamespace

import pytest

from fakes import FakeClock
from stagerunner.health import Flush
from stagerunner.health import Room
from stagerunner.health import clock_complaint
from stagerunner.health import examine
from stagerunner.health import file_system_of
from stagerunner.health import is_in_wal_reset_range
from stagerunner.health import judge
from stagerunner.health import room_in
from stagerunner.health import try_flush
from stagerunner.health import try_locks
from stagerunner.oslocks import try_descriptor

pytestmark = pytest.mark.unit

ROOM = Room(4 << 40, 10_000)

MOUNTS = '''\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / {here} rw - nfs4 server:/export rw,vers=4.2
31 22 0:41 / {here}/with\\040space rw - tmpfs tmpfs rw
32 22 0:42 / {here}/twice rw - ext4 /dev/sdb rw
33 22 0:43 / {here}/twice rw - fuse.sshfs host:/ rw
nonsense
34 22 0:44 / {here}-beside rw - xfs /dev/sdc rw
'''


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'mountinfo'
    path.write_text(MOUNTS.format(here=os.path.realpath(str(tmp_path / 'here'))))
    return str(path)


@pytest.mark.parametrize(('name', 'kind'), [
    ('here', 'nfs4'), ('here/deep/er', 'nfs4'), ('here/with space/x', 'tmpfs'),
    ('here/twice', 'fuse.sshfs'), ('here-beside/x', 'xfs'), ('elsewhere', 'ext4')])
def test_the_innermost_mount_tells_the_kind_of_a_file_system(tmp_path, table, name, kind):
    assert file_system_of(str(tmp_path / name), table) == kind


def test_where_nobody_tells_the_kind_is_not_known(tmp_path):
    assert file_system_of(str(tmp_path), str(tmp_path / 'missing')) is None


# -- locks ----------------------------------------

def test_a_lock_is_really_tried_and_nothing_is_changed(tmp_path):
    path = tmp_path / 'pipeline.json'
    path.write_text('{')
    os.utime(str(path), (5, 5))

    assert try_locks(str(path)) == 'work'
    assert (path.read_text(), path.stat().st_mtime, os.listdir(str(tmp_path))) == (
        '{', 5, ['pipeline.json'])


def test_without_a_file_nothing_is_tried(tmp_path):
    assert try_locks(str(tmp_path / 'missing')).startswith('not tried')


def test_a_lock_that_somebody_else_has_is_told(tmp_path):
    path = tmp_path / 'file'
    path.write_text('')
    with path.open() as held:
        assert try_descriptor(held.fileno())
        assert try_locks(str(path)) == 'are held by somebody else'


@pytest.mark.skipif(os.name != 'posix', reason='flock')
@pytest.mark.parametrize(('answers', 'said'), [
    ([None, None], 'do not exclude'),
    ([None, BlockingIOError(), BlockingIOError()], 'are not released'),
    ([OSError(38, 'Function not implemented')], 'do not work: Function not implemented')])
def test_locks_that_keep_nobody_out_are_found_out(tmp_path, monkeypatch, answers, said):
    """A fact of the platform: some file systems answer like that."""
    import fcntl

    def answer(descriptor, how):
        found = answers.pop(0)
        if found is not None:
            raise found

    (tmp_path / 'pipeline.json').write_text('{}')
    monkeypatch.setattr(fcntl, 'flock', answer)

    assert try_locks(str(tmp_path / 'pipeline.json')) == said


def test_locks_that_keep_nobody_out_are_a_problem():
    found = judge('ext4', 'do not exclude', '', ROOM, Flush())

    assert found.problems == ('locks do not exclude; two runs could work on one stage',)
    assert found.facts['locks'] == 'do not exclude'


# -- clock ----------------------------------------

class AtNoon:
    """A clock that stands still, or runs backwards."""

    def __init__(self, now=1_700_000_000.0, steps=(0.0, 0.0)):
        self.wall_s = now
        self.steps = list(steps) * 9

    def now(self):
        return self.wall_s

    def monotonic(self):
        return self.steps.pop(0)


def test_a_sane_clock_is_not_complained_of(tmp_path):
    (tmp_path / 'file').write_text('')
    os.utime(str(tmp_path / 'file'), (1_700_000_001, 1_700_000_001))

    assert clock_complaint(str(tmp_path), AtNoon()) == ''
    assert clock_complaint(str(tmp_path / 'missing'), AtNoon()) == ''


@pytest.mark.parametrize(('clock', 'said'), [
    (AtNoon(steps=(1.0, 0.5)), 'the monotonic clock goes back'),
    (AtNoon(now=86400.0), 'the clock has not been set'),
    (AtNoon(now=1_600_000_000.0), 'file is 100000000 seconds from the future; the clock was set '
                                  'back, and files that change now may be taken for unchanged')])
def test_a_clock_that_is_wrong_is(tmp_path, clock, said):
    (tmp_path / 'file').write_text('')
    os.utime(str(tmp_path / 'file'), (1_700_000_000, 1_700_000_000))

    assert clock_complaint(str(tmp_path), clock) == said


# -- room ----------------------------------------

@pytest.mark.parametrize(('room', 'problems', 'warnings'), [
    (Room(4 << 40, 10_000), [], []), (Room(None, None), [], []),
    (Room(4 << 20, 10_000), [], ['only 4194304 bytes are free where the workspace is']),
    (Room(4096, 500), ['only 4096 bytes are free where the workspace is'],
     ['only 500 inodes are free where the workspace is']),
    (Room(4 << 40, 5), ['only 5 inodes are free where the workspace is'], []),
    (Room(4 << 40, 10_000, False), [
        'this user may not write into the workspace, as every run does'], []),
])
def test_little_room_is_warned_of_and_none_is_a_problem(room, problems, warnings):
    found = judge('ext4', 'work', '', room, Flush())

    assert (list(found.problems), list(found.warnings)) == (problems, warnings)


def test_some_file_systems_count_no_inodes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'statvfs', lambda path: SimpleNamespace(
        f_bavail=10, f_frsize=10, f_favail=0, f_files=0), raising=False)

    assert room_in(str(tmp_path)) == (100, None, True)


def test_what_cannot_be_looked_at_is_not_known(tmp_path):
    assert room_in(str(tmp_path / 'missing')) == Room(None, None)


# -- a flush ----------------------------------------

@pytest.mark.parametrize(('flush', 'problems', 'warnings'), [
    (Flush(), [], []), (Flush(0.05), [], []),
    (Flush(0.0512), [], ['a flush takes 51 ms where the workspace is, and a task several']),
    (Flush(fault='input/output error'), [
        'a flush fails: input/output error; what a run says is done may be lost'], [])])
def test_a_slow_flush_is_warned_of_and_one_that_fails_is_a_problem(flush, problems, warnings):
    found = judge('ext4', 'work', '', ROOM, flush)

    assert (list(found.problems), list(found.warnings)) == (problems, warnings)
    assert found.facts['flushMs'] == {0.05: 50.0, 0.0512: 51.2}.get(flush.took_s)


@pytest.mark.skipif(not hasattr(os, 'O_TMPFILE'), reason='there are no files without a name')
def test_a_flush_is_really_tried_and_leaves_nothing(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, 'fsync', flushed.append)
    os.utime(str(tmp_path), (5, 5))

    took_s = try_flush(str(tmp_path), FakeClock()).took_s

    # Some file systems have no such files.
    assert (took_s, len(flushed)) in ((0.0, 3), (None, 0))
    assert (os.listdir(str(tmp_path)), tmp_path.stat().st_mtime) == ([], 5)


@pytest.mark.skipif(not hasattr(os, 'O_TMPFILE'), reason='there are no files without a name')
def test_a_flush_that_fails_is_told(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, 'Input/output error')

    if try_flush(str(tmp_path), FakeClock()) == Flush():
        pytest.skip('no files without a name here')
    monkeypatch.setattr(os, 'fsync', fail)

    assert try_flush(str(tmp_path), FakeClock()) == Flush(fault='input/output error')


def test_where_no_file_without_a_name_can_be_made_no_flush_is_tried(tmp_path, monkeypatch):
    assert try_flush(str(tmp_path / 'missing'), FakeClock()) == Flush()
    monkeypatch.delattr(os, 'O_TMPFILE', raising=False)
    assert try_flush(str(tmp_path), FakeClock()) == Flush()


# -- the whole ----------------------------------------

@pytest.mark.parametrize(('kind', 'said'), [
    ('nfs4', 'the workspace is on a network file system (nfs4)'),
    ('tmpfs', 'the workspace is in memory (tmpfs)')])
def test_file_systems_that_promise_less_are_warned_of(kind, said):
    found = judge(kind, 'work', '', ROOM, Flush())

    assert found.warnings[0].startswith(said) and found.problems == ()
    assert found.facts['networkFileSystem'] == (kind == 'nfs4')


def test_a_wrong_clock_is_warned_of(tmp_path):
    found = examine(str(tmp_path), str(tmp_path / 'none'), str(tmp_path), AtNoon(now=86400.0))

    assert found.facts['clock'] == 'the clock has not been set'
    assert 'the clock has not been set' in found.warnings


@pytest.mark.parametrize(('version', 'is_in'), [
    ('3.6.23', False), ('3.7.0', True), ('3.51.2', True), ('3.51.3', False), ('4.0', False)])
def test_the_range_of_the_race_in_sqlite_is_known(version, is_in):
    assert is_in_wal_reset_range(version) is is_in
