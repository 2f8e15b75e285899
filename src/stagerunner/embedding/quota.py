"""Tokens for calls within one program."""

from __future__ import annotations

from typing import Any
from typing import Dict

from stagerunner.limits import TokenBucket


class SimpleQuotaManager(TokenBucket):
    """At most `rate` calls at once, refilled evenly with `rate` per `per_seconds`.

    For any number of threads.  The bucket starts full.

    >>> quota = SimpleQuotaManager(rate=2, per_seconds=60)
    >>> [quota.consume(wait=False) for _ in range(3)]
    [True, True, False]
    >>> quota.get_stats()['throttle_count']
    1
    """

    def __init__(self, rate: float = 60, per_seconds: float = 60, **parts: Any):
        super().__init__(rate, per_seconds, **parts)

    def get_stats(self) -> Dict[str, float]:
        """Return the figures, which are attributes too (`allowance` for the current one)."""
        return {'rate': self.rate, 'per_seconds': self.per_seconds,
                'current_allowance': self.allowance, 'consumed_count': self.consumed_count,
                'throttle_count': self.throttle_count}
