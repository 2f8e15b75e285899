"""What was granted of a quota lately, in a small file per quota, exact in every window.

A quota promises: *in no window of `per_s` seconds, wherever it begins, are more
than `rate` tokens granted*, over all processes.  A token bucket does not keep
that: full at the start and refilled meanwhile, it grants up to twice the rate
in one window.  GCRA without burst does, but hands out 60 tokens per minute as
one per second, when users want 60 at once.  So what was granted is written down
(a sliding log).  To keep it small, a grant counts as made at the end of the
next 128th part of `per_s`: at most 131 pairs are kept, at most 1.6 % of the
rate is lost, and a caller that the system lets go on late (up to that 128th
part) still acts within the promise.

Times are those of the monotonic clock, which all processes of one boot share
on Linux, with the id of the boot; setting the wall clock changes nothing.

- After another boot, what was granted before counts as granted at the moment
  of the boot: it cannot have been later, and nobody waits longer than `per_s`.
- A damaged file may have said anything: it is set aside, and counts as the
  whole rate granted just now.  Without a file, nothing was granted.
- Where a system tells no boot id, a grant that lies in the future counts as
  just made: nobody waits longer than `per_s` for it, and nobody gets more.
- Python before 3.10 counts from the start of each process on macOS: there, and
  only there, a quota does not hold across processes.

Two machines on one network folder have clocks of their own: a quota holds for
each of them, not for both.
"""

from __future__ import annotations

import json

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import MAX_JSON_BYTES
from stagerunner.files import make_folder
from stagerunner.files import parse_json
from stagerunner.files import quarantine
from stagerunner.files import read_bytes
from stagerunner.files import write_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

    #: When a grant counts as made, in microseconds of the monotonic clock, and its tokens.
    _Entry = Tuple[int, int]

#: Version of the bucket file's shape; a newer one is refused.
FORMAT = 1

#: Into so many parts the window of a quota is divided; see above.
PARTS = 128

#: Changes with every start of the system (Linux).
_BOOT_ID = '/proc/sys/kernel/random/boot_id'



class Bucket(NamedTuple):
    """What was granted of one quota, seen at one moment; times in microseconds."""

    name: str
    rate: int
    per_us: int
    now_us: int
    entries: Tuple[_Entry, ...]

    def with_entries(self, entries: Sequence[_Entry]) -> Bucket:
        """Return it with all of these that still count, none of them in the future."""
        spent: Dict[int, int] = {}
        for entry_us, tokens in entries:
            at_us = min(entry_us, self._latest_us())
            if at_us + self.per_us > self.now_us:
                spent[at_us] = spent.get(at_us, 0) + tokens
        return self._replace(entries=tuple(sorted(spent.items())))

    def wait_s(self, tokens: int) -> float:
        """Return in how many seconds so many tokens (at most the rate) are free, 0 for now."""
        wait_us = 0
        excess = sum(spent for _, spent in self.entries) + tokens - self.rate
        for at_us, spent in self.entries:
            if excess <= 0:
                break
            excess -= spent
            # One more: a moment loses its fraction of a microsecond.
            wait_us = at_us + self.per_us - self.now_us + 1
        return wait_us / 1_000_000

    def after(self, tokens: int) -> Bucket:
        """Return it with so many tokens granted now."""
        return self.with_entries((*self.entries, (self._latest_us(), tokens)))

    def _latest_us(self) -> int:
        """Return when a grant made now counts as made: at the end of the next part."""
        part_us = -(-self.per_us // PARTS)
        return (self.now_us // part_us + 2) * part_us


class Buckets:
    """The files of the quotas of a workspace; to be used under the lock of the quota only."""

    def __init__(self, root: str, own_boot: Optional[str] = None):
        self._names = StateNames(root)
        self._own_boot = own_boot

    def read(self, empty: Bucket) -> Tuple[Bucket, Optional[str]]:
        """Return an empty bucket with what its file says was granted, and a warning for people."""
        path = self._names.quota(empty.name)
        try:
            boot, entries = _parse(path, parse_json(
                read_bytes(path, MAX_JSON_BYTES, follow=False), path))
        except FileNotFoundError:
            return empty, None
        except Unreadable as error:
            per_s = empty.per_us / 1_000_000
            warning = (f'{error}; set aside as {quarantine(path)}, '
                       f'and quota {empty.name!r} counts as used up for {per_s:g}s')
            # Written down at once: who asks next finds no damaged file any more.
            used_up = empty.after(empty.rate)
            self.write(used_up)
            return used_up, warning
        # Where one of the two was not told, nothing is known.
        if boot and self._boot() and boot != self._boot():
            entries = [(0, tokens) for _, tokens in entries]
        return empty.with_entries(entries), None

    def write(self, bucket: Bucket) -> None:
        """Put a bucket in the place of what its file said."""
        path = self._names.quota(bucket.name)
        try:
            make_folder(self._names.limits())
        except OSError as error:
            raise StateError(path, os_fault(error)) from error
        text = json.dumps({'format': FORMAT, 'boot': self._boot(), 'granted': bucket.entries})
        # After a power cut it is another boot, and nothing that is lost counts any more.
        write_bytes(path, text.encode('utf-8') + b'\n', durable=False)

    def _boot(self) -> str:
        if self._own_boot is None:
            self._own_boot = boot_id()
        return self._own_boot


def boot_id(path: str = _BOOT_ID) -> str:
    """Return what differs after every start of the system, or '' where nothing tells."""
    try:
        return read_bytes(path, 1024).decode('ascii', 'replace').strip()
    except (FileNotFoundError, Unreadable):
        return ''


def _parse(path: str, found: Any) -> Tuple[str, List[_Entry]]:
    """Return the id of the boot, and what was granted; what is no bucket is `Unreadable`."""
    if isinstance(found, dict) and _is_count(found.get('format')) and found['format'] > FORMAT:
        raise StateError(path, f"has format {found['format']}, this version reads {FORMAT}; "
                               f'use the newer runner that wrote it')
    try:
        entries = [(at_us, tokens) for at_us, tokens in found['granted']]
        if isinstance(found['boot'], str) and found['format'] == FORMAT \
                and all(_is_count(number) for entry in entries for number in entry):
            return found['boot'], entries
    except (KeyError, TypeError, ValueError):
        pass
    raise Unreadable(path, 'is not what this runner writes')


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
