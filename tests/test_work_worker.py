"""One entry: permits taken and given back, the answer understood, the entry finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional

import pytest

from fakes import FakeClock
from stagerunner.limits import KeyedLimiter
from stagerunner.work.store import WorkQueue
from stagerunner.work.worker import Worker


class Answer(NamedTuple):
    ok: bool
    classification: Any = None
    reason: Optional[str] = None


class Pipeline:
    """Calls a function for each artifact."""

    def __init__(self, act: Callable[[Any], Any]):
        self.process = act


@pytest.fixture
def queue(tmp_path: Path, clock: FakeClock) -> Iterator[WorkQueue]:
    queue = WorkQueue(str(tmp_path / 'queue.db'), clock=clock, boot='one')
    yield queue
    queue.close()


def lease(queue: WorkQueue, artifact: Any = 1, hint: Optional[str] = None) -> Dict[str, Any]:
    queue.enqueue('a', artifact, resolver_hint=hint)
    job, = queue.lease('w', 1, 60)
    return job


def last_error(queue: WorkQueue) -> Any:
    import sqlite3

    connection = sqlite3.connect(queue.path)
    try:
        return connection.execute('SELECT last_error FROM jobs').fetchone()[0]
    finally:
        connection.close()


def raising(error: BaseException) -> Callable[[Any], Any]:
    def act(artifact: Any) -> Any:
        raise error
    return act


@pytest.mark.parametrize(('answer', 'outcome', 'error'), [
    pytest.param('ok', 'done', None, id='ok'),
    pytest.param('skip', 'skipped', None, id='skip'),
    pytest.param('error', 'error', 'error', id='error'),
    pytest.param(Answer(True), 'done', None, id='object-ok'),
    pytest.param(Answer(True, 'skip', 'known'), 'skipped', 'known', id='object-skip'),
    pytest.param(Answer(False, 'skipped'), 'skipped', None, id='object-skipped'),
    pytest.param(Answer(False, 'timeout', 'too slow'), 'error', 'too slow', id='object-error'),
    pytest.param(Answer(False), 'error', 'the pipeline returned Answer(ok=False, '
                 'classification=None, reason=None)', id='object-without-reason'),
    pytest.param(None, 'error', 'the pipeline returned None', id='nothing'),
    pytest.param('what', 'error', "the pipeline returned 'what'", id='unknown-word'),
])
def test_an_answer_finishes_the_entry(queue, answer, outcome, error):
    seen: List[Any] = []
    worker = Worker('w', queue, Pipeline(lambda artifact: seen.append(artifact) or answer))

    assert worker.run_one(lease(queue, {'x': 1})) == outcome

    assert seen == [{'x': 1}]
    assert queue.stats()[outcome] == 1
    assert last_error(queue) == error


@pytest.mark.parametrize('error', [OSError('Connection timeout'), KeyError('x'), SystemExit(1)])
def test_an_exception_that_may_pass_is_tried_again_later(queue, clock, error):
    worker = Worker('w', queue, Pipeline(raising(error)), retry_backoff=10, jitter=5)

    assert worker.run_one(lease(queue)) == 'retry'

    clock.advance(9.9)
    assert queue.lease('w', 1, 60) == []
    clock.advance(5.2)
    job, = queue.lease('w', 1, 60)
    assert job['attempts'] == 2
    worker.run_one(job)
    clock.advance(19.9)
    assert queue.lease('w', 1, 60) == []


def test_the_last_attempt_ends_in_error(queue):
    worker = Worker('w', queue, Pipeline(raising(OSError('timeout'))), max_job_attempts=1)

    worker.run_one(lease(queue))

    assert (queue.stats()['error'], last_error(queue)) == (1, 'OSError: timeout')


@pytest.mark.parametrize('error', [FileNotFoundError('no such file'), SyntaxError('syntax error')])
def test_an_exception_that_would_come_again_ends_in_error(queue, error):
    worker = Worker('w', queue, Pipeline(raising(error)))

    assert worker.run_one(lease(queue)) == 'error'


def test_what_no_worker_catches_leaves_the_lease_to_run_out(queue):
    limiter = KeyedLimiter(1)
    worker = Worker('w', queue, Pipeline(raising(KeyboardInterrupt())), limiter)

    with pytest.raises(KeyboardInterrupt):
        worker.run_one(lease(queue, hint='r'))

    assert queue.stats()['in_progress'] == 1
    assert limiter.try_acquire('r')


def test_permits_of_resolver_and_host_are_held_for_the_work_only(queue):
    resolvers, hosts = KeyedLimiter(1), KeyedLimiter(1)

    def act(artifact: Any) -> str:
        assert not resolvers.try_acquire('unpaywall')
        assert not hosts.try_acquire('api.crossref.org')
        return 'ok'
    worker = Worker('w', queue, Pipeline(act), resolvers, hosts)

    job = lease(queue, {'url': 'https://API.Crossref.org/works'}, 'unpaywall')
    assert worker.run_one(job) == 'done'

    assert resolvers.try_acquire('unpaywall') and hosts.try_acquire('api.crossref.org')


def test_a_permit_is_given_back_when_the_second_cannot_be_had(queue):
    class Broken:
        def acquire(self, key: str) -> None:
            raise OSError('no more')
    resolvers = KeyedLimiter(1)
    worker = Worker('w', queue, Pipeline(raising(AssertionError())), resolvers, Broken())

    with pytest.raises(OSError, match='no more'):
        worker.run_one(lease(queue, {'url': 'http://x'}, 'r'))

    assert resolvers.try_acquire('r')


def test_an_entry_that_somebody_else_got_meanwhile_is_left_to_him(queue, clock):
    def act(artifact: Any) -> str:
        clock.advance(61)
        assert queue.lease('other', 1, 60)
        return 'ok'
    worker = Worker('w', queue, Pipeline(act))

    assert worker.run_one(lease(queue)) == 'lost'

    assert (queue.stats()['in_progress'], queue.refused()) == (1, 1)


def test_without_a_token_the_one_of_the_queue_object_counts(queue):
    job = lease(queue)
    del job['token']

    assert Worker('w', queue, Pipeline(lambda artifact: 'ok')).run_one(job) == 'done'


def test_an_artifact_that_is_no_json_ends_in_error(queue):
    job = dict(lease(queue), artifact_json='{')

    assert Worker('w', queue, Pipeline(raising(AssertionError()))).run_one(job) == 'error'
    assert 'is not JSON' in last_error(queue)


def test_a_stopped_worker_hands_back_what_comes(queue):
    worker = Worker('w', queue, Pipeline(raising(AssertionError())))
    worker.stop()

    assert worker.run_one(lease(queue)) == 'handed back'
    assert queue.lease('w', 1, 60)[0]['attempts'] == 1


def test_a_worker_that_is_stopped_while_it_waits_for_a_permit_hands_back(queue):
    class Stopping(KeyedLimiter):
        def acquire(self, key: str) -> None:
            super().acquire(key)
            worker.stop()
    limiter = Stopping(1)
    worker = Worker('w', queue, Pipeline(raising(AssertionError())), limiter)

    assert worker.run_one(lease(queue, hint='r')) == 'handed back'
    assert limiter.try_acquire('r')
