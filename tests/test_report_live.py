"""The display of a run shows where it stands, seldom enough, and is gone in the end."""

import json
import os

import pytest

from fakes import FakeClock
from screens import FakeTerminal
from stagerunner.events import AttemptEnded
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageExpanded
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskResumed
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.report.console import Stream
from stagerunner.report.live import LiveConsole
from stagerunner.report.overview import Mark
from stagerunner.report.overview import Sources
from stagerunner.report.sources import sources_of
from stagerunner.report.tally import Running
from stagerunner.report.terminal import Terminal
from stagerunner.state.names import StateNames

pytestmark = pytest.mark.unit

STARTED = RunStarted('r1', 'p', 'now', ('stage_copy', 'stage_upper', 'z'), 2)


class Show:
    """A live console on a fake terminal, with a clock that is turned by hand."""

    def __init__(self, columns=80, **environment):
        self.clock = FakeClock()
        self.shown = FakeTerminal()
        self.columns = columns
        self.marks = {}
        self.took = {}
        terminal = Terminal(Stream(self.shown), dict({'COLUMNS': str(columns)}, **environment))
        self.console = LiveConsole(terminal, Stream(self.shown), self.clock, Sources(
            lambda running: self.marks.get(running.task),
            lambda stage: dict(self.took).get(stage)))

    def tell(self, *events):
        for event in events:
            self.console.receive(event)
        return self

    def after(self, seconds):
        """Let time pass as a scheduler that waits does, and return what is on the screen."""
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until - 1e-9:
            pause_s = self.console.idle()
            assert pause_s != 0.0
            self.clock.advance(min(pause_s or seconds, until - self.clock.monotonic()))
        self.console.idle()
        return self.lines()

    def lines(self):
        return self.shown.screen(self.columns).lines()

    def draws(self):
        return self.shown.getvalue().count('\x1b[J')


def started(task, attempt=1):
    return TaskStarted(task, 'now', attempt, ())


def done(task, took_s=2.0):
    return [AttemptEnded(task, 1, 'ok', 'then', took_s), TaskDone(task, 'now', took_s, 1, 'k')]


def test_the_display_tells_where_a_run_stands():
    show = Show()
    show.took = {'stage_copy': 2.0, 'stage_upper': 100.0, 'z': 20.0}
    show.tell(STARTED, started('stage_copy'), started('stage_upper'),
              TaskResumed('stage_upper', 150, ''))
    show.after(2.0)
    show.tell(*done('stage_copy'))
    show.marks = {'stage_upper': Mark(1200, 12.5)}

    assert show.after(60.3) == [
        '[RUN] stage_copy ()', '[RUN] stage_upper ()', '[RESUME] stage_upper at line 150',
        '[DONE] stage_copy in 2.000s',
        '[1/3] 1 running, 1 waiting, ~37s left, 58/h, 1m02s so far',
        '  stage_upper   1m02s  line 1200 (12.5/s)']


def test_a_run_that_is_over_soon_is_not_drawn():
    show = Show().tell(STARTED, started('stage_copy'))
    show.after(0.4)
    show.tell(*done('stage_copy'), RunEnded('r1', 'now', 0.4, 'completed'))

    assert show.draws() == 0
    assert show.after(10.0)[-1] == 'Run r1 state: completed'


def test_the_display_is_gone_when_the_run_has_ended():
    show = Show().tell(STARTED, started('stage_copy'))
    assert len(show.after(5.0)) == 3
    show.tell(RunEnded('r1', 'now', 5.0, 'interrupted'))

    assert show.after(5.0) == ['[RUN] stage_copy ()', 'Run r1 state: interrupted']


def test_the_display_is_gone_when_a_bug_ended_the_run():
    show = Show().tell(STARTED, started('stage_copy'))
    show.after(5.0)
    show.console.close()

    assert show.after(1.0) == ['[RUN] stage_copy ()']


def test_nothing_is_drawn_more_than_ten_times_a_second_however_much_happens():
    show = Show().tell(STARTED, StageExpanded('z', 2000))
    show.after(1.0)
    before = show.draws()
    for number in range(1000):
        show.tell(Warned('', f'{number}'), started(f'z[{number}]'), *done(f'z[{number}]'))
        show.clock.advance(0.001)

    # Each drawing is taken away for the next line: two sequences.
    assert 10 <= show.draws() - before <= 22
    assert len(show.lines()) >= 1000


def test_a_quiet_run_is_looked_at_four_times_a_second():
    show = Show().tell(STARTED, started('stage_copy'))
    show.after(1.0)

    pauses = []
    for _ in range(4):
        pauses.append(show.console.idle())
        show.clock.advance(pauses[-1])
    assert pauses[1:] == [pytest.approx(0.25)] * 3


