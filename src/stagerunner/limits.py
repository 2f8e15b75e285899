"""How often, and how many at once, within one process: for programs that embed the runner.

What several processes share is `permits`.  Both classes may be used by any
number of threads; time is monotonic, so a clock that is set changes nothing.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from typing import Callable
from typing import Deque
from typing import Dict
from typing import Mapping
from typing import Optional
from typing import Tuple

from stagerunner.clock import Clock
from stagerunner.records import NamedTuple
from stagerunner.sharing import pause

#: A wait is counted at the first of these that it does not exceed, in seconds, longer ones at the
#: end.
WAIT_EDGES_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, float('inf'))

#: What a scheme adds by itself.
_PORTS = {'http': '80', 'https': '443', 'ws': '80', 'wss': '443', 'ftp': '21'}


class Waits(NamedTuple):
    """The waits that a bucket caused; `counts` has one number per `WAIT_EDGES_S`."""

    n: int
    total_s: float
    longest_s: float
    counts: Tuple[int, ...]


class TokenBucket:
    """At most `rate` tokens at once, refilled evenly with `rate` per `per_seconds`.

    So a window of that length may see up to twice the rate, as with every token
    bucket; what must not is a quota of `permits`.  Who waits has its tokens
    set aside in the order of asking, so nobody starves who asks for many.
    `rate` and `per_seconds` may be changed; that holds from the next request on.

    >>> TokenBucket(rate=60, per_seconds=60).consume()
    True
    """

    def __init__(self, rate: float, per_seconds: float, clock: Optional[Clock] = None, *,
                 wait: Callable[[float], None] = pause):
        import threading

        if rate <= 0 or per_seconds <= 0:
            raise ValueError(f'rate and per_seconds must be above 0, got {rate} and {per_seconds}')
        self.rate = rate
        self.per_seconds = per_seconds
        #: Tokens handed out, and requests that had to wait or were refused.
        self.consumed_count: float = 0
        self.throttle_count = 0
        self._clock = clock or Clock()
        self._wait = wait
        self._lock = threading.Lock()
        #: Below zero when tokens of the future are set aside.
        self._balance: float = rate
        self._seen_s = self._clock.monotonic()
        self._counts = [0] * len(WAIT_EDGES_S)
        self._total_s = self._longest_s = 0.0

    @property
    def allowance(self) -> float:
        """The tokens that can be had right now."""
        with self._lock:
            self._refill()
            return max(0.0, self._balance)

    def consume(self, tokens: float = 1, wait: bool = True,
                timeout: Optional[float] = None) -> bool:
        """Take tokens, waiting where that is wanted; False when they cannot be had in time.

        Who would have to wait longer than `timeout` seconds is refused at once.
        Raises `ValueError` for more tokens than there ever are.
        """
        if not 0 < tokens <= self.rate:
            raise ValueError(f'expected tokens above 0 and up to {self.rate:g}, got {tokens}')
        with self._lock:
            now_s = self._refill()
            wait_s = max(0.0, (tokens - self._balance) * self.per_seconds / self.rate)
            if wait_s:
                self.throttle_count += 1
            if wait_s and (not wait or (timeout is not None and wait_s > timeout)):
                return False
            self._balance -= tokens
            self.consumed_count += tokens
        if wait_s:
            self._wait_until(now_s + wait_s, tokens)
            self._count(wait_s)
        return True

    def waits(self) -> Waits:
        """Return how long callers had to wait so far."""
        with self._lock:
            return Waits(sum(self._counts), self._total_s, self._longest_s, tuple(self._counts))

    def _refill(self) -> float:
        now_s = self._clock.monotonic()
        gained = (now_s - self._seen_s) * self.rate / self.per_seconds
        self._balance = min(self.rate, self._balance + gained)
        self._seen_s = now_s
        return now_s

    def _wait_until(self, due_s: float, tokens: float) -> None:
        """Wait; whoever is interrupted gives the tokens back that were set aside."""
        try:
            while True:
                rest_s = due_s - self._clock.monotonic()
                if rest_s <= 0:
                    return
                self._wait(rest_s)
        except BaseException:
            with self._lock:
                self._balance += tokens
                self.consumed_count -= tokens
            raise

    def _count(self, wait_s: float) -> None:
        row = next(row for row, edge_s in enumerate(WAIT_EDGES_S) if wait_s <= edge_s)
        with self._lock:
            self._counts[row] += 1
            self._total_s += wait_s
            self._longest_s = max(self._longest_s, wait_s)


class _Users:
    """Who uses one key: a count, and an event for each of those who wait, first come first."""

    def __init__(self) -> None:
        self.n = 0
        self.waiting: Deque[Any] = deque()


class KeyedLimiter:
    """So many at a time under each key; who waits longest comes next.

    A permit is handed over by whoever gives one back, so a limit that is raised
    or lowered holds at once.  Keys nobody uses take no memory.

    >>> limiter = KeyedLimiter(default_limit=8, per_key={'unpaywall': 2})
    >>> with limiter.slot('unpaywall'):
    ...     limiter.try_acquire('unpaywall'), limiter.try_acquire('unpaywall')
    (True, False)
    """

    def __init__(self, default_limit: int = 8, per_key: Optional[Mapping[str, int]] = None):
        import threading

        self._default = _checked(default_limit)
        self._limits = {key: _checked(limit) for key, limit in (per_key or {}).items()}
        self._users: Dict[str, _Users] = {}
        self._lock = threading.Lock()
        self._event = threading.Event

    def get_limit(self, key: str) -> int:
        """Return how many may use a key at once."""
        with self._lock:
            return self._limit(key)

    def set_limit(self, key: str, n: int) -> None:
        """Change how many may use a key; those beyond a lowered limit are left in peace."""
        with self._lock:
            self._limits[key] = _checked(n)
            self._hand_over(key)

    def acquire(self, key: str) -> None:
        """Take a permit, waiting for as long as it takes."""
        self._acquire(key, None)

    def try_acquire(self, key: str, timeout: Optional[float] = None) -> bool:
        """Take a permit and return True; False when none is free now, or within `timeout`."""
        return self._acquire(key, max(0.0, timeout or 0.0))

    def release(self, key: str) -> None:
        """Give a permit back; `ValueError` when nobody has one."""
        with self._lock:
            if key not in self._users or not self._users[key].n:
                raise ValueError(f'nobody holds a permit of {key!r}')
            self._give_back(key)

    def slot(self, key: str) -> Slot:
        """Return a context that holds a permit while its body runs."""
        return Slot(self, key)

    def _acquire(self, key: str, timeout_s: Optional[float]) -> bool:
        with self._lock:
            users = self._users.setdefault(key, _Users())
            if users.n < self._limit(key):
                users.n += 1
                return True
            if timeout_s == 0:
                return False
            handed = self._event()
            users.waiting.append(handed)
        try:
            handed.wait(timeout_s)
        except BaseException:
            # Interrupted: what was handed over meanwhile goes to the next one.
            if not self._gives_up(key, handed):
                self.release(key)
            raise
        return handed.is_set() or not self._gives_up(key, handed)

    def _gives_up(self, key: str, handed: Any) -> bool:
        """Leave the queue; False when a permit was handed over in the last moment."""
        with self._lock:
            if handed.is_set():
                return False
            self._users[key].waiting.remove(handed)
            return True

    def _give_back(self, key: str) -> None:
        self._users[key].n -= 1
        self._hand_over(key)
        if not self._users[key].n:
            del self._users[key]

    def _hand_over(self, key: str) -> None:
        users = self._users.get(key)
        while users and users.waiting and users.n < self._limit(key):
            users.n += 1
            users.waiting.popleft().set()

    def _limit(self, key: str) -> int:
        return self._limits.get(key, self._default)


class Slot:
    """A permit of a `KeyedLimiter` for the body of a `with`."""

    def __init__(self, limiter: KeyedLimiter, key: str):
        self.limiter = limiter
        self.key = key

    def __enter__(self) -> Slot:
        self.limiter.acquire(self.key)
        return self

    def __exit__(self, *failure: Any) -> None:
        self.limiter.release(self.key)


def _checked(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f'a limit must be a whole number above 0, got {limit!r}')
    return limit


def host_key(url: str) -> str:
    """Return the host of a URL in lower case, with the port where it is not the scheme's own.

    >>> host_key('https://API.Crossref.org/works?x=1'), host_key('http://localhost:8080')
    ('api.crossref.org', 'localhost:8080')
    """
    found = re.match(r'\s*(?:([A-Za-z][A-Za-z0-9+.-]*):)?//', url)
    scheme = (found.group(1) or '').lower() if found else ''
    rest = url[found.end():] if found else url.strip()
    authority = re.split(r'[/?#\\]', rest, maxsplit=1)[0].rpartition('@')[2].strip().lower()
    host, port = _split_port(authority)
    host = host.rstrip('.')
    return host if port in ('', _PORTS.get(scheme)) else f'{host}:{port}'


def _split_port(authority: str) -> Tuple[str, str]:
    """Return host and port; colons inside an IPv6 address belong to it."""
    found = re.match(r'(\[.*\]|[^:]*):([0-9]*)$', authority)
    return (found.group(1), found.group(2).lstrip('0')) if found else (authority, '')
