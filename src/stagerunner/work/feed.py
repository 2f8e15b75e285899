"""Feed the engine of a run with entries of the durable queue, and finish them by what came of it.

An entry is leased when there is room for it, for a time that is prolonged as
long as it is held.  How it ends follows from the results of its tasks
(`conclude`); the queue's attempts are the attempts, a stage has one per lease.

**The fence.**  Each entry is known to be ours until `until_s`, a moment that
was computed before the queue was asked, so it never lies after the one at
which the queue hands the entry to somebody else.  Nothing is published later
than that unless the queue was asked again.  Publishing takes a moment too;
what makes that harmless is the lock of the entry, which whoever gets the lease
has to wait for (`work.holds`).
"""

from __future__ import annotations

import json
import re
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner import retry
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import FAILED
from stagerunner.errors import LeaseLost
from stagerunner.events import EntryEnded
from stagerunner.events import Event
from stagerunner.events import QueueCounted
from stagerunner.events import Warned
from stagerunner.feeding import Intake
from stagerunner.feeding import Member
from stagerunner.items import entry_item
from stagerunner.limits import host_key
from stagerunner.permits import HOST
from stagerunner.permits import RESOLVER
from stagerunner.records import NamedTuple
from stagerunner.result import BROKEN
from stagerunner.result import SKIPPED
from stagerunner.result import Result
from stagerunner.settings import QueueSettings
from stagerunner.state.run import is_dead
from stagerunner.work.entries import FINISHED
from stagerunner.work.store import WorkQueue

#: How an entry can leave this run beside the ways in which it is finished.
RETRY, HANDED_BACK, LOST = 'retry', 'handed back', 'lost'

#: How long to wait before looking for work again, growing while there is none, in seconds.
_SOON_S, _LATER_S = 0.02, 1.0

#: The counts of the queue are told no more often than this, in seconds.
_COUNT_S = 1.0

#: Between two looks for leases of runs that are dead lie so many seconds.
_BURY_S = 5.0

#: An entry that this run is still letting go of is given back for so long, in seconds.
_AGAIN_S = 1.0

#: A wait is not doubled more often than this.
_DOUBLINGS = 20


class Asked(NamedTuple):
    """How long a run works on the queue: on `limit` entries, or (`drains`) until it is empty."""

    workers: int
    drains: bool = False
    limit: Optional[int] = None


class Runner(NamedTuple):
    """Who leases: a run, in a process, on a host."""

    host: str
    pid: int
    run_id: str

    @property
    def name(self) -> str:
        """The name under which the queue knows it."""
        return f'{self.host}:{self.pid}:{self.run_id}'


def runner_of(name: str) -> Optional[Runner]:
    """Return whose name this is, None where it is not that of a run.

    >>> runner_of('h:7:r1'), runner_of('worker-3')
    (Runner(host='h', pid=7, run_id='r1'), None)
    """
    found = re.fullmatch(r'(.*):([0-9]+):([^:]+)', name)
    return Runner(found.group(1), int(found.group(2)), found.group(3)) if found else None


class Conclusion(NamedTuple):
    """How an entry is finished."""

    outcome: str
    error: Optional[str] = None
    delay_s: float = 0.0


def conclude(member: Member) -> Conclusion:
    """Return how an entry ends, by the results of its tasks in this lease; pure.

    `skipped` is one of which nothing had to be done when it was first handed
    out: what an earlier lease of it did is work that was done for it.
    """
    failure = member.failure
    if failure is not None and failure.exit_code == FAILED:
        return Conclusion('error', error_of(failure))
    if failure is not None or member.is_cut_short:
        # A disk that is full, or a run that was asked to end, is no failure of the entry.
        return Conclusion(HANDED_BACK, error_of(failure) if failure else None)
    if member.delay_s is not None:
        broken = next(result for result in member.results if result.status == BROKEN)
        return Conclusion(RETRY, error_of(broken), member.delay_s)
    if member.attempt == 1 and all(result.status == SKIPPED for result in member.results):
        return Conclusion('skipped')
    return Conclusion('done')


def error_of(result: Result) -> str:
    """Return what is kept with the entry."""
    return f'{result.task.stage.name}: {result.error}'


def verdict_of(result: Result, attempt: int, settings: QueueSettings,
               spread: float) -> retry.Verdict:
    """Say whether a failed attempt is worth another lease, and after how long; pure.

    `spread` is a random number from -1 to 1.  Formula: `retry_backoff_seconds`
    doubled with each attempt, plus up to `jitter_seconds` (contract, queue),
    unless the processor asked for another wait.
    """
    if result.exit_code != FAILED:
        return retry.Verdict(None, 'not a matter of trying again')
    policy = result.task.stage.retry._replace(max_attempts=settings.max_job_attempts)
    verdict = retry.decide(attempt, result.error_class, policy)
    if verdict.delay_s is None:
        return verdict
    if result.retry_after_s is not None:
        return verdict._replace(delay_s=result.retry_after_s)
    doubled = float(2 ** min(attempt - 1, _DOUBLINGS))
    return verdict._replace(delay_s=settings.retry_backoff_seconds * doubled
                            + settings.jitter_seconds * (spread + 1) / 2)


