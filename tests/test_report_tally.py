"""Where a run stands follows from its events, whoever tells them."""

import pytest

from stagerunner.events import AttemptEnded
from stagerunner.events import EntryEnded
from stagerunner.events import EntryLeased
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageExpanded
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.report.tally import Counts
from stagerunner.report.tally import Running
from stagerunner.report.tally import Tally

pytestmark = pytest.mark.unit


def begun(*stages, workers=1):
    """Return the tally of a run that began at second 100."""
    tally = Tally()
    tally.receive(RunStarted('r1', 'p', 'now', stages, workers), 100.0)
    return tally


def tell(tally, *events, at=100.0):
    for event in events:
        tally.receive(event, at)
    return tally


def started(task, attempt=1):
    return TaskStarted(task, 'now', attempt, ())


def done(task, took_s=2.0):
    return [AttemptEnded(task, 1, 'ok', 'then', took_s), TaskDone(task, 'now', took_s, 1, 'k')]


def failed(task):
    return TaskFailed(task, 'now', 1.0, 1, 'unknown', 'x', '', ())


def nothing_known(stage):
    return None


def test_before_anything_happened_all_wait():
    assert begun('a', 'b').counts() == Counts(2, 0, 0, 2, 0, 0)


def test_each_task_is_counted_where_it_stands():
    tally = tell(begun(*'abcdefg'), TaskSkipped('a', 'now', 'x', 'k', 'then'), started('b'),
                 *done('b'), started('c'), failed('c'), TaskBlocked('d', 'c'),
                 TaskCancelled('e', 'c'), started('f'))

    assert tally.counts() == Counts(7, 2, 1, 1, 1, 2)


def test_a_fan_out_counts_as_its_tasks_as_soon_as_they_are_known():
    tally = tell(begun('a', 'b'), StageExpanded('b', 10, True), started('b[x]'), started('b[y]'),
                 *done('b[x]'))

    assert tally.counts() == Counts(11, 1, 1, 9, 0, 0)


def test_a_fan_out_without_tasks_is_no_task():
    assert tell(begun('a', 'b'), StageExpanded('b', 0, True)).counts().total == 1


def test_what_is_said_of_a_whole_fan_out_holds_for_what_is_left_of_it():
    tally = tell(begun('b'), StageExpanded('b', 10), started('b[x]'), *done('b[x]'),
                 TaskBlocked('b', 'a did not succeed'))

    assert tally.counts() == Counts(10, 1, 0, 0, 0, 9)


def test_an_attempt_that_is_tried_again_waits_until_it_is():
    tally = tell(begun('a'), started('a'), AttemptEnded('a', 1, 'failed', 'then', 1.0),
                 TaskRetrying('a', 2, 3, 5.0, 'transient', 'x'))
    between = tally.counts()
    tell(tally, started('a', 2), at=107.0)

    assert between == Counts(1, 0, 0, 1, 0, 0)
    assert tally.slowest(5) == [Running('a', 107.0, 2)]


def test_no_more_tasks_run_than_there_are_workers():
    """The slot of one that ended is taken by another one before it is told to be done."""
    tally = tell(begun(*'abcde', workers=2), *(started(name) for name in 'abc'))

    assert tally.counts() == Counts(5, 0, 2, 3, 0, 0)
    assert len(tally.slowest(9)) == 2


def test_the_longest_running_come_first_and_a_resumed_one_knows_its_line():
    tally = tell(begun('a', 'b', 'c', workers=3), started('b'))
    tell(tally, started('a'), TaskResumed('a', 150, ''), at=101.0)
    tell(tally, started('c'), at=102.0)

    assert tally.slowest(2) == [Running('b', 100.0, 1), Running('a', 101.0, 1, 150)]


@pytest.mark.parametrize('end', [TaskInterrupted('a', 'now', 1.0, 1),
                                 RunEnded('r1', 'now', 1.0, 'interrupted')])
def test_what_was_interrupted_does_not_run(end):
    assert tell(begun('a'), started('a'), end).counts().running == 0


def test_the_end_of_a_run_is_its_state():
    assert begun('a').state == ''
    assert tell(begun('a'), RunEnded('r1', 'now', 1.0, 'failed')).state == 'failed'


def test_a_run_that_is_resumed_begins_anew():
    tally = tell(begun('a'), started('a'), RunEnded('r1', 'now', 1.0, 'interrupted'))
    tell(tally, RunStarted('r1', 'p', 'now', ('a', 'b')))

    assert (tally.state, tally.counts()) == ('', Counts(2, 0, 0, 2, 0, 0))


# -- how fast, and how long still ----------------------------------------

def test_throughput_is_that_of_the_run_and_later_that_of_the_last_fifty():
    tally = tell(begun('b'), StageExpanded('b', 200))
    assert tally.per_second(110.0) is None
    tell(tally, *done('b[0]'), *done('b[1]'), at=104.0)
    early = tally.per_second(110.0)
    for number in range(50):
        tell(tally, *done(f'b[x{number}]'), at=200.0 + number)

    assert early == pytest.approx(0.2)
    assert tally.per_second(250.0) == pytest.approx(1.0)


def test_skips_say_nothing_about_throughput():
    tally = tell(begun('a', 'b'), TaskSkipped('a', 'now', 'x', 'k', 'then'))

    assert tally.per_second(110.0) is None


@pytest.mark.parametrize(('workers', 'left_s'), [(1, 18.0), (4, 4.5), (100, 2.0)])
def test_the_rest_takes_what_its_like_took_but_never_less_than_one(workers, left_s):
    tally = tell(begun('b', workers=workers), StageExpanded('b', 10), *done('b[x]', 2.0))

    assert tally.remaining_s(110.0, nothing_known) == pytest.approx(left_s)


def test_what_runs_already_takes_less_and_never_less_than_nothing():
    tally = tell(begun('a', 'b'), started('a'))

    assert tally.remaining_s(104.0, {'a': 10.0, 'b': 5.0}.get) == pytest.approx(11.0)
    assert tally.remaining_s(190.0, {'a': 10.0, 'b': 5.0}.get) == pytest.approx(5.0)


def test_where_a_stage_never_ran_nobody_knows():
    assert begun('a', 'b').remaining_s(110.0, {'a': 10.0}.get) is None


def test_what_a_whole_fan_out_took_says_nothing_about_one_of_its_tasks():
    tally = tell(begun('b'), StageExpanded('b', 10))

    assert tally.remaining_s(110.0, {'b': 10.0}.get) is None


def test_entries_of_the_queue_bring_a_task_for_each_stage_and_nobody_knows_how_many_follow():
    tally = tell(begun('a', 'b'), StageExpanded('a', 0, True), StageExpanded('b', 0, True),
                 EntryLeased('x', 'now', 1, 'x'), EntryLeased('y', 'now', 1, 'y'),
                 started('a[x]'), *done('a[x]'), started('b[x]'))

    assert tally.counts() == Counts(4, 1, 1, 2, 0, 0)
    assert tally.remaining_s(100.0, nothing_known) is None
    tell(tally, *done('b[x]'), EntryEnded('x', 'now', 1, 'done'),
         EntryEnded('y', 'now', 1, 'retry', 'e', 1.0))
    assert tally.counts() == Counts(2, 2, 0, 0, 0, 0)
