"""A file of snapshots and its journal: whatever a kill leaves of the two is read as one state."""

import json
from pathlib import Path

import pytest

from stagerunner.errors import StateError
from stagerunner.state.snapshots import Snapshots


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'file.json'


@pytest.fixture
def snapshots(path, clock):
    """Return a file with a snapshot and two changes since."""
    made = Snapshots(str(path), clock)
    with made:
        made.write([b'{"n":', b' 1}'], durable=False)
        made.append({'change': 1})
        made.append({'change': 2})
    yield made
    made.close()


def journal(path):
    return Path(f'{path}.journal')


def read(path, clock):
    again = Snapshots(str(path), clock)
    with again:
        found = again.read()
    again.close()
    return found and (found.data, [change['change'] for change in found.changes])


def test_a_snapshot_and_what_came_after_it_are_read_together(snapshots, path, clock):
    assert read(path, clock) == ({'n': 1}, [1, 2])


def test_a_new_snapshot_makes_the_journal_begin_anew(snapshots, path, clock):
    with snapshots:
        snapshots.write([b'{"n": 2}'], durable=True)
        snapshots.append({'change': 3})

    assert read(path, clock) == ({'n': 2}, [3])


@pytest.mark.parametrize('kept', range(0, 400, 7))
def test_however_much_of_the_journal_is_there_its_whole_lines_count(snapshots, path, clock, kept):
    """Cut in the first line, too: what is beside a snapshot without a name counts for nothing."""
    whole = journal(path).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord('\n')]
    journal(path).write_bytes(whole[:kept])

    assert read(path, clock) == ({'n': 1}, [1, 2][:max(0, sum(end <= kept for end in ends) - 1)])


@pytest.mark.parametrize('place', [5, 60, 100])
def test_a_line_that_was_changed_ends_what_counts(snapshots, path, clock, place):
    data = bytearray(journal(path).read_bytes())
    data[place] ^= 1
    journal(path).write_bytes(bytes(data))

    assert len(read(path, clock)[1]) < 2


@pytest.mark.parametrize('content', [b'{"n": 1} ', b'{"n": 2}'], ids=['edited', 'other'])
def test_a_journal_of_another_snapshot_counts_for_nothing(snapshots, path, clock, content):
    path.write_bytes(content)

    assert read(path, clock) == (json.loads(content.decode()), [])


def test_without_its_file_a_journal_counts_for_nothing(snapshots, path, clock):
    """Who removes the file wants to begin anew."""
    path.unlink()

    assert read(path, clock) is None


def test_what_others_appended_is_news_once(snapshots, path, clock):
    other = Snapshots(str(path), clock)
    with other:
        other.read()
        other.append({'change': 3})
    other.close()

    with snapshots:
        assert [change['change'] for change in snapshots.news()] == [3]
        assert snapshots.news() == []


def test_after_the_snapshot_of_another_all_has_to_be_read_again(snapshots, path, clock):
    other = Snapshots(str(path), clock)
    with other:
        other.write([b'{"n": 2}'], durable=False)
    other.close()

    with snapshots:
        assert snapshots.news() is None
        assert snapshots.read().data == {'n': 2}
        assert snapshots.news() == []


def test_the_rest_of_a_killed_append_is_cut_off_by_the_next_one(snapshots, path, clock):
    with open(str(journal(path)), 'ab') as file:
        file.write(b'{"change":')

    with snapshots:
        assert snapshots.news() == []
        snapshots.append({'change': 3})

    assert read(path, clock) == ({'n': 1}, [1, 2, 3])


def test_a_journal_that_was_removed_under_way_is_made_anew(snapshots, path, clock):
    journal(path).unlink()

    with snapshots:
        assert snapshots.news() is None
        assert snapshots.read() == ({'n': 1}, ())
        snapshots.append({'change': 3})

    assert read(path, clock) == ({'n': 1}, [3])


def test_a_failed_snapshot_leaves_the_last_one_and_the_journal(snapshots, path, clock):
    def failing():
        yield b'{"n": '
        raise OSError(28, 'No space left on device')

    with snapshots, pytest.raises(StateError, match='no space left'):
        snapshots.write(failing(), durable=False)

    assert read(path, clock) == ({'n': 1}, [1, 2])
    assert sorted(entry.name for entry in path.parent.iterdir()) == [
        'file.json', 'file.json.journal']


@pytest.mark.parametrize(('n_entries', 'pause_s', 'floor_s', 'expected'), [
    (0, 0.0, 0.0, True), (0, 0.9, 1.0, False), (0, 1.0, 1.0, True),
    (100_000, 1.0, 1.0, False), (100_000, 8.0, 1.0, True)])
def test_a_snapshot_is_due_after_a_rest_that_grows_with_the_file(path, clock, n_entries, pause_s,
                                                                 floor_s, expected):
    snapshots = Snapshots(str(path), clock)

    clock.advance(pause_s)

    assert snapshots.is_due(n_entries, floor_s=floor_s) is expected
