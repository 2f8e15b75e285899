"""Programs embed the runner's classes: errors, retries, quotas, the checkpoint, many at once."""

import errno
import gc
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes import FakeClock
from stagerunner import orchestrator_v2
from stagerunner.embedding.retrying import call
from stagerunner.errors import StateError
from stagerunner.orchestrator_v2 import CheckpointManagerV2
from stagerunner.orchestrator_v2 import ErrorClassifier
from stagerunner.orchestrator_v2 import ErrorType
from stagerunner.orchestrator_v2 import ParallelPipelineCoordinator
from stagerunner.orchestrator_v2 import RetryHelper
from stagerunner.orchestrator_v2 import SimpleQuotaManager
from stagerunner.orchestrator_v2 import create_v2_config_defaults
from stagerunner.retry import RetryPolicy
from stagerunner.settings import parse
from support import CHECKOUT
from support import PATIENCE_S
from support import SOURCE
from support import run_process

TRANSIENT, PERMANENT, UNKNOWN = ErrorType.TRANSIENT, ErrorType.PERMANENT, ErrorType.UNKNOWN

GUIDE = CHECKOUT / 'docs' / 'orchestrator.md'


class HttpError(Exception):
    """An error of a library for HTTP, which keeps the status somewhere."""

    def __init__(self, **where):
        super().__init__('refused')
        self.__dict__.update(where)


# -- errors ------------------------------------------------------------------------

@pytest.mark.parametrize(('error', 'status', 'expected'), [
    pytest.param('', None, UNKNOWN, id='empty'),
    pytest.param('something odd', None, UNKNOWN, id='odd'),
    pytest.param('Connection timeout', None, TRANSIENT, id='time-out'),
    pytest.param('Rate limit exceeded', None, TRANSIENT, id='rate limit'),
    pytest.param('Network is unreachable', None, TRANSIENT, id='network'),
    pytest.param('a temporary failure', None, TRANSIENT, id='temporary'),
    pytest.param('SyntaxError: invalid syntax', None, PERMANENT, id='syntax'),
    pytest.param('No module named x', None, PERMANENT, id='import'),
    pytest.param('Authentication failed', None, PERMANENT, id='authentication'),
    pytest.param('Permission denied', None, PERMANENT, id='permission'),
    pytest.param('File not found', None, PERMANENT, id='file'),
    *[pytest.param('x', status, TRANSIENT, id=f'{status}')
      for status in (429, 500, 502, 503, 504)],
    *[pytest.param('x', status, PERMANENT, id=f'{status}') for status in (400, 401, 403, 404)],
    pytest.param('x', 418, UNKNOWN, id='418'),
    pytest.param('File not found', 503, TRANSIENT, id='the status decides'),
    pytest.param(TimeoutError(), None, TRANSIENT, id='TimeoutError'),
    pytest.param(ConnectionResetError('x'), None, TRANSIENT, id='ConnectionResetError'),
    pytest.param(FileNotFoundError('x'), None, PERMANENT, id='FileNotFoundError'),
    pytest.param(PermissionError('try again'), None, PERMANENT, id='the kind before the text'),
    pytest.param(ModuleNotFoundError('x'), None, PERMANENT, id='ModuleNotFoundError'),
    pytest.param(OSError(28, 'No space left on device'), None, PERMANENT, id='full disk'),
    pytest.param(ValueError('rate limit'), None, TRANSIENT, id='text of an exception'),
    pytest.param(ValueError('x'), None, UNKNOWN, id='ValueError'),
    pytest.param(HttpError(status_code=503), None, TRANSIENT, id='status_code'),
    pytest.param(HttpError(code=404), None, PERMANENT, id='code'),
    pytest.param(HttpError(response=HttpError(status_code=429)), None, TRANSIENT, id='response'),
    pytest.param(HttpError(code='x', status=7), None, UNKNOWN, id='no status'),
])
def test_errors_are_classified(error, status, expected):
    assert ErrorClassifier.classify_error(error, http_status=status) is expected
    assert ErrorClassifier.should_retry(error, http_status=status) is (expected is TRANSIENT)


# -- retries -----------------------------------------------------------------------