def test_a_long_fan_out_has_no_lines_that_the_display_makes_superfluous():
    show = Show().tell(STARTED, StageExpanded('z', 100))
    for number in range(60):
        show.tell(started(f'z[{number}]'), *done(f'z[{number}]'))
        show.after(1.0)

    assert [line for line in show.lines() if '/100] z' in line] == []
    assert show.lines()[0].startswith('[60/102] 42 waiting')


def test_many_skips_at_once_are_counted_and_printed():
    show = Show().tell(STARTED, started('z'))
    show.console.receive_skips(TasksSkipped(
        ['stage_copy', 'stage_upper'], 'now', 'same', ['k', 'k'], ['then', 'then']))

    assert show.after(1.0)[1:4] == ['[SKIP] stage_copy (same)', '[SKIP] stage_upper (same)',
                                    '[2/3] 1 running, 1s so far']


def test_the_slowest_tasks_are_shown_and_no_more_than_five():
    show = Show().tell(STARTED._replace(workers=8), StageExpanded('z', 20))
    for number in range(8):
        show.tell(started(f'z[{number}]', attempt=1 + number % 2))
        show.clock.advance(10.0)
    rows = show.after(0.5)[-5:]

    assert rows == [f'  z[{number}]  {80 - 10 * number}s'.replace('  80s', '   1m20s').replace(
        '  70s', '   1m10s').replace('  60s', '   1m00s').replace('  50s', '     50s').replace(
        '  40s', '     40s') + ('  attempt 2' if number % 2 else '') for number in range(5)]


@pytest.mark.parametrize(('columns', 'shown'), [
    (100, '[1/3] 1 failed, 1 running, stage_upper 1m01s  line 7, 59/h, 1m01s so far'),
    (40, '[1/3] 1 failed, 1 running, 59/h'),
    (20, '[1/3] 1 failed'),
])
def test_of_one_line_what_matters_most_has_room_first(columns, shown):
    show = Show(columns, NO_COLOR='1')
    show.marks = {'stage_upper': Mark(7, None)}
    show.tell(STARTED, *done('stage_copy'), started('stage_upper'),
              TaskFailed('z', 'now', 1.0, 1, 'unknown', 'x', '', ()))

    row = show.after(61.0)[-1]
    assert row.replace('2/min', '59/h').replace('1.97/min', '59/h') == shown
    assert '\x1b' not in show.shown.getvalue()


# -- what is looked up ----------------------------------------

@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


def write(path, value):
    with open(path, 'w') as file:
        file.write(value if isinstance(value, str) else json.dumps(value))


def test_a_mark_is_the_committed_line_and_the_lines_per_second_of_this_attempt(names):
    write(names.progress('a'), {'lineOffset': 250})
    os.utime(names.progress('a'), (1010.0, 1010.0))

    mark = sources_of(names).mark

    assert mark(Running('a', 1000.0, 1, 50)) == Mark(250, 20.0)
    assert mark(Running('a', 1000.0, 1, 250)) == Mark(250, None)


@pytest.mark.parametrize('content', ['{', '[]', '{"lineOffset": "x"}', '{"lineOffset": -1}'])
def test_progress_that_tells_nothing_is_no_mark(names, content):
    write(names.progress('a'), content)

    assert sources_of(names).mark(Running('a', 0.0, 1)) is None


def test_progress_from_before_the_attempt_is_left_over(names):
    write(names.progress('a'), {'lineOffset': 250})
    os.utime(names.progress('a'), (990.0, 990.0))

    mark = sources_of(names).mark

    assert mark(Running('a', 1000.0, 1)) is None
    assert mark(Running('a', 1000.0, 1, 100)) == Mark(100, None)
    assert mark(Running('b', 1000.0, 1)) is None


@pytest.mark.parametrize(('record', 'took_s'), [
    ({'lastStatus': 'ok', 'lastDurationSec': 2.5}, 2.5),
    ({'lastStatus': 'failed', 'lastDurationSec': 2.5}, None),
    ({'lastStatus': 'ok', 'lastDurationSec': True}, None), ({'lastStatus': 'ok'}, None),
    ([], None), ('{', None)])
def test_what_a_stage_took_the_last_time_is_in_its_record(names, record, took_s):
    write(names.stage('a'), record)
    sources = sources_of(names)

    assert sources.expected('a') == took_s
    write(names.stage('a'), {'lastStatus': 'ok', 'lastDurationSec': 9})
    assert sources.expected('a') == took_s
    assert sources.expected('b') is None
