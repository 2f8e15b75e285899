"""Quotas and limits that all processes of a workspace share, without a server or a database.

**A limit** is so many permits at a time: each is an operating-system lock,
which the kernel frees with its holder, however that one ends.  When a limit
was lowered, those who hold permits beyond it are counted too, so the new limit
holds from the next grant on.

**A quota** is so many tokens per time: *in no window of `per_s` seconds, wherever
it begins, are more than `rate` tokens granted*, over all processes.  A token
bucket does not promise that: full at the start and refilled meanwhile, it
grants up to twice the rate in one window.  GCRA without burst does, but hands
out 60 tokens per minute as one per second, when users want 60 at once.  So what was
granted is written down (a sliding log), in a small file that is rewritten
under a lock held for microseconds.  To keep it small, a grant counts as made
at the end of the next 128th part of `per_s`; so at most 131 numbers are kept, at
most 1.6 % of the rate is lost, and a caller that the system lets go on late
(up to that 128th part) still acts within the promise.

Times are those of the monotonic clock, which all processes of one boot share
on Linux, with the id of the boot; setting the wall clock changes nothing.

- After another boot, what was granted before counts as granted at the moment
  of the boot: it cannot have been later, and nobody waits longer than `per_s`.
- A damaged file may have said anything: it is set aside, and counts as the
  whole rate granted just now.  Without a file, nothing was granted.
- Where a system tells no boot id, a grant that lies in the future counts as
  just made: nobody waits longer than `per_s` for it, and nobody gets more.

Two machines on one network folder have clocks of their own: a quota holds for
each of them, not for both.
"""

from __future__ import annotations

import json
from typing import Any
from typing import Dict
from typing import List
from typing import Mapping
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple
from typing import Union

from stagerunner.clock import Clock
from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import MAX_JSON_BYTES
from stagerunner.files import make_folder
from stagerunner.files import parse_json
from stagerunner.files import quarantine
from stagerunner.files import read_bytes
from stagerunner.files import write_bytes
from stagerunner.locks import POLL_S
from stagerunner.locks import Lock
from stagerunner.locks import limit_lock
from stagerunner.locks import limit_locks
from stagerunner.locks import quota_lock
from stagerunner.locks import try_lock
from stagerunner.sharing import pause
from stagerunner.state.names import StateNames

#: How many may run at once under a key of which nothing else was said (contract, `limits`).
DEFAULT_LIMIT = 8

#: Version of the bucket file's shape; a newer one is refused.
FORMAT = 1

#: Into so many parts the window of a quota is divided; see above.
PARTS = 128

#: The lock of a bucket is tried so often, with so many seconds in between.
_TRIES, _PAUSE_S = 50, 0.001

#: Changes with every start of the system (Linux).
_BOOT_ID = '/proc/sys/kernel/random/boot_id'

#: When a grant counts as made, in microseconds of the monotonic clock, and its tokens.
_Entry = Tuple[int, int]


class Quota(NamedTuple):
    """At most `rate` tokens in any `per_s` seconds."""

    rate: int
    per_s: float


class Rates:
    """What is allowed now; the base says the same for ever."""

    def __init__(self, quotas: Optional[Mapping[str, Quota]] = None,
                 limits: Optional[Mapping[str, int]] = None, default_limit: int = DEFAULT_LIMIT,
                 *, has_quotas: bool = True):
        self.quotas = dict(quotas or {})
        self.limits = dict(limits or {})
        self.default_limit = default_limit
        #: False: quotas are known and not enforced (`enable_quota_management`).
        self.has_quotas = has_quotas
        #: What people should hear of, once each; whoever tells them takes it out.
        self.warnings: List[str] = []

    def quota(self, name: str) -> Optional[Quota]:
        """Return what a quota gives, or None when there is none of this name."""
        return self.quotas.get(name)

    def limit(self, key: str) -> int:
        """Return how many may run at once under this key."""
        return self.limits.get(key, self.default_limit)

    def refresh(self) -> None:
        """Look whether something changed; called before every grant, so it must be cheap."""

    def complaint(self, name: str, tokens: int) -> Optional[str]:
        """Return why so many tokens of a quota will never be had, or None."""
        quota = self.quota(name)
        if quota is None:
            return f'quota {name!r} is not defined; define it in pipeline_config.json'
        if tokens > quota.rate:
            return (f'{tokens} tokens of quota {name!r} are never given at once; '
                    f'it has {quota.rate} per {quota.per_s:g}s')
        return None


class Shortage(NamedTuple):
    """The limit or quota that has nothing left, and the seconds until asking again is worth it."""

    name: str
    wait_s: float


class Grant:
    """Permission to start; `at_s` is its moment on the monotonic clock."""

    def __init__(self, permits: Sequence[Lock], at_s: float):
        self._permits = list(permits)
        self.at_s = at_s

    def release(self) -> None:
        """Give the permits of limits back, once; tokens of quotas are spent."""
        while self._permits:
            self._permits.pop().release()


