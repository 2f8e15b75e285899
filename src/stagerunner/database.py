"""A SQLite file opened, written, checkpointed and closed under one operating-system lock.

SQLite lets writers wait by trying again after pauses: with some processes one
of them may starve, and "database is locked" reaches the user.  Here writers
queue up at a lock beside the file instead, which the kernel hands on and takes
back from the dead.  With it no two connections ever write or checkpoint at
once, which is also what the WAL-reset race of SQLite 3.7.0 to 3.51.2 needs.

What was written is on the disk when that is told, as with `synchronous=FULL`;
but with a WAL the lock is let go before that (`journal`).

Every thread has a connection of its own.  A fork opens the file anew and never
touches, nor closes, what it inherited.
"""

from __future__ import annotations

import os
from typing import Any
from typing import Callable
from typing import List
from typing import NoReturn
from typing import Optional
from typing import Sequence
from typing import Tuple
from typing import TypeVar

from stagerunner.errors import StateError
from stagerunner.files import try_stat
from stagerunner.journal import Journal
from stagerunner.journal import empty
from stagerunner.locks import Turns
from stagerunner.locks import database_lock
from stagerunner.records import NamedTuple

#: How long another program (a shell of SQLite) may keep the file to itself, in seconds.
BUSY_S = 10.0

#: Of a new file.  Small transactions change a few rows here and there: with pages of half the
#: usual size they write half as much.
_PAGE_BYTES = 2048

#: What SQLite says, and what to tell people; the first that fits.
_FAULTS = (
    ('is locked', 'is locked by another program; close what has it open and run again'),
    ('is full', 'the disk is full; free some space and run again'),
    ('readonly', 'cannot be written; check who may read and write it and its folder'),
    ('unable to open', 'cannot be opened; check who may read and write it and its folder'),
    ('disk i/o', 'the disk does not take or give its data; check the disk and run again'),
    ('not a database', 'is not a database; move it away, or restore it from a copy'),
    ('', 'is damaged; restore it from a copy, or move it away with its -wal file: what it holds '
         'is lost then'),
)

#: Connections of a parent process.  Closing one here could write to the file behind its back.
_INHERITED: List[Any] = []


_Found = TypeVar('_Found')

#: What tells one state of a file from another.
_Identity = Tuple[int, ...]


class _Opened(NamedTuple):
    """The connection of one thread, and its journal; None: SQLite flushes each commit."""

    thread: Any
    connection: Any
    journal: Optional[Journal]