class Flaky:
    """A function that raises what it is told to, call by call, and then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 'answer'


def test_a_call_is_repeated_until_it_answers():
    func = Flaky(ValueError('a'), KeyError('b'))

    assert RetryHelper.retry_with_backoff(func, base=0.0) == 'answer'
    assert func.calls == 3


def test_the_last_exception_is_raised_unchanged():
    last = ValueError('last')
    func = Flaky(ValueError('first'), last, ValueError('never'))

    with pytest.raises(ValueError, match='last') as caught:
        RetryHelper.retry_with_backoff(func, attempts=2, base=0.0, jitter=False)

    assert caught.value is last
    assert func.calls == 2


@pytest.mark.parametrize(('error', 'calls'), [(ConnectionError('x'), 2), (ValueError('x'), 1),
                                              (FileNotFoundError('x'), 1)])
def test_a_classifier_says_what_is_tried_again(error, calls):
    func = Flaky(error)

    try:
        RetryHelper.retry_with_backoff(func, base=0.0, error_classifier=ErrorClassifier)
    except type(error) as raised:
        assert raised is error

    assert func.calls == calls


def test_who_wants_to_end_the_program_is_not_called_again():
    func = Flaky(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        RetryHelper.retry_with_backoff(func, base=0.0)

    assert func.calls == 1


@pytest.mark.parametrize(('spread', 'expected'), [(0.0, [0.5, 1.0, 2.0, 3.0]),
                                                  (1.0, [0.6, 1.2, 2.4, 3.0]),
                                                  (-1.0, [0.4, 0.8, 1.6, 3.0])])
def test_delays_grow_vary_by_a_fifth_and_are_capped(spread, expected):
    waits = []

    call(Flaky(*[ValueError()] * 4), RetryPolicy(5, 0.5, 2.0, 3.0, 0.2), wait=waits.append,
         spread=lambda: spread)

    assert waits == pytest.approx(expected)


def test_no_attempt_at_all_is_refused():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        RetryHelper.retry_with_backoff(Flaky(), attempts=0)


# -- quotas ------------------------------------------------------------------------

def test_a_quota_tells_its_figures_as_attributes_and_as_a_dictionary(clock):
    quota = SimpleQuotaManager(rate=2, per_seconds=60, clock=clock)

    taken = [quota.consume(wait=False) for _ in range(3)]
    clock.advance(15)

    assert taken == [True, True, False]
    assert quota.get_stats() == {'rate': 2, 'per_seconds': 60, 'current_allowance': 0.5,
                                 'consumed_count': 2, 'throttle_count': 1}
    assert (quota.rate, quota.per_seconds, quota.allowance, quota.consumed_count,
            quota.throttle_count) == tuple(quota.get_stats().values())


def test_more_tokens_than_there_ever_are_cannot_be_consumed():
    with pytest.raises(ValueError, match='up to 60, got 61'):
        SimpleQuotaManager().consume(61)


def test_threads_together_get_no_more_than_the_rate(clock):
    quota = SimpleQuotaManager(rate=100, per_seconds=60, clock=clock)
    taken = []

    def consume():
        taken.extend(quota.consume(wait=False) for _ in range(50))

    in_threads(*[consume] * 8)

    assert sum(taken) == 100


def in_threads(*funcs):
    threads = [threading.Thread(target=func) for func in funcs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)


# -- the checkpoint ------------------------------------------------------------------

@pytest.fixture
def path(tmp_path):
    return tmp_path / 'sub' / 'checkpoint.json'


@pytest.fixture
def manager(path, clock):
    return CheckpointManagerV2(path, clock=clock)


def loaded(path, **options):
    again = CheckpointManagerV2(path, **options)
    assert again.load() is True
    return again


def test_a_manager_has_a_whole_document_and_touches_nothing_at_first(path):
    manager = CheckpointManagerV2(str(path))

    assert sorted(manager.data) == ['created_at', 'last_updated', 'papers', 'run_id', 'stats',
                                    'status', 'version']
    assert manager.data['stats'] == {'total_papers': 0, 'completed_papers': 0,
                                     'failed_papers': 0, 'retries': 0}
    assert (manager.checkpoint_file, manager.dry_run) == (str(path), False)
    assert manager.load() is False
    assert not path.parent.exists()


def test_papers_look_as_documented(path, manager):
    manager.update_paper_status('a.pdf', 'in_progress')
    manager.update_paper_status('a.pdf', 'completed', ['review', 'judge'])
    manager.increment_retries('b.pdf')
    manager.update_paper_status('b.pdf', 'failed', error='Connection timeout')
    manager.save()

    noon = '2023-11-14T22:13:20.000000+00:00'
    assert json.loads(path.read_text('utf-8')) == dict(manager.data) == {
        'run_id': manager.data['run_id'], 'version': '2.0.0', 'created_at': noon,
        'last_updated': noon, 'status': 'in_progress', 'papers': {
            'a.pdf': {'stage': 'completed', 'stages': {'review': noon, 'judge': noon},
                      'retries': 0, 'started_at': noon, 'completed_at': noon},
            'b.pdf': {'stage': 'failed', 'stages': {}, 'retries': 1, 'started_at': noon,
                      'last_error': 'Connection timeout',
                      'errors': [{'timestamp': noon, 'message': 'Connection timeout'}]}},
        'stats': {'total_papers': 2, 'completed_papers': 1, 'failed_papers': 1, 'retries': 1}}


def test_the_first_update_makes_the_file_and_later_ones_are_loaded_with_it(path, manager):
    manager.update_paper_status('a', 'in_progress')
    first = json.loads(path.read_text('utf-8'))
    manager.update_paper_status('b', 'failed', error='x')

    assert list(first['papers']) == ['a']
    assert list(json.loads(path.read_text('utf-8'))['papers']) == ['a']
    assert loaded(path).data['papers'] == manager.data['papers']
    assert loaded(path).data['stats']['failed_papers'] == 1


@pytest.mark.skipif(os.name == 'nt', reason='links need a right on Windows')
def test_a_link_is_written_through(tmp_path):
    (tmp_path / 'link.json').symlink_to('kept.json')
    manager = CheckpointManagerV2(tmp_path / 'link.json')

    manager.update_paper_status('x', 'completed')
    manager.save()

    assert (tmp_path / 'link.json').is_symlink()
    kept = json.loads((tmp_path / 'kept.json').read_text('utf-8'))
    assert kept['papers']['x']['stage'] == 'completed'


def test_a_stage_keeps_the_time_at_which_it_was_first_completed(manager, clock):
    manager.update_paper_status('a', 'in_progress', ['review'])
    clock.advance(60)
    manager.update_paper_status('a', 'completed', ['review', 'judge'])

    stages = manager.get_paper_status('a')['stages']
    assert stages['review'] < stages['judge']


def test_a_paper_that_is_begun_again_is_not_completed_any_more(manager):
    manager.update_paper_status('a', 'completed')
    manager.update_paper_status('a', 'in_progress')

    assert 'completed_at' not in manager.get_paper_status('a')
    assert manager.data['stats']['completed_papers'] == 0


def test_incomplete_are_those_not_started_or_in_progress(manager):
    for stage in ('not_started', 'in_progress', 'completed', 'failed'):
        manager.update_paper_status(f'{stage}.pdf', stage)

    assert manager.get_incomplete_papers() == ['not_started.pdf', 'in_progress.pdf']
    assert manager.get_paper_status('nothing') is None


def test_what_is_handed_out_of_a_paper_is_a_copy(manager):
    manager.update_paper_status('a', 'failed', ['x'], error='e')

    found = manager.get_paper_status('a')
    found['stages'].clear()
    found['errors'][0].clear()

    assert manager.get_paper_status('a') != found


def test_a_stage_that_there_is_not_is_refused(manager):
    with pytest.raises(ValueError, match="not_started, in_progress, completed, failed, got 'x'"):
        manager.update_paper_status('a', 'x')


def test_snapshots_are_a_second_apart_at_least(path, manager, clock):
    def on_disk():
        return len(json.loads(path.read_text('utf-8'))['papers'])

    for number, (pause_s, expected) in enumerate([(0, 1), (0.9, 1), (0.2, 3), (0, 3), (1.1, 5)]):
        clock.advance(pause_s)
        manager.update_paper_status(f'{number}', 'completed')
        assert on_disk() == expected


class SlowClock(FakeClock):
    """Each look at it takes a while."""

    step_s = 0.0

    def monotonic(self):
        self.monotonic_s += self.step_s
        return self.monotonic_s


def test_snapshots_take_a_twentieth_of_the_time_at_most(path):
    clock = SlowClock()
    clock.step_s = 1.0
    manager = CheckpointManagerV2(path, clock=clock)
    manager.update_paper_status('a', 'completed')
    clock.step_s = 0.0

    clock.advance(18.9)
    manager.update_paper_status('b', 'completed')
    at_rest = len(json.loads(path.read_text('utf-8'))['papers'])
    clock.advance(0.2)
    manager.update_paper_status('c', 'completed')

    assert (at_rest, len(json.loads(path.read_text('utf-8'))['papers'])) == (1, 3)


def test_the_end_of_a_manager_brings_the_file_up_to_date(path, clock):
    manager = CheckpointManagerV2(path, clock=clock)
    manager.update_paper_status('a', 'in_progress')
    manager.update_paper_status('b', 'in_progress')
    del manager
    gc.collect()

    assert list(json.loads(path.read_text('utf-8'))['papers']) == ['a', 'b']


def test_the_end_of_the_program_does_so_too(path, tmp_path):
    done = run_process(sys.executable, '-c', (
        f'import sys; sys.path.insert(0, {str(SOURCE)!r})\n'
        'from stagerunner.orchestrator_v2 import CheckpointManagerV2\n'
        f'manager = CheckpointManagerV2({str(path)!r})\n'
        'for name in "abc": manager.update_paper_status(name, "completed")\n'), cwd=tmp_path)

    assert done.code == 0, done.err
    assert list(json.loads(path.read_text('utf-8'))['papers']) == ['a', 'b', 'c']


def test_an_update_takes_in_first_what_the_file_says(path, manager):
    """A new manager that forgets to load must not cost anybody what was kept."""
    manager.update_paper_status('a', 'completed')
    manager.update_paper_status('b', 'failed')

    other = CheckpointManagerV2(path)
    other.increment_retries('a')

    assert list(loaded(path).data['papers']) == ['a', 'b']
    assert loaded(path).get_paper_status('a')['retries'] == 1
    assert loaded(path).data['run_id'] == manager.data['run_id']


def test_managers_of_one_file_see_what_the_others_wrote(path, manager, clock):
    manager.update_paper_status('a', 'in_progress')
    other = loaded(path, clock=clock)

    manager.update_paper_status('a', 'completed')
    other.update_paper_status('b', 'completed')
    other.save()
    manager.update_paper_status('c', 'completed')

    assert manager.data['stats']['completed_papers'] == 3
    assert loaded(path).data['papers'] == manager.data['papers']


def test_threads_and_managers_lose_no_update(path):
    managers = [CheckpointManagerV2(path) for _ in range(2)]

    def work(number):
        def update():
            for count in range(50):
                managers[number % 2].increment_retries(f'{number}-{count % 5}')
        return update

    in_threads(*map(work, range(8)))

    papers = loaded(path).data['papers']
    assert len(papers) == 40
    assert {entry['retries'] for entry in papers.values()} == {10}


@pytest.mark.parametrize('end', [b'', b'\n', b'{"in":"papers","id":"x"'],
                         ids=['cut', 'whole line', 'other'])
def test_a_line_that_was_cut_short_counts_for_nothing(path, manager, end):
    manager.update_paper_status('a', 'completed')
    manager.update_paper_status('b', 'completed')
    manager.update_paper_status('c', 'completed')
    journal = Path(f'{path}.journal')
    journal.write_bytes(journal.read_bytes()[:-20] + end)

    again = loaded(path)
    again.update_paper_status('d', 'completed')

    assert list(loaded(path).data['papers']) == ['a', 'b', 'd']


def test_a_journal_that_goes_on_from_another_snapshot_counts_for_nothing(path, manager):
    """A kill between the new snapshot and the new journal leaves both, and both say the same."""
    manager.update_paper_status('a', 'in_progress')
    manager.increment_retries('a')
    journal = Path(f'{path}.journal')
    left = journal.read_bytes()
    manager.save()
    journal.write_bytes(left)

    assert loaded(path).get_paper_status('a')['retries'] == 1


def test_an_empty_file_is_as_good_as_none(path, manager):
    path.parent.mkdir()
    path.write_bytes(b'')

    assert manager.load() is False
    manager.update_paper_status('a', 'completed')
    assert loaded(path).get_incomplete_papers() == []


@pytest.mark.parametrize('content', ['{"papers": {', '[]', '{"papers": {"a": 7}}',
                                     '{"papers": {}, "stats": 1}'])
def test_a_file_that_is_no_checkpoint_is_left_alone(path, manager, content):
    path.parent.mkdir()
    path.write_text(content)

    for act in (manager.load, lambda: manager.increment_retries('a'), manager.save):
        with pytest.raises(StateError, match='rename it to begin a new one'):
            act()

    assert path.read_text() == content


def test_a_checkpoint_of_document_000_is_loaded(path, manager):
    path.parent.mkdir()
    path.write_text(json.dumps({
        'run_id': '2025-11-11T10:00:00', 'last_updated': '2025-11-11T10:23:12',
        'papers': {'1.pdf': {'stage': 'completed', 'stages': {'judge': '2025-11-11T10:05:00'}},
                   '2.pdf': {'stage': 'in_progress', 'stages': {}, 'retries': 1}},
        'config': {'max_workers': 4}}))

    assert manager.load() is True
    manager.increment_retries('1.pdf')
    assert manager.get_incomplete_papers() == ['2.pdf']
    assert manager.data['stats']['completed_papers'] == 1
    assert manager.data['config'] == {'max_workers': 4}


def test_an_odd_name_of_a_file_is_a_name_all_the_same(path, manager):
    manager.update_paper_status('caf\udce9.pdf', 'failed', error='half \ud800')
    manager.save()

    assert manager.get_paper_status('caf\udce9.pdf')['stage'] == 'failed'
    assert list(loaded(path).data['papers']) == ['caf\\udce9.pdf']


def test_of_the_errors_of_a_paper_the_latest_hundred_are_kept(manager):
    for number in range(120):
        manager.update_paper_status('a', 'failed', error=f'{number}')

    errors = manager.get_paper_status('a')['errors']
    assert (len(errors), errors[0]['message'], errors[-1]['message']) == (100, '20', '119')


def test_a_dry_run_says_that_it_is_simulated(path, clock):
    manager = CheckpointManagerV2(path, dry_run=True, clock=clock)
    manager.update_paper_status('a', 'completed')
    manager.save()

    found = json.loads(path.read_text('utf-8'))
    assert found['dry_run'] is True
    assert found['papers']['a']['dry_run'] is True


def test_a_dry_run_does_not_touch_a_real_file(path, manager, tmp_path):
    manager.update_paper_status('a', 'in_progress')
    manager.save()
    before = {str(file): file.read_bytes() for file in tmp_path.rglob('*') if file.is_file()}

    for does_load in (True, False):
        rehearsal = CheckpointManagerV2(path, dry_run=True)
        assert not does_load or rehearsal.load()
        rehearsal.update_paper_status('a', 'completed')
        rehearsal.save()
        assert rehearsal.get_paper_status('a')['stage'] == 'completed'

    assert before == {str(file): file.read_bytes() for file in tmp_path.rglob('*')
                      if file.is_file()}


def test_loading_leaves_nothing_beside_a_file(path):
    path.parent.mkdir()
    path.write_text('{"papers": {}}')

    assert CheckpointManagerV2(path).load() is True
    assert os.listdir(str(path.parent)) == ['checkpoint.json']


def test_an_update_that_cannot_be_kept_is_not_acknowledged(path, manager, monkeypatch):
    manager.update_paper_status('a', 'in_progress')
    manager.update_paper_status('b', 'in_progress')

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', full)
        with pytest.raises(StateError, match='no space left'):
            manager.update_paper_status('c', 'in_progress')
    manager.update_paper_status('d', 'in_progress')

    assert list(manager.data['papers']) == list(loaded(path).data['papers']) == ['a', 'b', 'd']


# -- many papers at once -------------------------------------------------------------

PAPERS = ['paper1.pdf', 'paper2.pdf', 'paper3.pdf', 'paper4.pdf']


def judged(paper):
    """Process one paper; in a process of its own too."""
    return {'paper': paper, 'status': 'success', 'stages_completed': ['review', 'judge'],
            'text': paper.upper()}


def judged_or_not(paper):
    if paper == 'paper2.pdf':
        raise ValueError('no abstract')
    if paper == 'paper3.pdf':
        return {'paper': paper, 'status': 'failed', 'error': 'too short'}
    return judged(paper)


def leaves_at_paper2(paper):
    if paper == 'paper2.pdf':
        os._exit(9)
    return judged(paper)


@pytest.mark.parametrize('use_threads', [
    True, pytest.param(False, marks=pytest.mark.slow)], ids=['threads', 'processes'])
def test_results_come_in_order_and_failures_are_results_too(path, use_threads):
    checkpoint = CheckpointManagerV2(path)
    coordinator = ParallelPipelineCoordinator(2, SimpleQuotaManager(), checkpoint)

    results = coordinator.process_papers_parallel(PAPERS, judged_or_not, use_threads)

    assert results == [judged('paper1.pdf'),
                       {'paper': 'paper2.pdf', 'status': 'failed', 'error': 'no abstract'},
                       {'paper': 'paper3.pdf', 'status': 'failed', 'error': 'too short'},
                       judged('paper4.pdf')]
    assert coordinator.get_stats() == coordinator.stats == {
        'total_processed': 4, 'successful': 2, 'failed': 2}
    assert coordinator.quota_manager.consumed_count == 4
    on_disk = json.loads(path.read_text('utf-8'))
    assert on_disk == checkpoint.data == coordinator.checkpoint.data
    assert {name: (entry['stage'], sorted(entry['stages']), entry.get('last_error'))
            for name, entry in on_disk['papers'].items()} == {
        'paper1.pdf': ('completed', ['judge', 'review'], None),
        'paper2.pdf': ('failed', [], 'no abstract'),
        'paper3.pdf': ('failed', [], 'too short'),
        'paper4.pdf': ('completed', ['judge', 'review'], None)}


def test_four_papers_with_four_workers_are_under_way_at_once_and_come_out_the_same(tmp_path):
    """None of them goes on before all four have begun, so one after another would not end."""
    meeting = threading.Barrier(4)

    def with_others(paper):
        meeting.wait(PATIENCE_S)
        return judged(paper)

    documents = {}
    results = {}
    for workers, func in ((4, with_others), (1, judged)):
        checkpoint = CheckpointManagerV2(tmp_path / f'{workers}.json')
        results[workers] = ParallelPipelineCoordinator(
            workers, checkpoint_manager=checkpoint).process_papers_parallel(PAPERS, func)
        documents[workers] = checkpoint.data

    assert results[4] == results[1]
    assert documents[4]['stats'] == documents[1]['stats'] == {
        'total_papers': 4, 'completed_papers': 4, 'failed_papers': 0, 'retries': 0}


def test_no_more_papers_than_workers_are_under_way():
    under_way, most = [], []

    def process(paper):
        under_way.append(paper)
        most.append(len(under_way))
        under_way.remove(paper)

    results = ParallelPipelineCoordinator(3).process_papers_parallel(range(200), process)

    assert [entry['paper'] for entry in results] == list(range(200))
    assert max(most) <= 3


def test_whatever_a_function_returns_becomes_a_dictionary():
    coordinator = ParallelPipelineCoordinator()

    assert coordinator.process_papers_parallel(['a'], len) == [
        {'paper': 'a', 'status': 'success', 'result': 1}]
    assert coordinator.process_papers_parallel(['a'], lambda paper: {'pages': 7}) == [
        {'paper': 'a', 'status': 'success', 'pages': 7}]
    assert coordinator.process_papers_parallel([], len) == []


def test_an_error_without_words_is_called_by_its_name():
    def fail(paper):
        raise KeyError

    assert ParallelPipelineCoordinator().process_papers_parallel(['a'], fail)[0][
        'error'] == 'KeyError'


def test_in_a_dry_run_nothing_is_called_and_no_token_taken(path):
    quota, called = SimpleQuotaManager(), []
    coordinator = ParallelPipelineCoordinator(
        2, quota, CheckpointManagerV2(path, dry_run=True), dry_run=True)

    results = coordinator.process_papers_parallel(PAPERS, called.append)

    assert results == [{'paper': paper, 'status': 'success', 'dry_run': True}
                       for paper in PAPERS]
    assert (called, quota.consumed_count) == ([], 0)
    assert json.loads(path.read_text('utf-8'))['papers']['paper1.pdf']['dry_run'] is True


def test_in_a_dry_run_a_real_checkpoint_hears_nothing(path):
    coordinator = ParallelPipelineCoordinator(checkpoint_manager=CheckpointManagerV2(path),
                                              dry_run=True)
    coordinator.process_papers_parallel(PAPERS, judged)

    assert not path.exists()
    assert coordinator.checkpoint.data['papers'] == {}


def test_a_checkpoint_that_cannot_be_written_ends_the_work(path):
    """It is no failure of a paper, and no other paper is begun."""
    path.parent.mkdir()
    path.write_text('no checkpoint')
    called = []
    coordinator = ParallelPipelineCoordinator(1, checkpoint_manager=CheckpointManagerV2(path))

    with pytest.raises(StateError, match='not valid JSON'):
        coordinator.process_papers_parallel(range(100), called.append)

    assert called == []


def test_who_leaves_the_program_in_a_thread_leaves_it():
    with pytest.raises(SystemExit):
        ParallelPipelineCoordinator(2).process_papers_parallel(
            range(100), lambda paper: sys.exit(3))


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_ctrl_c_lets_what_was_begun_end_and_begins_nothing_more():
    called = []

    def process(paper):
        called.append(paper)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ParallelPipelineCoordinator(1).process_papers_parallel(range(10_000), process)

    assert 1 <= len(called) < 10_000


@pytest.mark.slow
def test_a_process_that_dies_costs_no_more_than_what_was_under_way():
    results = ParallelPipelineCoordinator(1).process_papers_parallel(
        PAPERS, leaves_at_paper2, use_threads=False)

    assert [entry['status'] for entry in results] == ['success', 'failed', 'success', 'success']


def test_a_function_that_cannot_be_handed_to_a_process_is_refused_at_once():
    coordinator = ParallelPipelineCoordinator()

    with pytest.raises((AttributeError, pickle.PicklingError)):
        coordinator.process_papers_parallel(PAPERS, lambda paper: paper, use_threads=False)

    assert coordinator.get_stats()['total_processed'] == 0


@pytest.mark.parametrize('workers', [0, -1, True, 1.5])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers):
    with pytest.raises(ValueError, match='whole number above 0'):
        ParallelPipelineCoordinator(workers)


# -- the face ------------------------------------------------------------------------

def test_the_defaults_are_a_config_and_a_fresh_copy_each_time():
    first = create_v2_config_defaults()
    settings, faults = parse({'v2_features': first})

    first['retry']['attempts'] = 7

    assert faults == []
    assert (settings.max_workers, settings.is_parallel) == (4, False)
    assert create_v2_config_defaults()['retry']['attempts'] == 3


def test_importing_it_loads_no_sockets_and_no_processes(tmp_path):
    done = run_process(sys.executable, '-S', '-E', '-c', (
        f'import sys; sys.path.insert(0, {str(SOURCE)!r})\n'
        'import stagerunner.orchestrator_v2\n'
        'print(*sorted(sys.modules))'), cwd=tmp_path, is_measured=False)

    assert done.code == 0, done.err
    assert set(done.out.split()) & {'socket', 'multiprocessing', 'concurrent', 'logging',
                                    'subprocess'} == set()


def test_it_offers_what_the_contract_names():
    assert sorted(orchestrator_v2.__all__) == [
        'CheckpointManagerV2', 'ErrorClassifier', 'ErrorType', 'ParallelPipelineCoordinator',
        'RetryHelper', 'SimpleQuotaManager', 'create_v2_config_defaults']
    assert all(hasattr(orchestrator_v2, name) for name in orchestrator_v2.__all__)


# -- the guide -----------------------------------------------------------------------

def examples():
    return re.findall(r'^```python\n(.*?)^```$', GUIDE.read_text('utf-8'), re.M | re.S)


@pytest.mark.slow
def test_every_example_of_the_guide_runs_and_says_what_the_guide_says(tmp_path):
    """Each is a program of its own; `# -> x` after a line says what it prints."""
    found = examples()
    assert len(found) >= 5

    for number, example in enumerate(found):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = subprocess.run([sys.executable, '-c', example], cwd=str(folder),
                              env=dict(os.environ, PYTHONPATH=str(SOURCE)),
                              capture_output=True, timeout=PATIENCE_S)

        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().splitlines() == re.findall(r'# -> (.*)', example)
