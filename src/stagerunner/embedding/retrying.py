"""Call a function again while its error may pass."""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import Optional
from typing import TypeVar

from stagerunner import retry
from stagerunner.sharing import pause

#: Delays of documents 000 and 001 vary by so much.
JITTER = 0.2

_Answer = TypeVar('_Answer')


class RetryHelper:
    """Repeats calls, with growing delays, up to a number of attempts."""

    @staticmethod
    def retry_with_backoff(func: Callable[[], _Answer], attempts: int = 3, base: float = 0.5,
                           factor: float = 2.0, max_delay: float = 60.0, jitter: bool = True,
                           error_classifier: Optional[Any] = None) -> _Answer:
        """Return what `func` returns, called up to `attempts` times.

        Before attempt n+1 it waits `base * factor^(n-1)` seconds, with
        `jitter` up to a fifth more or less, and `max_delay` at most.  With an
        `error_classifier` an error is tried again only if `should_retry` says
        so, without one always.  The last exception is raised unchanged.
        """
        if attempts < 1:
            raise ValueError(f'attempts must be at least 1, got {attempts!r}')
        policy = retry.RetryPolicy(attempts, base, factor, max_delay, JITTER if jitter else 0.0)
        return call(func, policy, error_classifier.should_retry if error_classifier else None)


def call(func: Callable[[], _Answer], policy: retry.RetryPolicy,
         is_worth_it: Optional[Callable[[Any], bool]] = None, *,
         wait: Callable[[float], None] = pause,
         spread: Optional[Callable[[], float]] = None) -> _Answer:
    """Return what `func` returns; `spread` gives random numbers from -1 to 1 for the jitter."""
    attempt = 1
    while True:
        try:
            return func()
        except Exception as error:
            is_hopeless = is_worth_it is not None and not is_worth_it(error)
            verdict = retry.decide(attempt, retry.PERMANENT if is_hopeless else retry.TRANSIENT,
                                   policy, (spread or _random)() if policy.jitter else 0.0)
            if verdict.delay_s is None:
                raise
        # Not inside the handler: whoever interrupts the wait sees no error of the call.
        wait(verdict.delay_s)
        attempt += 1


def _random() -> float:
    import random

    return random.uniform(-1.0, 1.0)
