"""The checkpoint file shows all stages of a run at a glance and costs next to nothing."""

import pytest

from fakes import FakeClock
from stagerunner.clock import stamp
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.files import read_json
from stagerunner.state.checkpoint import PipelineCheckpoint
from stagerunner.state.names import StateNames

STARTED = RunStarted('r1', 'p', 'begin', ('a', 'b', 'c'))


class SlowClock(FakeClock):
    """A clock that goes on by itself while something is written: each look takes a while."""

    step_s = 0.0

    def monotonic(self):
        self.advance(self.step_s)
        return super().monotonic()


@pytest.fixture
def slow_clock():
    return SlowClock()


@pytest.fixture
def tell(tmp_path, slow_clock):
    """Return a function that hands events over and returns the file as it is then."""
    (tmp_path / 'state').mkdir()
    names = StateNames(str(tmp_path))
    checkpoint = PipelineCheckpoint(names, slow_clock)

    def receive(*events):
        for event in events:
            checkpoint.receive(event)
        return read_json(names.pipeline_checkpoint())
    return receive


def done(task):
    return TaskDone(task, f'{task} done', 1, 1, 'key')


def test_a_whole_run_looks_as_documented(tell, slow_clock):
    found = tell(STARTED, TaskSkipped('a', 'now', 'matched', 'key', 'a done before'),
                 TaskRetrying('b', 2, 3, 0.5, 'transient', 'x'), done('b'),
                 TaskCancelled('c', 'x'), RunEnded('r1', 'now', 1, 'failed'))

    assert found == {
        'run_id': 'r1', 'version': '2.0.0', 'created_at': 'begin',
        'last_updated': stamp(slow_clock.now()), 'status': 'failed',
        'stages': {'a': 'a done before', 'b': 'b done'},
        'stats': {'total_stages': 3, 'completed_stages': 2, 'retries': 1},
        'config': {'max_workers': 1}}


def test_it_is_there_after_the_first_stage_and_the_run_goes_on_in_it(tell):
    assert tell(STARTED) is None

    found = tell(done('a'))

    assert (found['status'], found['stages']) == ('in_progress', {'a': 'a done'})


def test_writing_it_rests_for_nineteen_times_as_long_as_it_took(tell, slow_clock):
    slow_clock.step_s = 1.0
    tell(STARTED, done('a'))
    slow_clock.step_s = 0.0

    slow_clock.advance(18.9)
    at_rest = tell(done('b'))
    slow_clock.advance(0.2)
    rested = tell(done('c'))

    assert list(at_rest['stages']) == ['a']
    assert list(rested['stages']) == ['a', 'b', 'c']


def test_the_end_of_a_run_is_written_however_short_the_rest(tell, slow_clock):
    slow_clock.step_s = 100.0

    assert tell(STARTED, done('a'), done('b'), RunEnded('r1', 'now', 1, 'completed'))[
        'status'] == 'completed'