class _Held:
    """An entry that is leased to this run."""

    def __init__(self, job: Mapping[str, Any], member: Member, until_s: float):
        self.id: int = job['id']
        self.token: str = job['token']
        self.member = member
        self.until_s = until_s


class QueueFeed(Intake):
    """Leases entries, keeps the leases, and finishes them; `close` it when the run is over."""

    def __init__(self, queue: WorkQueue, settings: QueueSettings, clock: Clock,
                 spread: Callable[[], float], runner: Runner, root: str, asked: Asked):
        self.queue = queue
        self.settings = settings
        self.clock = clock
        self.spread = spread
        self.runner = runner
        self.root = root
        self.asked = asked
        self.collections: Sequence[str] = ()
        self.held: Dict[str, _Held] = {}
        self.just_lost: List[Member] = []
        self.n_leased = 0
        self.is_drained = False
        #: Something is to be worked on beside nothing else (`_choose`).
        self.is_wary = False
        #: How many entries left this run in which way.
        self.counts: Dict[str, int] = {}
        self.pause_s = _SOON_S
        self.look_s = self.beat_s = self.count_s = self.bury_s = clock.monotonic()
        self.told: Dict[str, int] = {}
        self.has_told = False

    # -- coming in -----------------------------------------------------------------

    def take(self, room: int) -> List[Member]:
        now = self.clock.monotonic()
        if self.held and now >= self.beat_s:
            self._beat()
        n = self._appetite(room)
        if not n or now < self.look_s:
            return []
        if now >= self.bury_s:
            self.bury_s = now + _BURY_S
            self._bury_the_dead()
        jobs = self._choose(self.queue.lease(
            self.runner.name, n, self.settings.lease_ttl_seconds, self.settings.max_job_attempts))
        members = [member for member in (self._hold(job, now) for job in jobs)
                   if member is not None]
        self.has_told = self.has_told and not members
        self.pause_s = _SOON_S if members else min(2 * self.pause_s, _LATER_S)
        self.look_s = now if members else now + self.pause_s
        if not (jobs or self.held) and self.asked.drains:
            self.is_drained = self._is_empty()
        return members

    def _choose(self, jobs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Let an entry have its last attempt alone when a runner died, or hung, of an earlier one.

        One of those that the runner had in hand was to blame, and would else
        take the others along into `error`.
        """
        suspects = [job for job in jobs if self._is_suspect(job)]
        self.is_wary = bool(suspects)
        if not suspects:
            return jobs
        chosen = [] if self.held else suspects[:1]
        for job in jobs:
            if job not in chosen:
                self.queue.hand_back(job['id'], job['token'])
        return chosen

    def _is_suspect(self, job: Mapping[str, Any]) -> bool:
        return 1 < job['attempts'] >= self.settings.max_job_attempts and any(
            attempt.outcome == 'lost' for attempt in self.queue.attempts(job['id']))

    def _bury_the_dead(self) -> None:
        """Wait for no lease of a run that is known to be dead: nobody holds the lock of its id.

        Its orphans, if there are any, hold the locks of their entries.
        """
        for name in self.queue.workers():
            other = runner_of(name)
            if other is None or other == self.runner or other.host != self.runner.host:
                continue
            # Of two with the same id only one is alive: this one.
            if other.run_id == self.runner.run_id or is_dead(self.root, other.run_id):
                self.queue.end_leases(name)

    def _appetite(self, room: int) -> int:
        """Return how many entries to ask for: no more than can be begun, or soon."""
        n = 0 if self.is_wary and self.held else min(room, 2 * self.asked.workers - len(self.held))
        if self.asked.limit is not None:
            n = min(n, self.asked.limit - self.n_leased)
        return 0 if self.is_drained else max(0, n)

    def _hold(self, job: Mapping[str, Any], asked_at_s: float) -> Optional[Member]:
        name = job['artifact_id']
        if name in self.held:
            # It was lost, and what this run did for it is still being ended.
            self.queue.hand_back(job['id'], job['token'], _AGAIN_S)
            return None
        if not self.held:
            self.beat_s = asked_at_s + self._beat_every_s
        artifact = json.loads(job['artifact_json'])
        limits = limits_of(job['resolver_hint'], artifact, self.settings)
        items = {collection: entry_item(self.root, collection, name, artifact, limits)
                 for collection in self.collections}
        member = Member(name, items, job['attempts'])
        self.held[name] = _Held(job, member, asked_at_s + self.settings.lease_ttl_seconds)
        self.n_leased += 1
        return member

    def _is_empty(self) -> bool:
        stats = self.queue.stats()
        return not stats['queued'] + stats['in_progress'] or self.queue.is_paused()

    def is_over(self) -> bool:
        limit = self.asked.limit
        is_full = limit is not None and self.n_leased >= limit
        return not self.held and (self.is_drained or is_full)

    def wait_s(self, room: int) -> Optional[float]:
        due = [self.look_s] if self._appetite(room) else []
        due += [self.beat_s] if self.held else []
        return max(0.0, min(due) - self.clock.monotonic()) if due else None

    # -- keeping -------------------------------------------------------------------

    @property
    def _beat_every_s(self) -> float:
        return min(self.settings.heartbeat_seconds, self.settings.lease_ttl_seconds / 3)

    def _beat(self) -> None:
        """Prolong all leases, and find out which are lost."""
        now = self.clock.monotonic()
        self.queue.heartbeat(self.runner.name, self.settings.lease_ttl_seconds)
        for held in self.held.values():
            if self.queue.holds(held.id, held.token):
                held.until_s = now + self.settings.lease_ttl_seconds
            elif not held.member.is_lost:
                held.member.is_lost = True
                self.just_lost.append(held.member)
        self.beat_s = now + self._beat_every_s

    def lost(self) -> List[Member]:
        lost, self.just_lost = self.just_lost, []
        return lost

    def is_ours(self, name: str) -> bool:
        """True when what was done for an entry may be published."""
        held = self.held[name]
        if self.clock.monotonic() >= held.until_s:
            self._beat()
        return not held.member.is_lost

    # -- leaving -------------------------------------------------------------------

    def verdict(self, member: Member, result: Result) -> retry.Verdict:
        return verdict_of(result, member.attempt, self.settings, self.spread())

    def finish(self, members: Sequence[Member]) -> Sequence[Event]:
        """Finish entries by what came of their tasks; those that are through in one go."""
        ends = {member.name: Conclusion(LOST) if member.is_lost else conclude(member)
                for member in members}
        lost = self.queue.ack_many([
            {'id': self.held[name].id, 'token': self.held[name].token, 'outcome': end.outcome,
             'last_error': end.error}
            for name, end in ends.items() if end.outcome in FINISHED])
        return [self._ended(member, self._let_go(member.name, ends[member.name], lost))
                for member in members]

    def _let_go(self, name: str, end: Conclusion, lost: Sequence[int]) -> Conclusion:
        """Hold an entry no more, which is not through or finished already; return its end."""
        held = self.held.pop(name)
        try:
            if end.outcome == HANDED_BACK:
                self.queue.hand_back(held.id, held.token)
            elif end.outcome == RETRY:
                self.queue.fail_and_retry(held.id, end.delay_s, self.settings.max_job_attempts,
                                          end.error, held.token)
        except LeaseLost:
            return Conclusion(LOST)
        return Conclusion(LOST) if held.id in lost else end

    def _ended(self, member: Member, end: Conclusion) -> EntryEnded:
        self.counts[end.outcome] = self.counts.get(end.outcome, 0) + 1
        return EntryEnded(member.name, stamp(self.clock.now()), member.attempt, end.outcome,
                          end.error, end.delay_s if end.outcome == RETRY else None)

    def news(self) -> List[Event]:
        """Return the counts of the queue, at most once a second, when they have changed.

        And once, where somebody wants it to be drained, what that waits for.
        """
        now = self.clock.monotonic()
        if now < self.count_s:
            return []
        self.count_s = now + _COUNT_S
        counts = self.queue.stats()
        found: List[Event] = []
        if counts != self.told:
            self.told = counts
            found.append(QueueCounted(stamp(self.clock.now()), *(
                counts[name] for name in QueueCounted._fields[1:])))
        is_waiting = self.asked.drains and not (self.held or self.is_drained)
        if is_waiting and not self.has_told and self.pause_s >= _LATER_S:
            self.has_told = True
            found.append(Warned('', f"waits for what is left: {counts['in_progress']} entries in "
                                    f"other hands, {counts['queued']} that are due later"))
        return found

    def close(self) -> None:
        """Give back what is held still: the run ended in the middle."""
        for held in self.held.values():
            try:
                self.queue.hand_back(held.id, held.token)
            except LeaseLost:
                continue
        self.held = {}
        self.queue.close()


def limits_of(hint: Optional[str], artifact: Any, settings: QueueSettings) -> Tuple[str, ...]:
    """Return the keys of the limits that the tasks of an entry take: its resolver and its host."""
    url = artifact.get('url') if isinstance(artifact, dict) else None
    host = host_key(url) if isinstance(url, str) else ''
    resolver = (RESOLVER + hint,) if hint and hint in settings.max_per_resolver else ()
    return (*resolver, *((HOST + host,) if host else ()))
