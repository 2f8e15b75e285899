"""Is the audit as it was written?  The bad records, and what the runs came to.

Of a run the first bad record is named, of the journal of heads, which holds
all runs, every bad one.

Takes no lock and changes nothing.  A run that died is no fault: what it left
may end in half a record.  All else that differs from what the journal of heads
says is one, whoever did it and why.
"""

from __future__ import annotations

import os
from typing import Any
from typing import BinaryIO
from typing import Dict
from typing import List
from typing import Optional
from typing import Set
from typing import Tuple

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.files import read_json
from stagerunner.files import try_stat
from stagerunner.records import NamedTuple
from stagerunner.report.chain import LONGEST_LINE
from stagerunner.report.chain import START
from stagerunner.report.chain import Key
from stagerunner.report.chain import Row
from stagerunner.report.chain import unseal
from stagerunner.report.heads import CLOSED
from stagerunner.report.heads import CRASHED
from stagerunner.report.heads import LOST
from stagerunner.report.heads import OPENED
from stagerunner.report.trail import open_journal
from stagerunner.state.names import StateNames
from stagerunner.state.run import is_dead

RUNNING = 'running'

#: An audit that grows while it is looked at is looked at again, so often at most.
_LOOKS = 5

#: So many bad lines of the journal of heads are named, the others are counted.
MOST_NAMED = 20


class Finding(NamedTuple):
    """What is wrong with a line of a file; with the file as a whole it is line 0."""

    file: str
    line: int
    fault: str

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}' if self.line else self.file
        return f'{place}: {self.fault}'


class Start(NamedTuple):
    """How one start of a run ended: `crashed`, `running`, or as the run said."""

    run_id: str
    state: str
    n_records: int
    #: Bytes of a record that was not finished.
    torn: int = 0


class Audited(NamedTuple):
    """What is known of the audit of a workspace."""

    findings: Tuple[Finding, ...]
    starts: Tuple[Start, ...]
    head: str
    #: Half an entry at the end of the journal of heads, in bytes.
    torn: int = 0
    #: True when entries have the codes of a key, and when nobody gave the key.
    has_macs: bool = False
    is_unchecked: bool = False

    @property
    def n_records(self) -> int:
        """Return the number of good records."""
        return sum(start.n_records for start in self.starts)


class _End(NamedTuple):
    """Where and how a section ended."""

    state: str
    size: int
    n_records: int
    last: str


class _Section:
    """What the journal of heads says of one start of a run; `end` is None while it goes on."""

    def __init__(self, opened: str, values: Dict[str, Any], has_mac: bool):
        self.opened = opened
        self.offset = int(values['offset'])
        self.has_mac = has_mac
        self.end: Optional[_End] = None

    def close(self, values: Dict[str, Any]) -> None:
        """Take in the entry with which it ended."""
        self.end = _End(str(values['ended']), int(values['size']), int(values['records']),
                        str(values['last']))


def inspect(names: StateNames, run_id: Optional[str] = None, *, key: Optional[Key] = None,
            expected: Optional[str] = None) -> Audited:
    """Look at the whole audit, or at that of one run and the journal of heads.

    `expected` is a head that somebody took note of: it must be among the entries.
    """
    for _ in range(_LOOKS):
        size = _size_of(names.audit_head())
        found = _Inspection(names, key).look(run_id, expected)
        is_doubtful = found.findings or any(start.state == CRASHED for start in found.starts)
        if not is_doubtful or _size_of(names.audit_head()) == size:
            break
    return found


def _size_of(path: str) -> int:
    stat = try_stat(path)
    return stat.st_size if stat else 0


