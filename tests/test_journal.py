"""What is told is on the disk, though the lock is let go before; a flush that fails is no end."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import List

import pytest

from stagerunner.database import Database
from stagerunner.errors import StateError
from stagerunner.journal import Journal
from stagerunner.journal import empty
from support import SOURCE
from support import run_process

posix = pytest.mark.skipif(os.name == 'nt', reason='descriptors of POSIX')
needs_strace = pytest.mark.skipif(not shutil.which('strace'), reason='needs strace')

VERSIONS = (('CREATE TABLE t (x INTEGER)',),)

#: Writes three times, looks once for nothing, and tells each; a fault is told as well.
PROGRAM = '''\
import os
import sys
from stagerunner.database import Database
from stagerunner.errors import StateError
database = Database('t.db', (('CREATE TABLE t (x INTEGER)',),))
for number in range(4):
    try:
        with database.write() as connection:
            if number != 2:
                connection.execute('INSERT INTO t VALUES (?)', (number,))
        os.write(1, b'told %d\\n' % number)
    except StateError as error:
        os.write(1, b'not told %d: %s\\n' % (number, error.fault.encode()))
'''


def traced(folder: Path, *inject: str) -> List[str]:
    """Return what the program did to files in a folder, its lock, and what it told; in order."""
    folder.mkdir()
    trace = folder / 'trace'
    run_process('strace', '-qq', '-y', '-o', trace, '-e',
                'trace=pwrite64,fdatasync,flock,write,close,ftruncate', *inject,
                sys.executable, '-S', '-c', PROGRAM, cwd=folder,
                env={'PYTHONPATH': str(SOURCE)}, is_measured=False)
    found = []
    for line in trace.read_text().splitlines():
        told = re.match(r'write\(1.*, "(.*)\\n"', line)
        done = re.match(rf'(\w+)\((\d+)<{re.escape(str(folder))}/?([^>]*)>(.*)', line)
        if told:
            found.append(told.group(1))
        elif done:
            how = ' un' if 'LOCK_UN' in line else ' EIO' if 'EIO' in line else ''
            found.append(f'{done.group(1)} {done.group(3)} {done.group(2)}{how}')
    return found


def between(calls: List[str], first: str, last: str) -> List[str]:
    """Return the calls between two that were told, without the numbers of descriptors."""
    return [re.sub(r' \d+', '', call)
            for call in calls[calls.index(first) + 1:calls.index(last)]]


@pytest.mark.slow
@needs_strace
def test_the_lock_is_let_go_before_the_flush_and_nothing_is_told_before_it(tmp_path):
    calls = traced(tmp_path / 'w')

    written = between(calls, 'told 0', 'told 1')
    assert written[0] == 'flock t.db.lock'
    assert set(written[1:-2]) == {'pwrite64 t.db-wal'}
    assert written[-2:] == ['flock t.db.lock un', 'fdatasync t.db-wal']
    # What changed nothing waits for no disk.
    assert between(calls, 'told 1', 'told 2') == ['flock t.db.lock', 'flock t.db.lock un']


@pytest.mark.slow
@needs_strace
def test_after_a_flush_that_failed_nothing_rests_on_the_journal(tmp_path):
    plain = traced(tmp_path / 'plain')
    ordinal = sum(call.startswith('fdatasync') for call in plain[:plain.index('told 1')])

    calls = traced(tmp_path / 'w', '-e', f'inject=fdatasync:error=EIO:when={ordinal}')

    failed = next(index for index, call in enumerate(calls) if call.endswith('EIO'))
    assert calls[failed + 1] == 'not told 1: input/output error'
    # It is the file that is flushed next, and no descriptor of the journal that was told already.
    after = calls[failed + 2:calls.index('told 2')]
    assert after.index(calls[failed].replace('fdatasync', 'close')[:-len(' EIO')]) \
        < min(index for index, call in enumerate(after) if call.startswith('fdatasync t.db-wal'))
    after = between(calls, 'not told 1: input/output error', 'told 2')
    assert [call for call in after if call.startswith(('fdatasync', 'ftruncate t.db-wal'))][-2:] \
        == ['fdatasync t.db', 'ftruncate t.db-wal']
    database = Database(str(tmp_path / 'w' / 't.db'), VERSIONS)
    assert database.read(lambda connection: connection.execute(
        'SELECT x FROM t ORDER BY x').fetchall()) == [(0,), (1,), (3,)]


@posix
def test_while_the_journal_cannot_be_emptied_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr('stagerunner.database.BUSY_S', 0.01)
    database = Database(str(tmp_path / 't.db'), VERSIONS)
    with database.write() as connection:
        connection.execute('INSERT INTO t VALUES (1)')
    reader = sqlite3.connect(database.path, isolation_level=None)
    reader.execute('BEGIN')
    reader.execute('SELECT * FROM t').fetchall()
    # A pipe cannot be flushed.
    ends = os.pipe()
    os.dup2(ends[0], database._opened[0].journal._descriptor)

    def add(number: int) -> None:
        with database.write() as connection:
            connection.execute('INSERT INTO t VALUES (?)', (number,))

    with pytest.raises(StateError, match='invalid argument'):
        add(2)
    with pytest.raises(StateError, match='is locked by another program'):
        add(3)
    reader.close()
    add(4)

    assert database.read(lambda connection: connection.execute(
        'SELECT x FROM t').fetchall()) == [(1,), (2,), (4,)]
    database.close()
    for end in ends:
        os.close(end)


def test_a_journal_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StateError, match='t.db: no such file'):
        Journal(str(tmp_path / 't.db'))


def test_a_journal_is_emptied_when_nobody_reads(tmp_path):
    connection = sqlite3.connect(str(tmp_path / 't.db'), isolation_level=None)
    connection.execute('PRAGMA journal_mode=WAL').fetchall()
    connection.execute('CREATE TABLE t (x)')

    assert empty(connection)
    assert (tmp_path / 't.db-wal').stat().st_size == 0
    connection.close()
