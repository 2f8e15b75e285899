"""One queue entry: take the permits it needs, run it, and finish it or queue it again."""

from __future__ import annotations

import json
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional
from typing import Tuple

from stagerunner.errors import LeaseLost
from stagerunner.limits import host_key
from stagerunner.records import NamedTuple
from stagerunner.retry import PERMANENT
from stagerunner.retry import classify_text

#: What became of an entry, beside the outcomes that it can be finished with.
RETRY, LOST, HANDED_BACK = 'retry', 'lost', 'handed back'

#: What a pipeline may answer, and how the entry is finished then.
_OUTCOMES = {'ok': 'done', 'skip': 'skipped', 'skipped': 'skipped', 'error': 'error'}

#: The wait is not doubled more often than this.
_DOUBLINGS = 20


class _Answer(NamedTuple):
    """How to finish an entry, or `RETRY`, and what to note as its error."""

    outcome: str
    error: Optional[str] = None


class Worker:
    """Runs entries of a queue through `pipeline`, any object with `process(artifact)`.

    That returns `'ok'`, `'skip'` or `'error'`, or an object with `ok`,
    `classification` and `reason`.  An exception is tried again later, unless
    its text says that it would come again.
    """

    def __init__(self, worker_id: str, queue: Any, pipeline: Any,  # noqa: PLR0913 - the contract
                 resolver_limiter: Any = None, host_limiter: Any = None,
                 heartbeat_sec: float = 30, max_job_attempts: int = 3,
                 retry_backoff: float = 60, jitter: float = 15):
        self.worker_id = worker_id
        self.queue = queue
        self.pipeline = pipeline
        self.resolver_limiter = resolver_limiter
        self.host_limiter = host_limiter
        self.heartbeat_sec = heartbeat_sec
        self.max_job_attempts = max_job_attempts
        self.retry_backoff = retry_backoff
        self.jitter = jitter
        self._is_stopped = False

    def stop(self) -> None:
        """Begin nothing any more: entries that come are handed back."""
        self._is_stopped = True

    def run_one(self, job: Dict[str, Any]) -> str:
        """Work on an entry as `lease` gave it; return how it was finished, or what became of it.

        What was lost to somebody else meanwhile is left to him.
        """
        try:
            if self._is_stopped:
                return self._hand_back(job)
            try:
                artifact = json.loads(job['artifact_json'])
            except (TypeError, ValueError) as error:
                return self._finish(job, _Answer('error', f'its artifact is not JSON: {error}'))
            permits: List[Tuple[Any, str]] = []
            try:
                for limiter, key in self._needs(job, artifact):
                    limiter.acquire(key)
                    permits.append((limiter, key))
                if self._is_stopped:
                    return self._hand_back(job)
                answer = _ask(self.pipeline.process, artifact)
            finally:
                for limiter, key in reversed(permits):
                    limiter.release(key)
            return self._finish(job, answer)
        except LeaseLost:
            return LOST

    def _needs(self, job: Dict[str, Any], artifact: Any) -> List[Tuple[Any, str]]:
        """Return what to take before the work, everybody in the same order."""
        url = artifact.get('url') if isinstance(artifact, dict) else None
        host = host_key(url) if isinstance(url, str) else ''
        needs = ((self.resolver_limiter, job.get('resolver_hint')), (self.host_limiter, host))
        return [(limiter, key) for limiter, key in needs if limiter is not None and key]

    def _finish(self, job: Dict[str, Any], answer: _Answer) -> str:
        if answer.outcome != RETRY:
            self.queue.ack(job['id'], answer.outcome, last_error=answer.error, **_token(job))
        else:
            self.queue.fail_and_retry(job['id'], self._backoff_s(int(job.get('attempts') or 1)),
                                      self.max_job_attempts, answer.error, **_token(job))
        return answer.outcome

    def _hand_back(self, job: Dict[str, Any]) -> str:
        self.queue.hand_back(job['id'], **_token(job))
        return HANDED_BACK

    def _backoff_s(self, attempts: int) -> float:
        import random

        doubled = float(2 ** min(max(attempts - 1, 0), _DOUBLINGS))
        return self.retry_backoff * doubled + random.uniform(0, self.jitter)


def _token(job: Dict[str, Any]) -> Dict[str, str]:
    return {'token': job['token']} if job.get('token') else {}


def _ask(process: Callable[[Any], Any], artifact: Any) -> _Answer:
    """Call what is not ours: all that it raises is an answer, `sys.exit` too."""
    try:
        said = process(artifact)
    except (Exception, SystemExit) as error:
        text = f'{type(error).__name__}: {error}'
        return _Answer('error' if classify_text(text) == PERMANENT else RETRY, text)
    named: Any
    if isinstance(said, str):
        named, is_ok, reason = said, False, None
    else:
        named = getattr(said, 'classification', None)
        is_ok = getattr(said, 'ok', False) is True
        reason = getattr(said, 'reason', None)
    outcome = _OUTCOMES.get(str(getattr(named, 'value', named)).lower())
    if outcome is None or is_ok:
        outcome = outcome if outcome == 'skipped' else 'done' if is_ok else 'error'
    if outcome == 'error' and reason is None:
        is_plain = isinstance(said, str) and said.lower() == 'error'
        reason = 'error' if is_plain else f'the pipeline returned {said!r}'
    return _Answer(outcome, None if reason is None or outcome == 'done' else str(reason))
