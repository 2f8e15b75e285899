"""Quotas and limits that all processes of a workspace share, without a server or a database.

**A limit** is so many permits at a time: each is an operating-system lock,
which the kernel frees with its holder, however that one ends.  When a limit
was lowered, those who hold permits beyond it are counted too, so the new limit
holds from the next grant on.

**A quota** is so many tokens per time, in whichever window of that length one
looks (`buckets`); a bucket is rewritten under a lock held for microseconds.
"""

from __future__ import annotations

from stagerunner.buckets import Bucket
from stagerunner.buckets import Buckets
from stagerunner.clock import Clock
from stagerunner.errors import DefinitionError
from stagerunner.errors import StageError
from stagerunner.files import Stat
from stagerunner.files import stat_of
from stagerunner.files import try_stat
from stagerunner.locks import POLL_S
from stagerunner.locks import Lock
from stagerunner.locks import limit_lock
from stagerunner.locks import limit_locks
from stagerunner.locks import quota_lock
from stagerunner.locks import try_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.settings import QueueSettings
from stagerunner.settings import Settings
from stagerunner.settings import load
from stagerunner.sharing import pause

if TYPE_CHECKING:
    from typing import Dict
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Sequence
    from typing import Tuple
    from typing import Union

#: How many may run at once under a key of which nothing else was said (contract, `limits`).
DEFAULT_LIMIT = 8

#: How the keys of limits begin that entries of the queue take for their resolver and their host.
RESOLVER, HOST = 'resolver:', 'host:'

#: The lock of a bucket is tried so often, with so many seconds in between.
_TRIES, _PAUSE_S = 50, 0.001


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
        self.host_limit = QueueSettings().max_per_host
        #: False: quotas are known and not enforced (`enable_quota_management`).
        self.has_quotas = has_quotas
        #: What people should hear of, once each; whoever tells them takes it out.
        self.warnings: List[str] = []

    def quota(self, name: str) -> Optional[Quota]:
        """Return what a quota gives, or None when there is none of this name."""
        return self.quotas.get(name)

    def limit(self, key: str) -> int:
        """Return how many may run at once under this key."""
        return self.limits.get(
            key, self.host_limit if key.startswith(HOST) else self.default_limit)

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


class ConfigRates(Rates):
    """What the config at `path` allows, read again whenever that file has changed.

    A file that is gone or has faults for a while (an editor is at work) changes
    nothing, and a quota that is no longer in it keeps its last rate: stages
    that name it are on their way.
    """

    def __init__(self, path: str, settings: Settings):
        super().__init__(_quotas(settings), _limits(settings), settings.default_limit,
                         has_quotas=settings.has_quotas)
        self.host_limit = settings.queue.max_per_host
        self._path = path
        # Not of now: it may have changed since these settings were read.
        self._seen: Optional[Stat] = None

    def refresh(self) -> None:
        found = try_stat(self._path)
        if found is None or stat_of(found) == self._seen:
            return
        self._seen = stat_of(found)
        try:
            settings = load(self._path)
        except DefinitionError as error:
            self.warnings.append(f'{error.faults[0]}; the quotas and limits from before it was '
                                 f'changed still hold')
            return
        self.quotas.update(_quotas(settings))
        self.limits = _limits(settings)
        self.default_limit = settings.default_limit
        self.host_limit = settings.queue.max_per_host
        self.has_quotas = settings.has_quotas


def _limits(settings: Settings) -> Dict[str, int]:
    resolvers = {RESOLVER + name: n for name, n in settings.queue.max_per_resolver.items()}
    return dict(resolvers, **settings.limits_per_key)


def _quotas(settings: Settings) -> Dict[str, Quota]:
    return {name: Quota(*quota) for name, quota in settings.quotas.items()}


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
        self._store = Buckets(root, boot_id)

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
                self._store.write(bucket.after(wanted[bucket.name]))
            return now_s
        finally:
            for lock in reversed(held):
                lock.release()

    def _bucket(self, name: str, now_us: int) -> Bucket:
        quota = self.rates.quota(name)
        assert quota is not None
        empty = Bucket(name, quota.rate, max(1, round(quota.per_s * 1_000_000)), now_us, ())
        bucket, warning = self._store.read(empty)
        self.rates.warnings += [warning] if warning else []
        return bucket


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
