"""A database is written by one at a time, never half changed, and says what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

from stagerunner.database import Database
from stagerunner.errors import StateError
from stagerunner.locks import database_lock
from stagerunner.locks import try_lock

VERSIONS = (('CREATE TABLE t (x INTEGER)',), ('ALTER TABLE t ADD COLUMN y INTEGER',))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / 'deep' / 'a b?#%.db')


@pytest.fixture
def database(path: str) -> Iterator[Database]:
    database = Database(path, VERSIONS)
    yield database
    database.close()


def add(database: Database, number: int) -> None:
    with database.write() as connection:
        connection.execute('INSERT INTO t (x) VALUES (?)', (number,))


def numbers(database: Database) -> List[int]:
    return database.read(lambda connection: [x for x, in connection.execute(
        'SELECT x FROM t ORDER BY x')])


def test_what_was_written_is_read_by_others(database, path):
    add(database, 1)
    other = Database(path, VERSIONS)

    assert numbers(other) == numbers(database) == [1]
    other.close()


def test_a_file_that_is_not_there_is_read_as_if_it_were_new(database):
    assert numbers(database) == []
    assert not os.path.exists(os.path.dirname(database.path))


def test_a_file_that_was_only_begun_is_read_as_if_it_were_new(database):
    os.makedirs(os.path.dirname(database.path))
    Path(database.path).touch()

    assert numbers(database) == []
    assert os.path.getsize(database.path) == 0


def test_what_is_written_while_it_is_read_is_read_again(database, path):
    """The writer opens, writes and closes between two looks, so no journal tells of it."""
    add(database, 1)
    database.close()
    n_asked = 0

    def query(connection: Any) -> Any:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 1:
            add(database, 2)
            database.close()
        return connection.execute('SELECT count(*) FROM t').fetchone()[0]

    assert Database(path, VERSIONS).read(query) == 2
    assert n_asked == 2


@pytest.mark.parametrize('is_wal', [True, False])
def test_what_a_kill_left_half_written_is_mended(path, is_wal):
    """By a journal from before the first WAL, as a file that is just being made has it too."""
    os.makedirs(os.path.dirname(path))
    old = sqlite3.connect(path, isolation_level=None)
    old.execute('PRAGMA cache_size=1')
    for statement in (*VERSIONS[0], *VERSIONS[1], 'PRAGMA user_version=2', 'BEGIN'):
        old.execute(statement)
    old.executemany('INSERT INTO t (x) VALUES (?)', [(n,) for n in range(10_000)])
    kept = {end: Path(path + end).read_bytes() for end in ('', '-journal')}
    old.execute('ROLLBACK')
    old.close()
    for end, data in kept.items():
        Path(path + end).write_bytes(data)
    database = Database(path, VERSIONS, is_wal=is_wal)

    assert numbers(database) == []
    add(database, 1)
    assert numbers(database) == [1]
    database.close()


def test_an_older_file_is_brought_up_to_date_for_a_reader(path):
    old = Database(path, VERSIONS[:1])
    add(old, 1)
    old.close()
    new = Database(path, VERSIONS)

    assert new.read(lambda connection: connection.execute('SELECT x, y FROM t').fetchall()) == [
        (1, None)]
    new.close()


def test_without_wal_no_further_file_stays(path):
    database = Database(path, VERSIONS, is_wal=False)
    add(database, 1)

    assert numbers(database) == [1]
    assert not os.path.exists(f'{path}-wal')
    database.close()


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_a_transaction_that_fails_changes_nothing(database, error):
    with pytest.raises(error), database.write() as connection:
        connection.execute('INSERT INTO t (x) VALUES (1)')
        raise error

    assert numbers(database) == []


def test_the_lock_is_held_for_a_transaction_and_only_then(database, path):
    with database.write():
        assert try_lock(database_lock(path)) is None

    lock = try_lock(database_lock(path))
    assert lock is not None
    lock.release()


def test_a_reader_waits_for_no_writer(database):
    add(database, 1)
    with database.write() as connection:
        connection.execute('INSERT INTO t (x) VALUES (2)')

        assert numbers(database) == [1]


def test_a_reader_cannot_write(database):
    add(database, 1)

    with pytest.raises(StateError, match='cannot be written'):
        database.read(lambda connection: connection.execute('DELETE FROM t'))


def test_threads_take_turns_and_connections_of_ended_ones_are_closed(database):
    threads = [threading.Thread(target=add, args=(database, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    add(database, 8)

    assert numbers(database) == list(range(9))
    descriptors = [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')
                   if os.path.exists(f'/proc/self/fd/{fd}')]
    # SQLite itself keeps a descriptor for the next connection.
    assert descriptors.count(os.path.realpath(database.path)) <= 3


def test_a_fork_opens_the_file_anew(database):
    add(database, 1)
    child = os.fork()
    if not child:
        try:
            add(database, 2)
            database.close()
            os._exit(0)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    add(database, 3)
    assert numbers(database) == [1, 2, 3]


def test_a_fork_that_closes_first_leaves_the_file_alone(database):
    add(database, 1)
    child = os.fork()
    if not child:
        try:
            database.close()
            os._exit(0)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    assert os.path.exists(f'{database.path}-wal')


def test_an_older_file_is_brought_up_to_date(path):
    old = Database(path, VERSIONS[:1])
    add(old, 1)
    old.close()
    new = Database(path, VERSIONS)

    with new.write() as connection:
        assert connection.execute('SELECT x, y FROM t').fetchall() == [(1, None)]
    new.close()


def foreign(path: str, *statements: str) -> bytes:
    os.makedirs(os.path.dirname(path))
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return Path(path).read_bytes()


@pytest.mark.parametrize(('statement', 'said'), [
    pytest.param('PRAGMA user_version=3', 'has format 3, this version reads 2', id='newer'),
    pytest.param('CREATE TABLE other (x)', 'is a database of another program', id='foreign'),
])
def test_what_is_not_ours_is_refused_untouched(database, path, statement, said):
    before = foreign(path, statement, 'CREATE TABLE a (x)')

    for use in (lambda: add(database, 1), lambda: numbers(database)):
        with pytest.raises(StateError, match=said):
            use()

    assert Path(path).read_bytes() == before


def test_a_version_that_cannot_be_made_leaves_the_file_as_it_was(path):
    add_one = Database(path, VERSIONS[:1])
    add(add_one, 1)
    add_one.close()
    broken = Database(path, (*VERSIONS, ('DROP TABLE t', 'CREATE nonsense')))

    with pytest.raises(StateError, match='is damaged'):
        add(broken, 2)

    assert numbers(add_one) == [1]
    broken.close()
    add_one.close()


def test_what_is_no_database_is_told(database, path):
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b'something else\n' * 100)

    with pytest.raises(StateError, match='is not a database; move it away'):
        add(database, 1)

    assert Path(path).read_bytes() == b'something else\n' * 100


def test_a_full_disk_is_told_and_later_writes_succeed(database):
    add(database, 1)
    with database.write() as connection:
        pages = connection.execute('PRAGMA page_count').fetchone()[0]
        connection.execute(f'PRAGMA max_page_count={pages}')

    with pytest.raises(StateError, match='the disk is full; free some space'), \
            database.write() as connection:
        connection.executemany('INSERT INTO t (x) VALUES (?)', [(2,)] * 10_000)

    add(database, 3)
    assert numbers(database) == [1, 3]


def test_a_file_that_another_program_keeps_is_told(database, path, monkeypatch):
    monkeypatch.setattr('stagerunner.database.BUSY_S', 0.05)
    add(database, 1)
    database.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute('BEGIN IMMEDIATE')

    with pytest.raises(StateError, match='is locked by another program; close what'):
        add(database, 2)

    other.execute('ROLLBACK')
    other.close()
    add(database, 3)
    assert numbers(database) == [1, 3]


def test_a_file_that_was_replaced_is_not_written_behind_its_back(database):
    add(database, 1)
    os.unlink(database.path)

    with pytest.raises(StateError, match='was removed or replaced while it was in use'):
        add(database, 2)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    database = Database(str(tmp_path / 'file' / 'x.db'), VERSIONS)

    with pytest.raises(StateError):
        add(database, 1)


def test_one_statement_can_be_a_transaction_of_its_own(database, path):
    add(database, 1)

    assert database.execute('UPDATE t SET x = ? WHERE x = ?', (2, 1)) == 1
    assert database.execute('UPDATE t SET x = ? WHERE x = ?', (3, 1)) == 0
    assert numbers(Database(path, VERSIONS)) == [2]
    with pytest.raises(StateError, match='is damaged'):
        database.execute('nonsense', ())
    add(database, 4)
    assert numbers(database) == [2, 4]


@pytest.mark.parametrize('values', [(1, 2), ({},)])
def test_a_mistake_of_ours_is_not_blamed_on_the_file(database, values: Any):
    with pytest.raises((sqlite3.ProgrammingError, sqlite3.InterfaceError)), \
            database.write() as connection:
        connection.execute('INSERT INTO t (x) VALUES (?)', values)