class _Inspection:
    """One look at everything."""

    def __init__(self, names: StateNames, key: Optional[Key]):
        self.names = names
        self.root = os.path.dirname(names.folder)
        self.key = key
        self.findings: List[Finding] = []
        self.starts: List[Start] = []
        self.sections: Dict[str, List[_Section]] = {}
        self.hashes: Set[str] = set()
        self.n_heads = 0
        self.head = START
        self.torn = 0
        self.n_macs = 0
        self.is_whole = True

    def look(self, run_id: Optional[str], expected: Optional[str]) -> Audited:
        """Do all of it; the files of runs only as far as the journal of heads is good."""
        self._look_at_heads()
        if self.is_whole:
            self._look_at_records(run_id)
            self._look_for_strangers(run_id)
        if expected is not None and expected not in self.hashes:
            self._blame(self.names.audit_head(), self.n_heads + 1,
                        'no entry up to here has the head that was expected')
        for name in self.sections if run_id is None else [run_id]:
            self._look_at_run(name)
        return Audited(tuple(self.findings), tuple(self.starts), self.head, self.torn,
                       self.n_macs > 0, self.n_macs > 0 and self.key is None)

    def _blame(self, path: str, line: int, fault: str) -> None:
        self.findings.append(Finding(self.names.relative(path), line, fault))

    # -- the journal of heads ---------------------------------------------------

    def _look_at_heads(self) -> None:
        path = self.names.audit_head()
        source = self._opened(path)
        if source is None:
            return
        with source:
            row = Row(source, START, key=self.key)
            for entry in row:
                fault = self._take(entry.values, entry.hash, has_mac=entry.has_mac)
                if fault:
                    row.fault = fault
                    row.n_lines -= 1
                    break
                self.hashes.add(entry.hash)
                self.head = entry.hash
            self.n_heads = row.n_lines
            if row.fault and not row.tail:
                self.is_whole = False
                self._blame(path, row.n_lines + 1, row.fault)
                self._look_further(source, path, row.n_lines + 1)
                return
        if row.tail:
            self.torn = len(row.tail)
        elif self.key is not None and self.n_heads and not self.n_macs:
            self._blame(path, 1, 'was written without a key, and so was all after it')

    def _look_further(self, source: BinaryIO, path: str, number: int) -> None:
        """Name the lines after the first bad one, `number`, that are bad too.

        What follows a bad line is held to nothing but itself.
        """
        faults: List[Finding] = []
        former = None
        for line in iter(lambda: source.readline(LONGEST_LINE), b''):
            number += 1
            if not line.endswith(b'\n'):
                self.torn = len(line)
                break
            sealed, fault = unseal(line, self.key)
            if sealed is not None and former is not None and sealed.prev != former.hash:
                fault = 'does not follow from what comes before it'
            elif sealed is not None and self.key and self.n_macs and not sealed.has_mac:
                fault = 'was written without the key'
            if fault:
                faults.append(Finding(self.names.relative(path), number, fault))
            former = sealed
        self.findings += faults[:MOST_NAMED - 1]
        if len(faults) >= MOST_NAMED:
            self._blame(path, 0, f'{len(faults) - MOST_NAMED + 1} more lines are bad')

    def _opened(self, path: str) -> Optional[BinaryIO]:
        try:
            return open_journal(path)
        except StateError as error:
            self._blame(path, 0, error.fault)
            return None

    def _take(self, values: Dict[str, Any], digest: str, *, has_mac: bool) -> str:
        """Take note of an entry; return what is wrong with it."""
        if self.key is not None and self.n_macs and not has_mac:
            return 'was written without the key'
        self.n_macs += has_mac
        run_id, event = str(values.get('runId')), values.get('event')
        sections = self.sections.setdefault(run_id, [])
        is_open = bool(sections) and sections[-1].end is None
        try:
            if event == OPENED and not is_open:
                sections.append(_Section(digest, values, has_mac))
            elif event == CLOSED and is_open:
                sections[-1].close(values)
            else:
                return f'is no entry that can follow for run {run_id!r}'
        except (KeyError, TypeError, ValueError):
            return 'is no entry of a journal of heads'
        return ''

    # -- what should be there, and what should not ---------------------------------

    def _look_for_strangers(self, run_id: Optional[str]) -> None:
        """Find files of runs that the journal does not know."""
        for name in self.names.audited_runs():
            path = self.names.audit(name)
            # A run that has written nothing has no entry either.
            if run_id in (None, name) and name not in self.sections and _size_of(path):
                self._blame(path, 1, f'{self.names.relative(self.names.audit_head())} has no '
                                     'entry for this run: it was put there, or the journal was '
                                     'cut off')

    def _look_at_records(self, run_id: Optional[str]) -> None:
        """Compare with what runs wrote down elsewhere when they had ended."""
        runs = self.names.finished_runs() if os.path.isdir(self.names.folder) else []
        for name in runs if run_id is None else [run_id]:
            for path in (self.names.run(name), self.names.metrics(name)):
                head = _head_in(path)
                if head and head not in self.hashes:
                    self._blame(self.names.audit_head(), self.n_heads + 1,
                                f'the entry {head[:16]}… that {self.names.relative(path)} names '
                                'is missing: the end was cut off')
                    return

    # -- the file of a run --------------------------------------------------------

    def _look_at_run(self, run_id: str) -> None:
        """Follow the records of a run, start by start, up to the first that is bad."""
        path = self.names.audit(run_id)
        sections = self.sections.get(run_id)
        if not sections:
            return
        n_findings = len(self.findings)
        source = self._opened(path)
        if source is None:
            if len(self.findings) == n_findings:
                self._blame(path, 0, 'is missing')
            return
        with source:
            line = 0
            for section in sections:
                row = self._follow(source, run_id, section)
                self.starts.append(self._start_of(run_id, row, section))
                line += row.n_lines
                fault = self._fault_of(row, section)
                if fault:
                    self._blame(path, line + 1, fault)
                    return
            rest = source.readline(LONGEST_LINE) if sections[-1].end else b''
            if rest:
                self._blame(path, line + 1,
                            unseal(rest)[1] or 'was added after the run had ended')

    def _follow(self, source: BinaryIO, run_id: str, section: _Section) -> Row:
        place = source.tell()
        row = Row(source, section.opened, run_id, key=self.key,
                  end=section.end.size if section.end else None)
        if place != section.offset:
            row.fault = 'is not where the journal of heads has the next start of the run'
            return row
        for record in row:
            if self.key is not None and section.has_mac and not record.has_mac:
                row.n_lines -= 1
                row.fault = 'was written without the key'
                break
        return row

    @staticmethod
    def _fault_of(row: Row, section: _Section) -> str:
        """Return what is wrong with the line after the last good one, if anything is."""
        end = section.end
        if end is None:
            return '' if row.tail else row.fault
        if end.state == LOST:
            return 'the file was gone when the next run began'
        if row.fault:
            return row.fault
        if row.n_lines < end.n_records:
            return (f'the file ends here, and {end.n_records - row.n_lines} of '
                    f'{end.n_records} records are missing')
        if (row.size, row.n_lines, row.last) != (end.size, end.n_records, end.last):
            return 'the records before are not those that the journal of heads has'
        return ''

    def _start_of(self, run_id: str, row: Row, section: _Section) -> Start:
        if section.end is not None:
            return Start(run_id, section.end.state, row.n_lines)
        state = CRASHED if is_dead(self.root, run_id) else RUNNING
        return Start(run_id, state, row.n_lines, len(row.tail))


def _head_in(path: str) -> Optional[str]:
    """Return the head that a record or the figures of a run name, if they can be read."""
    try:
        value = read_json(path)
    except Unreadable:
        return None
    head = value.get('auditHead') if isinstance(value, dict) else None
    return head if isinstance(head, str) else None