class Permits:
    """Hands out what the workspace at `root` may use, to whichever process asks first.

    Nothing is reserved for who asks for many tokens: those who need fewer may
    come first again and again.
    """

    def __init__(self, root: str, clock: Clock, rates: Rates, *, boot_id: Optional[str] = None):
        self.rates = rates
        self._root = root
        self._clock = clock
        self._boot_id = boot_id

    def take(self, limits: Sequence[str],
             quotas: Sequence[Tuple[str, int]]) -> Union[Grant, Shortage]:
        """Take a permit of every key and the tokens of every quota, or nothing of it.

        Waits for nothing but another process that is just rewriting a bucket.
        Limits come first, then quotas, each sorted by name: two who need the
        same never hold what the other one lacks.  Raises `StageError` for
        tokens that can never be had, and `StateError` where nothing can be
        written; nothing stays taken then.
        """
        self.rates.refresh()
        wanted = _sum_up(quotas) if self.rates.has_quotas else {}
        for name, tokens in wanted.items():
            complaint = self.rates.complaint(name, tokens)
            if complaint:
                raise StageError(complaint)
        permits: List[Lock] = []
        is_granted = False
        try:
            for key in sorted(set(limits)):
                if not self._take_permit(key, permits):
                    return Shortage(key, POLL_S)
            answer = self._spend(wanted)
            if isinstance(answer, Shortage):
                return answer
            is_granted = True
            return Grant(permits, answer)
        finally:
            if not is_granted:
                Grant(permits, 0.0).release()

    # -- limits --------------------------------------------------------------------

    def _take_permit(self, key: str, permits: List[Lock]) -> bool:
        """Add a permit; False means none is left, also when one was added."""
        limit = self.rates.limit(key)
        for number in range(limit):
            permit = try_lock(limit_lock(self._root, key, number))
            if permit is not None:
                permits.append(permit)
                return not self._is_one_too_many(key, number, limit)
        return False

    def _is_one_too_many(self, key: str, number: int, limit: int) -> bool:
        """True when permits from before a limit was lowered use up what it allows.

        Two who look at the same time may each count the other one; then both
        ask again later, which is safe.
        """
        numbers = limit_locks(self._root, key)
        n_beyond = sum(self._is_held(key, other, is_needed=False)
                       for other in numbers if other >= limit)
        if not n_beyond:
            return False
        n_within = sum(self._is_held(key, other, is_needed=True)
                       for other in numbers if other < limit and other != number)
        return n_beyond + n_within + 1 > limit

    def _is_held(self, key: str, number: int, *, is_needed: bool) -> bool:
        lock = try_lock(limit_lock(self._root, key, number))
        if lock is not None:
            (lock.release if is_needed else lock.discard)()
        return lock is None

    # -- quotas --------------------------------------------------------------------

    def _spend(self, wanted: Mapping[str, int]) -> Union[float, Shortage]:
        """Return the moment of the grant, when all tokens were there and are spent now."""
        held: List[Lock] = []
        try:
            for name in sorted(wanted):
                lock = _lock_soon(quota_lock(self._root, name))
                if lock is None:
                    return Shortage(name, POLL_S)
                held.append(lock)
            now_s = self._clock.monotonic()
            buckets = [self._bucket(name, int(now_s * 1_000_000)) for name in sorted(wanted)]
            waits = [(bucket.wait_s(wanted[bucket.name]), bucket.name) for bucket in buckets]
            longest_s, name = max(waits, default=(0.0, ''))
            if longest_s > 0:
                return Shortage(name, longest_s)
            for bucket in buckets:
                self._write(bucket.after(wanted[bucket.name]))
            return now_s
        finally:
            for lock in reversed(held):
                lock.release()

    def _bucket(self, name: str, now_us: int) -> Bucket:
        quota = self.rates.quota(name)
        assert quota is not None
        empty = Bucket(name, quota.rate, max(1, round(quota.per_s * 1_000_000)), now_us, ())
        path = StateNames(self._root).quota(name)
        try:
            boot, entries = _parse(path, parse_json(
                read_bytes(path, MAX_JSON_BYTES, follow=False), path))
        except FileNotFoundError:
            return empty
        except Unreadable as error:
            self.rates.warnings.append(
                f'{error}; set aside as {quarantine(path)}, and quota {name!r} counts as used up '
                f'for {quota.per_s:g}s')
            # Written down at once: who asks next finds no damaged file any more.
            used_up = empty.after(quota.rate)
            self._write(used_up)
            return used_up
        # Where one of the two was not told, nothing is known.
        is_other_boot = boot and self._boot() and boot != self._boot()
        return empty.with_entries([(0, tokens) for _, tokens in entries]
                                  if is_other_boot else entries)

    def _write(self, bucket: Bucket) -> None:
        names = StateNames(self._root)
        path = names.quota(bucket.name)
        try:
            make_folder(names.limits())
        except OSError as error:
            raise StateError(path, os_fault(error)) from error
        text = json.dumps({'format': FORMAT, 'boot': self._boot(), 'granted': bucket.entries})
        # After a power cut it is another boot, and nothing that is lost counts any more.
        write_bytes(path, text.encode('utf-8') + b'\n', durable=False)

    def _boot(self) -> str:
        if self._boot_id is None:
            self._boot_id = boot_id()
        return self._boot_id


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


def boot_id() -> str:
    """Return what differs after every start of the system, or '' where nothing tells."""
    try:
        return read_bytes(_BOOT_ID, 1024).decode('ascii', 'replace').strip()
    except (FileNotFoundError, Unreadable):
        return ''


def _sum_up(quotas: Sequence[Tuple[str, int]]) -> Dict[str, int]:
    wanted: Dict[str, int] = {}
    for name, tokens in quotas:
        assert tokens > 0, 'a grant takes something'
        wanted[name] = wanted.get(name, 0) + tokens
    return wanted


def _lock_soon(path: str) -> Optional[Lock]:
    """Return a lock that others hold for microseconds, or None: one of them was stopped."""
    for _ in range(_TRIES):
        lock = try_lock(path)
        if lock is not None:
            return lock
        pause(_PAUSE_S)
    return None


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
