"""Many entries at once: all done, limits kept, leases kept alive, and an end in good order."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from typing import Iterator
from typing import List

import pytest

from stagerunner.errors import DefinitionError
from stagerunner.errors import StateError
from stagerunner.work.orchestrator import Orchestrator
from stagerunner.work.orchestrator import OrchestratorConfig
from stagerunner.work.store import WorkQueue
from support import PATIENCE_S
from support import wait_until


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[WorkQueue]:
    queue = WorkQueue(str(tmp_path / 'queue.db'))
    yield queue
    queue.close()


class Collecting:
    """Notes what it was given, and how many at once."""

    def __init__(self) -> None:
        self.seen: List[Any] = []
        self.most = self._n = 0
        self._lock = threading.Lock()

    def process(self, artifact: Any) -> str:
        with self._lock:
            self._n += 1
            self.most = max(self.most, self._n)
            self.seen.append(artifact)
        self.act(artifact)
        with self._lock:
            self._n -= 1
        return 'ok'

    def act(self, artifact: Any) -> None:
        pass


class Blocking(Collecting):
    """Works until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def act(self, artifact: Any) -> None:
        assert self.go.wait(PATIENCE_S)


def fill(queue: WorkQueue, n: int, **values: Any) -> None:
    queue.enqueue_many(dict(values, artifact_id=f'e{number}', artifact=number)
                       for number in range(n))


@pytest.mark.parametrize(('values', 'said'), [
    ({'max_workers': 0}, 'max_workers'), ({'max_per_host': True}, 'max_per_host'),
    ({'max_job_attempts': 1.5}, 'max_job_attempts'),
    ({'heartbeat_seconds': 0}, 'heartbeat_seconds'),
    ({'jitter_seconds': -1}, 'jitter_seconds'),
    ({'lease_ttl_seconds': 89}, 'at least three times heartbeat_seconds, got 89 and 30'),
    ({'max_per_resolver': {'x': 0}}, 'limit'),
])
def test_a_config_that_makes_no_sense_is_refused(queue, values, said):
    with pytest.raises(ValueError, match=said):
        Orchestrator(OrchestratorConfig(**values), queue, Collecting())


@pytest.mark.slow
def test_its_config_can_come_from_a_file(tmp_path):
    path = tmp_path / 'pipeline_config.json'
    path.write_text('{"queue": {"max_workers": 2, "max_per_resolver": {"a": 1}}}')
    config = OrchestratorConfig.from_file(str(path))
    path.write_text('{"queue": {"max_workers": 0, "max_per_host": "x", "heartbeat_seconds": 300}}')

    assert (config.max_workers, config.max_per_resolver, config.lease_ttl_seconds) == (
        2, {'a': 1}, 600)
    with pytest.raises(DefinitionError) as refused:
        OrchestratorConfig.from_file(str(path))
    assert [fault.split(': ')[1] for fault in refused.value.faults] == [
        'queue.max_workers', 'queue.max_per_host', 'queue.heartbeat_seconds']


def test_everything_is_done_once_and_then_it_ends(queue):
    fill(queue, 30)
    pipeline = Collecting()

    assert Orchestrator(OrchestratorConfig(max_workers=3), queue, pipeline).drain() is True

    assert sorted(pipeline.seen) == list(range(30))
    assert queue.stats()['done'] == 30


def test_an_empty_queue_is_drained_at_once(queue):
    assert Orchestrator(OrchestratorConfig(), queue, Collecting()).drain() is True


def test_a_paused_queue_is_not_waited_for(queue):
    fill(queue, 1)
    queue.pause()

    assert Orchestrator(OrchestratorConfig(), queue, Collecting()).drain() is True
    assert queue.stats()['queued'] == 1


@pytest.mark.slow
def test_what_is_put_in_while_it_runs_is_found(queue):
    orchestrator = Orchestrator(OrchestratorConfig(max_workers=2), queue, Collecting())
    orchestrator.start()
    fill(queue, 3)

    wait_until(lambda: queue.stats()['done'] == 3)
    assert orchestrator.stop() is True


@pytest.mark.slow
def test_a_limit_of_a_resolver_is_kept(queue):
    fill(queue, 12, resolver_hint='unpaywall')
    pipeline = Collecting()
    config = OrchestratorConfig(max_workers=4, max_per_resolver={'unpaywall': 1})

    Orchestrator(config, queue, pipeline).drain()

    assert (pipeline.most, len(pipeline.seen)) == (1, 12)


