"""Work on a queue with threads: one leases, one keeps the leases alive, some work."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import Any
from typing import Callable
from typing import Deque
from typing import Dict
from typing import List
from typing import Mapping
from typing import Optional

from stagerunner.clock import Clock
from stagerunner.limits import KeyedLimiter
from stagerunner.settings import load
from stagerunner.work.worker import Worker

#: How long the dispatcher waits before it looks for work again, growing while there is none.
_SOON_S, _LATER_S = 0.02, 1.0

#: Who wants to know how many entries are where is told so often at most.
_TOLD_S = 1.0

#: A resolver that has no limit of its own.
_PLENTY = 1_000_000


class OrchestratorConfig:
    """How many at once, and the times of leases and retries in seconds; checked when made."""

    def __init__(self, max_workers: int = 8,
                 max_per_resolver: Optional[Mapping[str, int]] = None, max_per_host: int = 4,
                 lease_ttl_seconds: float = 600, heartbeat_seconds: float = 30,
                 max_job_attempts: int = 3, retry_backoff_seconds: float = 60,
                 jitter_seconds: float = 15):
        self.max_workers = max_workers
        self.max_per_resolver = dict(max_per_resolver or {})
        self.max_per_host = max_per_host
        self.lease_ttl_seconds = lease_ttl_seconds
        self.heartbeat_seconds = heartbeat_seconds
        self.max_job_attempts = max_job_attempts
        self.retry_backoff_seconds = retry_backoff_seconds
        self.jitter_seconds = jitter_seconds
        for name in ('max_workers', 'max_per_host', 'max_job_attempts'):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be a whole number above 0, got {value!r}')
        if heartbeat_seconds <= 0 or retry_backoff_seconds < 0 or jitter_seconds < 0:
            raise ValueError('heartbeat_seconds must be above 0, and retry_backoff_seconds and '
                             'jitter_seconds not below 0')
        # Three times 0.1 is a little more than 0.3.
        if lease_ttl_seconds * 1.000001 < 3 * heartbeat_seconds:
            raise ValueError(f'lease_ttl_seconds must be at least three times heartbeat_seconds, '
                             f'got {lease_ttl_seconds:g} and {heartbeat_seconds:g}')

    @classmethod
    def from_file(cls, path: str) -> OrchestratorConfig:
        """Return what `queue` of a `pipeline_config.json` says, or raise all of its faults."""
        return cls(**load(path).queue._asdict())


class Orchestrator:
    """Leases from `queue` and runs what it gets through `pipeline`, whose calls are in threads.

    At most twice as many entries as workers are held at a time, those in work
    included.  An error of the queue itself (a full disk) ends all of it, and
    is raised by `stop` or `drain`.  While it runs, `on_stats` is called with
    what `queue.stats()` returns, at most once a second, by the thread that leases.
    """

    def __init__(self, config: OrchestratorConfig, queue: Any, pipeline: Any, *,
                 on_stats: Optional[Callable[[Dict[str, int]], None]] = None):
        import threading

        self.config = config
        self.queue = queue
        self.pipeline = pipeline
        self.worker_id = f'{os.getpid()}-{os.urandom(4).hex()}'
        resolvers = KeyedLimiter(_PLENTY, config.max_per_resolver)
        hosts = KeyedLimiter(config.max_per_host)
        self.workers = [
            Worker(f'{self.worker_id}-{number}', queue, pipeline, resolvers, hosts,
                   config.heartbeat_seconds, config.max_job_attempts,
                   config.retry_backoff_seconds, config.jitter_seconds)
            for number in range(config.max_workers)]
        #: It gives back what came too late for the others.
        self._idle = Worker(self.worker_id, queue, pipeline)
        self._idle.stop()
        self._on_stats = on_stats
        self._told_s = -math.inf
        self._clock = Clock()
        self._thread = threading.Thread
        self._threads: List[Any] = []
        #: Guards all below, and wakes everybody when any of it changed.
        self._changed = threading.Condition()
        self._pending: Deque[Dict[str, Any]] = deque()
        self._n_held = 0
        self._is_stopping = False
        #: Nothing comes any more: the dispatcher has ended.
        self._is_over = False
        self._error: Optional[BaseException] = None

    def start(self) -> None:
        """Begin to work; once only."""
        if self._threads or self._is_stopping:
            raise ValueError('an orchestrator is started once; make another one')
        loops: List[Callable[[], None]] = [self._dispatch, self._keep_alive]
        loops += [self._loop_of(worker) for worker in self.workers]
        # Nobody has to wait for them at the end of the program: leases outlive it.
        self._threads = [self._thread(target=self._guarded, args=(loop,), daemon=True)
                         for loop in loops]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: Optional[float] = None) -> bool:
        """Lease no more, hand back what nobody began, and wait for the rest.

        Returns False when some of it still runs after `timeout` seconds.  It
        runs on then, and its leases are kept alive.
        """
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for worker in self.workers:
            worker.stop()
        due_s = None if timeout is None else self._clock.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if due_s is None else max(0.0, due_s - self._clock.monotonic()))
        if self._error is not None:
            raise self._error
        return not any(thread.is_alive() for thread in self._threads)

    def drain(self, timeout: Optional[float] = None) -> bool:
        """Work until the queue has nothing left to do, then stop; False when time ran out first.

        Starts the work where that was not done.  Entries that wait for a retry
        are waited for, and those that other processes hold; a paused queue is not.
        """
        if not self._threads:
            self.start()
        due_s = None if timeout is None else self._clock.monotonic() + timeout
        is_empty = self._is_empty()
        while not is_empty and (due_s is None or self._clock.monotonic() < due_s):
            with self._changed:
                if self._is_stopping:
                    break
                self._changed.wait(_SOON_S)
            is_empty = self._is_empty()
        rest_s = None if due_s is None else max(0.0, due_s - self._clock.monotonic())
        return self.stop(rest_s if not is_empty else None) and is_empty

    def _is_empty(self) -> bool:
        with self._changed:
            if self._n_held:
                return False
        stats = self.queue.stats()
        return not stats['queued'] + stats['in_progress'] or bool(self.queue.is_paused())

    # -- threads ---------------------------------------------------------------------

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:
            with self._changed:
                self._error = self._error or error
                self._is_stopping = True
                self._changed.notify_all()

    def _dispatch(self) -> None:
        try:
            self._hand_out()
        finally:
            with self._changed:
                self._is_over = self._is_stopping = True
                left = list(self._pending)
                self._pending.clear()
                self._n_held -= len(left)
                self._changed.notify_all()
        for job in left:
            self._idle.run_one(job)

    def _hand_out(self) -> None:
        config, wait_s = self.config, _SOON_S
        while True:
            self._tell()
            with self._changed:
                if self._is_stopping:
                    break
                n_free = 2 * config.max_workers - self._n_held
                if not n_free:
                    self._changed.wait(_TOLD_S if self._on_stats else None)
                    continue
            jobs = self.queue.lease(self.worker_id, n_free, config.lease_ttl_seconds,
                                    config.max_job_attempts)
            with self._changed:
                self._pending.extend(jobs)
                self._n_held += len(jobs)
                self._changed.notify_all()
                wait_s = _SOON_S if jobs else min(2 * wait_s, _LATER_S)
                if not jobs and not self._is_stopping:
                    self._changed.wait(wait_s)

    def _tell(self) -> None:
        now_s = self._clock.monotonic()
        if self._on_stats is not None and now_s - self._told_s >= _TOLD_S:
            self._told_s = now_s
            self._on_stats(self.queue.stats())

    def _keep_alive(self) -> None:
        due_s = self._clock.monotonic() + self.config.heartbeat_seconds
        while True:
            with self._changed:
                if self._is_stopping and (not self._n_held or self._error):
                    return
                self._changed.wait(max(0.0, due_s - self._clock.monotonic()))
            if self._clock.monotonic() >= due_s:
                self.queue.heartbeat(self.worker_id, self.config.lease_ttl_seconds)
                due_s = self._clock.monotonic() + self.config.heartbeat_seconds

    def _loop_of(self, worker: Worker) -> Callable[[], None]:
        def loop() -> None:
            while True:
                with self._changed:
                    while not self._pending and not self._is_over:
                        self._changed.wait()
                    if not self._pending:
                        return
                    job = self._pending.popleft()
                try:
                    # A worker that was told to stop hands it back.
                    worker.run_one(job)
                finally:
                    with self._changed:
                        self._n_held -= 1
                        self._changed.notify_all()
        return loop
