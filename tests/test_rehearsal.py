"""Tests of `stagerunner.rehearsal`: what a plan announces, by the decisions of a run."""

from __future__ import annotations

from typing import Any
from typing import Callable
from typing import Dict
from typing import List

import pytest

from engine import Engine
from fakes import ListSink
from stagerunner.errors import DefinitionError
from stagerunner.errors import StateError
from stagerunner.events import TaskPlanned
from stagerunner.events import Warned
from stagerunner.run import Forecast
from support import COPY
from support import stage

pytestmark = pytest.mark.unit


class Oracle:
    """Asks for plans of a workspace."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.sink = ListSink()

    def ask(self, **wanted: Any) -> Forecast:
        """Return the forecast; what was announced is in `decisions`."""
        forecast = self.engine.plan(**wanted)
        self.sink = self.engine.sink
        return forecast

    def decisions(self, **wanted: Any) -> Dict[str, str]:
        """Return what is announced, by task."""
        self.ask(**wanted)
        return {event.task: event.decision for event in self.sink.of(TaskPlanned)}

    def reasons(self, task: str) -> List[str]:
        """Return why a task would run, as last announced."""
        return [str(reason) for event in self.sink.of(TaskPlanned) if event.task == task
                for reason in event.reasons]


@pytest.fixture
def oracle(engine: Engine) -> Oracle:
    """Return plans of two stages in a row, both done."""
    workspace = engine.workspace
    workspace.processor(COPY)
    workspace.write('data/input/in.txt', 'one\n')
    workspace.pipeline(stage('a'), stage('b', inputs=['data/a/in.txt']))
    assert engine.run() == 0
    return Oracle(engine)


@pytest.fixture
def fan_out(engine: Engine) -> Callable[[], Oracle]:
    """Return a maker of plans of a stage, two for each of its files, and one that gathers."""
    workspace = engine.workspace
    workspace.processor(COPY)
    workspace.write('data/input/x.txt', 'x')
    workspace.write('data/input/y.txt', 'y')
    workspace.pipeline(
        stage('split', inputs=['data/input/*.txt']),
        stage('one', inputs=['{item.path}'], forEach='docs', outputDir='data/one/{item.id}'),
        stage('two', inputs=['data/one/{item.id}/{item.name}'], forEach='docs'),
        stage('gather', inputs=['data/two/*.txt']),
        items={'docs': {'glob': 'data/split/*.txt'}})

    def make() -> Oracle:
        assert engine.run() == 0
        return Oracle(engine)
    return make


def test_a_record_with_which_a_run_would_stop_is_told_of_and_raised_at_the_end(oracle):
    """Bug: nothing at all was said of its stage, and the exit code was 0."""
    oracle.engine.workspace.write('data/a/.a.done', '{"format": 99}')

    with pytest.raises(StateError, match='has format 99'):
        oracle.engine.plan()

    assert oracle.engine.planned() == {'a': 'run', 'b': 'maybe'}


def test_when_all_is_done_nothing_is_pending(oracle):
    assert oracle.ask() == Forecast(0, ())
    assert oracle.decisions() == {'a': 'skip', 'b': 'skip'}


def test_what_a_changed_stage_feeds_is_maybe(oracle):
    oracle.engine.workspace.write('data/input/in.txt', 'two\n')

    assert oracle.decisions() == {'a': 'run', 'b': 'maybe'}
    assert oracle.reasons('b') == ['upstream will run: a']
    assert oracle.ask().pending == 2


def test_what_would_run_whatever_comes_from_upstream_is_certain(oracle):
    oracle.engine.workspace.write('data/input/in.txt', 'two\n')
    oracle.engine.workspace.path('data/b/in.txt').unlink()

    assert oracle.decisions() == {'a': 'run', 'b': 'run'}


def test_a_stage_whose_input_is_made_again_is_maybe(oracle):
    """It was announced as `run`, and then skipped: the bytes that came back were the old ones."""
    oracle.engine.workspace.path('data/a/in.txt').unlink()

    assert oracle.decisions() == {'a': 'run', 'b': 'maybe'}
    assert oracle.engine.run() == 0 and oracle.engine.ran() == ['a']


def test_a_stage_that_waits_for_its_first_input_will_run(oracle):
    oracle.engine.workspace.path('data/a/in.txt').unlink()
    oracle.engine.workspace.path('data/b/.b.done').unlink()

    assert oracle.decisions() == {'a': 'run', 'b': 'run'}


def test_a_forced_stage_runs_and_makes_uncertain_what_follows(oracle):
    assert oracle.decisions(force=('a',)) == {'a': 'run', 'b': 'maybe'}


def test_a_stage_that_takes_no_part_makes_nothing_uncertain(oracle):
    oracle.engine.workspace.write('data/input/in.txt', 'two\n')

    assert oracle.decisions(only=('b',)) == {'b': 'skip'}
    assert [(event.task, event.message) for event in oracle.sink.of(Warned)] == [
        ('a', 'is taken as it is, but is stale (input changed: data/input/in.txt)')]


def test_an_error_that_a_run_would_meet_is_told_and_counted(oracle):
    oracle.engine.workspace.processor('import socket\n')

    forecast = oracle.ask(only=('a',))

    assert forecast == Forecast(1, (
        "a: Offline violation: forbidden import 'socket' (bin/work.py:1)",))
    assert [event.task for event in oracle.sink.of(Warned)] == ['a']


def test_a_plan_writes_nothing(oracle):
    oracle.engine.workspace.write('data/input/in.txt', 'two\n')
    before = oracle.engine.workspace.tree()

    oracle.ask()

    assert oracle.engine.workspace.tree() == before


# -- items ----------------------------------------

def test_items_that_upstream_decides_are_announced_as_one(engine, fan_out):
    """The end of a stage whose tasks were never known was a `KeyError`."""
    oracle = Oracle(engine)

    assert oracle.decisions() == {'split': 'run', 'one[*]': 'maybe', 'two[*]': 'maybe',
                                  'gather': 'run'}
    assert oracle.ask().pending == 4


def test_an_edited_output_concerns_its_item_alone(fan_out):
    oracle = fan_out()
    oracle.engine.workspace.write('data/one/x.txt/x.txt', 'edited')

    assert oracle.decisions() == {
        'split': 'skip', 'one[x.txt]': 'run', 'one[y.txt]': 'skip', 'two[x.txt]': 'maybe',
        'two[y.txt]': 'skip', 'gather': 'maybe'}
    assert oracle.ask().pending == 3


def test_a_missing_output_of_an_item_makes_its_next_stage_maybe(fan_out):
    oracle = fan_out()
    oracle.engine.workspace.path('data/one/x.txt/x.txt').unlink()

    assert oracle.decisions()['two[x.txt]'] == 'maybe'
    assert oracle.engine.run() == 0 and oracle.engine.ran() == ['one[x.txt]']


def test_what_depends_on_a_stage_by_order_alone_is_not_made_uncertain(engine):
    engine.workspace.simple()
    engine.workspace.pipeline(stage('a'), stage('b', dependsOn=['a']))
    engine.run()
    engine.workspace.path('data/a/.a.done').unlink()

    assert Oracle(engine).decisions() == {'a': 'run', 'b': 'skip'}


def test_what_gathers_items_that_are_not_known_yet_is_maybe(fan_out):
    """A group without tasks is false: who gathered from one was announced as skipped."""
    oracle = fan_out()
    oracle.engine.workspace.write('data/input/x.txt', 'edited')

    assert oracle.decisions() == {'split': 'run', 'one[*]': 'maybe', 'two[*]': 'maybe',
                                  'gather': 'maybe'}


# -- items that cannot be told ----------------------------------------

@pytest.fixture
def rows(engine: Engine) -> Engine:
    """Return an engine over a stage for each row of a file that another stage copies."""
    engine.workspace.processor(COPY)
    engine.workspace.write('data/input/rows.jsonl', '{"id": "x"')
    engine.workspace.pipeline(
        stage('copy', inputs=['data/input/rows.jsonl']),
        stage('each', forEach='rows', inputs=['{item.path}']),
        stage('gather', inputs=['data/each']),
        items={'rows': {'jsonl': 'data/copy/rows.jsonl', 'id': 'id'}})
    return engine


FAULT = "data/copy/rows.jsonl:1: not valid JSON at column 11: Expecting ',' delimiter"


def test_rows_that_cannot_be_read_are_a_failure_of_their_stage(rows):
    """The exit code said that nothing had run."""
    assert rows.run(keeps_going=True) == 1
    assert rows.ran() == ['copy'] and rows.error() == FAULT


def test_a_plan_tells_of_rows_that_cannot_be_read(rows):
    """A plan said nothing of that stage, and `--check` that there was nothing to do."""
    rows.run()
    oracle = Oracle(rows)

    assert oracle.decisions() == {'copy': 'skip', 'each[*]': 'run', 'gather': 'run'}
    assert oracle.ask() == Forecast(2, (f'each: {FAULT}',))
    assert [event.message for event in oracle.sink.of(Warned)] == [f'would fail: {FAULT}']


def test_rows_that_no_stage_makes_are_checked_before_anything_runs(rows):
    definition = rows.workspace.json('pipeline.json')
    definition['items']['rows']['jsonl'] = 'data/input/rows.jsonl'
    rows.workspace.pipeline(*definition['stages'], items=definition['items'])

    with pytest.raises(DefinitionError) as caught:
        rows.run()

    assert str(caught.value) == FAULT.replace('copy', 'input')
    assert rows.ran() == [] and not rows.workspace.path('data/copy').exists()