def test_no_more_is_held_than_twice_the_workers_and_the_rest_is_handed_back(queue):
    fill(queue, 10)
    pipeline = Blocking()
    orchestrator = Orchestrator(OrchestratorConfig(max_workers=2), queue, pipeline)
    orchestrator.start()
    wait_until(lambda: queue.stats()['in_progress'] == 4 and len(pipeline.seen) == 2)

    assert orchestrator.stop(timeout=0.01) is False
    wait_until(lambda: queue.stats() == {'queued': 8, 'in_progress': 2, 'done': 0, 'skipped': 0,
                                         'error': 0, 'total': 10})
    pipeline.go.set()
    assert orchestrator.stop() is True
    assert queue.stats()['done'] == 2
    assert {job['attempts'] for job in queue.lease('w', 10, 60)} == {1}


def test_drain_ends_when_its_time_is_over(queue):
    fill(queue, 1)
    pipeline = Blocking()
    orchestrator = Orchestrator(OrchestratorConfig(), queue, pipeline)

    assert orchestrator.drain(timeout=0.05) is False
    pipeline.go.set()
    assert orchestrator.stop() is True


@pytest.mark.slow
def test_a_lease_is_kept_alive_for_longer_than_it_lasts(queue, tmp_path):
    """Whoever asks all the time does not get the entry, long after its first lease is over."""
    fill(queue, 1)
    pipeline = Blocking()
    config = OrchestratorConfig(max_workers=1, lease_ttl_seconds=3, heartbeat_seconds=0.05)
    orchestrator = Orchestrator(config, queue, pipeline)
    orchestrator.start()
    wait_until(lambda: pipeline.seen)

    def ends() -> str:
        return str(queue.entries()[0].lease_expires_at)
    first = ends()
    wait_until(lambda: ends() > first)

    pipeline.go.set()
    assert orchestrator.stop() is True
    assert queue.stats()['done'] == 1


def test_who_wants_to_know_is_told_how_many_entries_are_where(queue):
    """At once, and then a second apart: not with every entry that is handed out."""
    fill(queue, 20)
    told: List[Any] = []
    orchestrator = Orchestrator(OrchestratorConfig(max_workers=2), queue, Collecting(),
                                on_stats=told.append)
    began_s = time.monotonic()

    assert orchestrator.drain() is True

    assert told[0] == {'queued': 20, 'in_progress': 0, 'done': 0, 'skipped': 0, 'error': 0,
                       'total': 20}
    assert len(told) <= 1 + (time.monotonic() - began_s)


@pytest.mark.slow
def test_statistics_are_told_while_everybody_is_busy(queue):
    fill(queue, 3)
    told: List[Any] = []
    pipeline = Blocking()
    orchestrator = Orchestrator(OrchestratorConfig(max_workers=1), queue, pipeline,
                                on_stats=told.append)
    orchestrator.start()

    wait_until(lambda: told and told[-1]['in_progress'] == 2)
    pipeline.go.set()
    assert orchestrator.drain() is True


@pytest.mark.parametrize('name', ['lease', 'ack', 'heartbeat'])
def test_an_error_of_the_queue_ends_all_and_is_told(tmp_path, name):
    class Broken(WorkQueue):
        def fail(self, *args: Any, **named: Any) -> Any:
            raise StateError('queue.db', 'the disk is full')
    setattr(Broken, name, Broken.fail)
    queue = Broken(str(tmp_path / 'queue.db'))
    fill(queue, 3)
    pipeline = Blocking()
    if name == 'ack':
        pipeline.go.set()
    orchestrator = Orchestrator(OrchestratorConfig(
        max_workers=1, lease_ttl_seconds=3, heartbeat_seconds=0.01), queue, pipeline)
    orchestrator.start()
    wait_until(lambda: orchestrator._error)
    pipeline.go.set()

    with pytest.raises(StateError, match='the disk is full'):
        orchestrator.drain()
    queue.close()


def test_it_is_started_once(queue):
    orchestrator = Orchestrator(OrchestratorConfig(), queue, Collecting())
    orchestrator.start()
    with pytest.raises(ValueError, match='started once'):
        orchestrator.start()
    orchestrator.stop()


def test_the_public_face_offers_what_the_contract_names():
    from stagerunner import queue as face

    assert {'WorkQueue', 'JobState', 'Worker', 'Orchestrator', 'OrchestratorConfig',
            'KeyedLimiter', 'TokenBucket', 'host_key'} <= set(face.__all__)
    assert all(hasattr(face, name) for name in face.__all__)
