"""The audit of a run as others read it: every record that was written whole, in order.

Reading needs no lock, goes on while the run does, and believes what it finds:
whether a record is as it was written is for `audit verify` to say.
"""

from __future__ import annotations

import json
import os
import stat

from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.records import TYPE_CHECKING
from stagerunner.report.chain import LONGEST_LINE
from stagerunner.report.chain import SCHEMA
from stagerunner.sharing import open_file
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import BinaryIO
    from typing import Dict
    from typing import Iterator
    from typing import Optional

_READ = (os.O_RDONLY | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_NONBLOCK', 0)
         | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_NOFOLLOW', 0))

#: How the first record of each start of a run begins.
_FIRST = b'{"schema":%d,"seq":1,' % SCHEMA


def open_journal(path: str) -> Optional[BinaryIO]:
    """Open a journal for reading; None where there is none, `StateError` where it is no file."""
    try:
        descriptor = open_file(path, _READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(path, os_fault(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StateError(path, 'is not a regular file')
    return os.fdopen(descriptor, 'rb')


class Trail:
    """What a run has told so far, since it was last started; ask again for what is new.

    >>> from stagerunner.state.names import StateNames
    >>> list(Trail(StateNames('nowhere'), 'r1').read())
    []
    """

    def __init__(self, names: StateNames, run_id: str, *, has_former: bool = False):
        self.path = names.audit(run_id)
        #: Where the next record begins; of an id that was used before, in its last use.
        self.offset = 0 if has_former else self._last_start()

    def _last_start(self) -> int:
        found = place = 0
        source = open_journal(self.path)
        if source is not None:
            with source:
                for line in source:
                    if line.startswith(_FIRST):
                        found = place
                    place += len(line)
        return found

    def read(self) -> Iterator[Dict[str, Any]]:
        """Yield the records that were not yielded before, with the keys of `--json`.

        Of skips that share a record each is yielded by itself.
        """
        source = open_journal(self.path)
        if source is None:
            return
        with source:
            source.seek(self.offset)
            while True:
                line = source.readline(LONGEST_LINE)
                if not line.endswith(b'\n'):
                    # The end, or a record that is being written.
                    return
                self.offset += len(line)
                record = _decoded(line)
                if record is not None:
                    yield from _singly(record)


def _singly(record: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    columns = [record.get(name) for name in ('tasks', 'keys', 'doneAt')]
    if record['event'] != 'tasks_skipped' or not all(isinstance(column, list)
                                                     for column in columns):
        yield record
        return
    shared = {name: value for name, value in record.items() if name not in ('tasks', 'keys')}
    for task, key, done_at in zip(*columns):
        yield dict(shared, event='task_skipped', task=task, key=key, doneAt=done_at)


def _decoded(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        record = json.loads(line.decode('ascii'))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get('event'), str) else None