class Database:
    """The file at `path`, of which `versions[n]` holds the statements that make version n + 1.

    A file of an older version is brought up to date; one of a newer version,
    or of another program, is refused and left as it is.
    """

    def __init__(self, path: str, versions: Sequence[Sequence[str]], *, is_wal: bool = True):
        self.path = os.path.abspath(path)
        self._versions = versions
        self._is_wal = is_wal
        #: What the transaction is written with, while the lock is held.
        self._writing: Optional[_Opened] = None
        self._n_changed = 0
        self._forget()

    def write(self) -> Database:
        """Return the context of a transaction under the lock; its value is the connection.

        What the body changes is kept all, or none of it, and is on the disk afterwards.
        """
        return self

    def execute(self, statement: str, values: Sequence[Any]) -> int:
        """Run a statement that is a transaction of its own; return how many rows it changed."""
        self._take_turn()
        try:
            opened = self._open()
            n_changed = int(opened.connection.execute(statement, values).rowcount)
        except BaseException as error:
            self._undo(None, error)
            raise
        self._end_turn(opened.journal if n_changed else None)
        return n_changed

    def __enter__(self) -> Any:
        self._take_turn()
        try:
            opened = self._open()
            opened.connection.execute('BEGIN IMMEDIATE')
        except BaseException as error:
            self._undo(None, error)
            raise
        self._writing, self._n_changed = opened, opened.connection.total_changes
        return opened.connection

    def __exit__(self, kind: Any, error: Optional[BaseException], where: Any) -> None:
        # (No generator: that would take as long as the statements of a small transaction.)
        assert self._writing is not None
        connection = self._writing.connection
        if error is None:
            try:
                connection.execute('COMMIT')
            except BaseException as fault:
                self._undo(connection, fault)
                raise
            is_changed = connection.total_changes > self._n_changed
            self._end_turn(self._writing.journal if is_changed else None)
        else:
            self._undo(connection, error)

    def _undo(self, connection: Any, error: BaseException) -> None:
        """Take back what was changed and let go of the lock; say what SQLite complains of."""
        import sqlite3

        try:
            try:
                if connection is not None and connection.in_transaction:
                    connection.execute('ROLLBACK')
            except sqlite3.Error as fault:
                error = fault
            if isinstance(error, sqlite3.Error):
                # What it knows of the file may be wrong now; the next turn opens it anew.
                self._close_some(lambda opened: opened.thread is self._thread())
                self._complain(error)
        finally:
            self._end_turn()

    def read(self, query: Callable[[Any], _Found]) -> _Found:
        """Return what `query` finds at one moment of the file, with a connection of its own.

        It changes nothing and waits for nobody: a file without a journal
        beside it is whole, and is read as one that nobody writes.  When
        somebody did meanwhile, or is about to, it is read with the files that
        connections have in common (only those may change then, and an older
        version is brought up to date).  What is not there is read as if new.
        """
        import sqlite3

        try:
            if try_stat(self.path) is None:
                return self._ask(self._connect_to_nothing(), query)
            seen = self._seen_quiet() if self._is_wal else None
            if seen is not None:
                answers = self._ask_quiet(query, seen)
                if answers:
                    return answers[0]
            if not self._is_wal or _has_bytes(f'{self.path}-journal'):
                # Without WAL, readers and writers keep one another out, so they take turns; and
                # what a kill left half written can only be mended by one who writes.
                with self.write():
                    pass
            return self._ask(self._connect_to_read(), query)
        except sqlite3.Error as error:
            self._complain(error)

    def close(self) -> None:
        """Close the connections of all threads; the next use opens the file again."""
        if self._pid == os.getpid() and self._opened:
            self._take_turn()
            try:
                # What was read of others is told by now, at least as an exit code.
                for opened in self._opened[:1]:
                    self._flush(opened.journal)
            finally:
                try:
                    self._close_some(lambda opened: True)
                finally:
                    self._end_turn()
        self._turns.close()

    # -- the lock --------------------------------------------------------------------

    def _take_turn(self) -> None:
        if self._pid != os.getpid():
            _INHERITED.extend(self._opened)
            self._forget()
        # The first lock is for threads, which `Turns` does not keep apart.
        self._mutex.acquire()
        try:
            self._turns.__enter__()
        except BaseException:
            self._mutex.release()
            raise

    def _end_turn(self, journal: Optional[Journal] = None) -> None:
        """Let the next one in, then flush what was changed; other threads of ours wait for it."""
        try:
            self._turns.__exit__()
            self._flush(journal)
        finally:
            self._mutex.release()

    def _flush(self, journal: Optional[Journal]) -> None:
        try:
            if journal is not None:
                journal.flush()
        except StateError:
            self._is_unsure = True
            raise

    def _forget(self) -> None:
        import threading

        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._thread = threading.current_thread
        self._turns = Turns(database_lock(self.path))
        self._opened: List[_Opened] = []
        self._is_checked = False
        self._identity: Optional[_Identity] = None
        #: True after a flush that failed, until nothing rests on the journal any more.
        self._is_unsure = False

    # -- connections -----------------------------------------------------------------

    def _open(self) -> _Opened:
        """Return what this thread writes with; the lock is held."""
        thread = self._thread()
        if self._identity is not None and self._identity != self._seen():
            # Whatever was written from here on would go to a file that nobody finds.
            self._close_some(lambda opened: True)
            self._identity, self._is_checked = None, False
            raise StateError(self.path, 'was removed or replaced while it was in use; run again '
                                        'when it is the right one')
        if self._is_unsure:
            self._close_some(lambda opened: True)
        for opened in self._opened:
            if opened.thread is thread:
                return opened
        self._close_some(lambda opened: not opened.thread.is_alive())
        connection = self._connect_to_write()
        try:
            opened = _Opened(thread, connection, self._open_journal(connection))
        except BaseException:
            connection.close()
            raise
        self._opened.append(opened)
        return opened

    def _connect_to_write(self) -> Any:
        """Open the file, whose folder was made for the lock beside it."""
        import sqlite3

        is_half_written = _has_bytes(f'{self.path}-journal')
        if not self._is_checked and not is_half_written and try_stat(self.path) is not None:
            # By a connection that cannot change a byte of what is not ours (nor mend what is).
            looking = self._connect_to_read()
            try:
                self._version_of(looking)
            finally:
                looking.close()
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None,
                                     check_same_thread=False)
        try:
            self._version_of(connection)
            connection.execute(f'PRAGMA page_size={_PAGE_BYTES}')
            mode = 'WAL' if self._is_wal else 'DELETE'
            connection.execute(f'PRAGMA journal_mode={mode}').fetchall()
            connection.execute(f'PRAGMA synchronous={"NORMAL" if self._is_wal else "FULL"}')
            self._bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
        self._is_checked = True
        self._identity = self._seen()
        return connection

    def _open_journal(self, connection: Any) -> Optional[Journal]:
        if not self._is_wal:
            return None
        if self._is_unsure:
            if not empty(connection):
                raise StateError(self.path, _FAULTS[0][1])
            self._is_unsure = False
        return Journal(self.path)

    def _close_some(self, is_chosen: Any) -> None:
        """Close connections; the lock is held."""
        for opened in [opened for opened in self._opened if is_chosen(opened)]:
            self._opened.remove(opened)
            if opened.journal is not None:
                opened.journal.close()
            opened.connection.close()

    def _seen(self) -> Optional[_Identity]:
        found = try_stat(self.path)
        return None if found is None else (found.st_dev, found.st_ino)

    # -- reading ---------------------------------------------------------------------

    def _ask_quiet(self, query: Callable[[Any], _Found], seen: _Identity) -> List[_Found]:
        """Return the answer of a file that nobody writes; no answer when somebody did."""
        import sqlite3

        try:
            answer = self._ask(self._connect_to_read('&immutable=1'), query)
        except (sqlite3.Error, StateError):
            # What is being written may look damaged.
            if self._seen_quiet() == seen:
                raise
            return []
        return [answer] if self._seen_quiet() == seen else []

    def _ask(self, connection: Any, query: Callable[[Any], _Found]) -> _Found:
        """Ask a connection, and close it."""
        try:
            connection.execute('BEGIN')
            version = self._version_of(connection)
            if version == len(self._versions):
                return query(connection)
        finally:
            connection.close()
        if not version:
            return self._ask(self._connect_to_nothing(), query)
        with self.write():
            pass
        return self._ask(self._connect_to_read(), query)

    def _connect_to_nothing(self) -> Any:
        """Return a connection to a file as it would be made, in memory."""
        import sqlite3

        connection = sqlite3.connect(':memory:', isolation_level=None)
        self._bring_up_to_date(connection)
        return connection

    def _connect_to_read(self, how: str = '') -> Any:
        import sqlite3

        path = self.path.replace('%', '%25').replace('?', '%3f').replace('#', '%23')
        return sqlite3.connect(f'file:///{path.replace(os.sep, "/").lstrip("/")}?mode=ro{how}',
                               uri=True, timeout=BUSY_S, isolation_level=None)

    def _seen_quiet(self) -> Optional[_Identity]:
        """Return what a write would change, or None while a journal tells of writers."""
        found = try_stat(self.path)
        if found is None or any(_has_bytes(self.path + end) for end in ('-wal', '-journal')):
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    # -- versions --------------------------------------------------------------------

    def _version_of(self, connection: Any) -> int:
        version = int(connection.execute('PRAGMA user_version').fetchone()[0])
        if version > len(self._versions):
            raise StateError(self.path, f'has format {version}, this version reads '
                                        f'{len(self._versions)}; use the newer runner that '
                                        f'wrote it')
        if not version and connection.execute('SELECT 1 FROM sqlite_master').fetchone():
            raise StateError(self.path, 'is a database of another program; name another file')
        return version

    def _bring_up_to_date(self, connection: Any) -> None:
        version = self._version_of(connection)
        if version == len(self._versions):
            return
        connection.execute('BEGIN IMMEDIATE')
        for statements in self._versions[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f'PRAGMA user_version={len(self._versions)}')
        connection.execute('COMMIT')

    def _complain(self, error: Exception) -> NoReturn:
        import sqlite3

        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError,
                              sqlite3.InterfaceError, sqlite3.DataError)):
            raise error
        said = str(error)
        advice = next(advice for text, advice in _FAULTS if text in said.lower())
        raise StateError(self.path, f'{advice} ({said})') from error


def _has_bytes(path: str) -> bool:
    found = try_stat(path)
    return found is not None and found.st_size > 0
