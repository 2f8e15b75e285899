"""What a run prints is one line per fact, whatever the terminal, the reader or the text."""

import inspect
import io
import json
import os

import pytest

from fakes import FakeClock
from stagerunner import events
from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageEnded
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskInterrupted
from stagerunner.events import TaskRestarted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines
from stagerunner.report.console import Stream
from stagerunner.report.console import reasons_text
from stagerunner.wording import event_of
from stagerunner.wording import plain

FAILED = TaskFailed('a', 'now', 1, 1, 'unknown', 'exit code 1\nfirst\nlast line\n',
                    'state/logs/r1/a.1.log', ('one', 'two\x1b[2J'))


def printed(*told, is_quiet=False):
    """Return what a console prints on stdout and on stderr, by line."""
    out, err = io.StringIO(), io.StringIO()
    console = Console(Stream(out), Stream(err), FakeClock(), is_quiet=is_quiet)
    for event in told:
        console.receive(event)
    return out.getvalue().splitlines(), err.getvalue().splitlines()


# -- lines -------------------------------------------------------------------------

@pytest.mark.parametrize(('event', 'line'), [
    (TaskSkipped('stage_copy', 'now', 'idempotent key matched', 'key', 'then'),
     '[SKIP] stage_copy (idempotent key matched)'),
    (TaskStarted('a', 'now', 1, (Reason('never ran'),)), '[RUN] a (never ran)'),
    (TaskStarted('a', 'now', 1, (Reason('input changed', 'x'), Reason('y'), Reason('z'))),
     '[RUN] a (input changed: x and 2 more)'),
    (TaskStarted('a', 'now', 1, (Reason('x'), Reason('y'))), '[RUN] a (x and 1 more)'),
    (TaskDone('stage_upper', 'now', 0.1044, 1, 'key'), '[DONE] stage_upper in 0.104s'),
    (TaskDone('a', 'now', 7200, 1, 'key'), '[DONE] a in 7200.000s'),
    (TaskRetrying('stage_upper', 2, 3, 0.5, 'transient', 'exit code 75'),
     '[RETRY] stage_upper attempt 2 of 3 in 0.5s (transient: exit code 75)'),
    (TaskRetrying('a', 2, 3, 0.5, 'unknown', 'exit code 1\nboom'),
     '[RETRY] a attempt 2 of 3 in 0.5s (unknown: exit code 1)'),
    (TaskRetrying('a', 3, 3, 1.0499, 'unknown', 'x'), '[RETRY] a attempt 3 of 3 in 1.05s '
                                                      '(unknown: x)'),
    (TaskResumed('stage_upper', 150, ''), '[RESUME] stage_upper at line 150'),
    (TaskResumed('a', 150, "outputs not verified: progress has no 'outputs'"),
     "[RESUME] a at line 150 (outputs not verified: progress has no 'outputs')"),
    (TaskInterrupted('a', 'now', 1, 1), '[INTERRUPTED] a'),
    (StageEnded('a', 'now', 1, {}), '[SKIP] a (no tasks)'),
    (StageEnded('a', 'now', 1, {'skipped': 2}), '[SKIP] a (2 tasks, idempotent key matched)'),
    (StageEnded('a', 'now', 1, {'skipped': 2, 'ok': 1}), '[DONE] a: 1 ok, 2 skipped in 1.000s'),
    (StageEnded('a', 'now', 1, {'ok': 1, 'cancelled': 2}),
     '[CANCELLED] a: 2 cancelled, 1 ok in 1.000s'),
    (StageEnded('a', 'now', 1, {'ok': 1, 'blocked': 2}), '[BLOCKED] a: 2 blocked, 1 ok in 1.000s'),
    (StageEnded('a', 'now', 1, {'interrupted': 1, 'cancelled': 1}),
     '[INTERRUPTED] a: 1 cancelled, 1 interrupted in 1.000s'),
    (StageEnded('a', 'now', 1, {'failed': 1, 'cancelled': 1}),
     '[FAIL] a: 1 cancelled, 1 failed in 1.000s'),
    (RunEnded('demo1', 'now', 1, 'completed'), 'Run demo1 state: completed'),
])
def test_a_fact_is_one_line_on_stdout(event, line):
    assert printed(event) == ([line], [])


@pytest.mark.parametrize(('event', 'line'), [
    (Warned('a', 'wrote to data/output directly; use PIPELINE_OUTPUT_DIR'),
     'warning: a: wrote to data/output directly; use PIPELINE_OUTPUT_DIR'),
    (Warned('a', 'odd\n\x1b[2J'), 'warning: a: odd\\n\\x1b[2J'),
    (TaskRestarted('a', 'its partial outputs are gone'),
     'note: a starts at line 0: its partial outputs are gone'),
])
def test_what_a_person_should_look_at_is_one_line_on_stderr(event, line):
    assert printed(event) == ([], [line])


@pytest.mark.parametrize('event', [
    RunStarted('r1', 'p', 'now', ('a',)), TaskCancelled('a', 'b failed'),
    AttemptEnded('a', 1, 'ok', 'then', 1.0)], ids=lambda event: type(event).__name__)
def test_what_other_lines_tell_already_is_not_printed(event):
    assert printed(event) == ([], [])


@pytest.mark.parametrize(('error', 'line'), [
    ('input x is missing', '[FAIL] a: input x is missing'),
    ('exit code 1\nfirst\nlast line\n', '[FAIL] a: exit code 1: last line'),
    ('exit code 1\n \n', '[FAIL] a: exit code 1'),
    ('', '[FAIL] a: unknown error'),
    ('odd\x1b[2J\nlast\x07', '[FAIL] a: odd\\x1b[2J: last\\x07'),
])
def test_a_failure_says_what_and_the_last_thing_that_was_printed(error, line):
    assert printed(FAILED._replace(error=error)) == ([line], [])


def test_a_failed_run_ends_with_its_first_failure_its_log_and_the_end_of_it():
    out, err = printed(FAILED, FAILED._replace(task='b'), RunEnded('r1', 'now', 1, 'failed'))

    assert out == ['[FAIL] a: exit code 1: last line', '[FAIL] b: exit code 1: last line',
                   'Run r1 state: failed']
    assert err == ['first failure: a: exit code 1', 'log: state/logs/r1/a.1.log', '  | one',
                   '  | two\\x1b[2J']


def test_a_failure_without_a_log_ends_without_one():
    _, err = printed(FAILED._replace(log='', tail=()), RunEnded('r1', 'now', 1, 'failed'))

    assert err == ['first failure: a: exit code 1']


def test_in_quiet_only_what_is_not_as_usual_and_the_result_are_printed():
    out, err = printed(
        TaskSkipped('a', 'now', 'x', 'key', 'then'), TaskStarted('a', 'now', 1, ()),
        TaskDone('a', 'now', 1, 1, 'key'), TaskRetrying('a', 2, 3, 0.5, 'unknown', 'x'),
        TaskResumed('a', 5, ''), FAILED, Warned('a', 'x'), RunEnded('r1', 'now', 1, 'failed'),
        is_quiet=True)

    assert [line.split()[0] for line in out] == ['[RETRY]', '[RESUME]', '[FAIL]', 'Run']
    assert err[0] == 'warning: a: x'


def test_no_reason_is_no_text():
    assert reasons_text(()) == ''


# -- readers and terminals -----------------------------------------------------------

def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    pipe = io.TextIOWrapper(io.FileIO(writing, 'w'), write_through=True)
    stream = Stream(pipe)

    os.close(reading)
    stream.line('nobody')
    stream.line('reads this')

    assert stream.target is None
    pipe.close()


def test_a_stream_that_was_closed_is_no_error():
    target = io.StringIO()
    target.close()
    stream = Stream(target)

    stream.line('x')

    assert stream.target is None


def test_no_stream_at_all_is_no_error():
    """Without a console Windows gives a process no stdout."""
    Stream(None).line('x')


def test_a_terminal_of_few_letters_gets_escapes():
    raw = io.BytesIO()
    stream = Stream(io.TextIOWrapper(raw, encoding='ascii'))

    stream.line('grün \U0001f600')
    stream.line('then')

    assert raw.getvalue() == b'gr\\xfcn \\U0001f600\nthen\n'


def test_half_of_a_pair_is_printed_as_an_escape():
    raw = io.BytesIO()
    stream = Stream(io.TextIOWrapper(raw, encoding='utf-8'))

    stream.line('caf\udce9')

    assert raw.getvalue() == b'caf\\udce9\n'


def test_every_line_is_handed_on_at_once():
    reading, writing = os.pipe()
    with os.fdopen(writing, 'w') as pipe:
        Stream(pipe).line('x')

        assert os.read(reading, 100) == b'x\n'
    os.close(reading)


# -- lines of JSON -------------------------------------------------------------------

#: Something for every field, by the name that it is annotated with.
_VALUES = {'str': 'te\nxt ü', 'int': 7, 'float': 0.5, 'bool': True, 'Optional[str]': None,
           'Optional[int]': 7, 'Optional[float]': 0.25, 'Tuple[str, ...]': ('a', 'b'),
           'Dict[str, Any]': {'enforced': True}, 'Tuple[Any, ...]': (0.5, 7, None, 0),
           'Dict[str, int]': {'ok': 2}, 'Dict[str, str]': {'a': 'b'}, 'Sequence[Any]': (),
           'Sequence[str]': ['a', 'b'],
           'Tuple[Reason, ...]': (Reason('cause', 'path', 'old', None),)}

RECORDS = [value for value in vars(events).values()
           if inspect.isclass(value) and issubclass(value, tuple) and value is not Reason
           and value.__module__ == events.__name__]


@pytest.mark.parametrize('record', RECORDS, ids=lambda record: record.__name__)
def test_every_event_is_one_line_of_json(record):
    annotations = record.__annotations__
    event = record(*(_VALUES[getattr(annotations[name], '__forward_arg__', annotations[name])]
                     for name in record._fields))
    out = io.StringIO()

    JsonLines(Stream(out)).receive(event)

    line, = out.getvalue().splitlines()
    found = json.loads(line)
    assert line.isascii() if hasattr(line, 'isascii') else True
    assert found['event'].replace('_', '') == record.__name__.lower()
    assert len(found) == len(set(record._fields) - {'items', 'fan_outs'}) + 1
    assert all('_' not in key for key in found)


def test_reasons_and_seconds_are_spelled_out_in_json():
    out = io.StringIO()
    sink = JsonLines(Stream(out))
    sink.receive(TaskStarted('a', 'now', 1, (Reason('input changed', 'x', 'aa', 'bb'),)))
    sink.receive(RunStarted('r1', 'p', 'now', ('a', 'b')))
    sink.receive(TaskDone('a', 'now', 0.5, 1, 'key', 7))

    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {'event': 'task_started', 'task': 'a', 'at': 'now', 'attempt': 1,
         'reasons': [{'cause': 'input changed', 'path': 'x', 'old': 'aa', 'new': 'bb'}]},
        {'event': 'run_started', 'runId': 'r1', 'pipeline': 'p', 'at': 'now',
         'stages': ['a', 'b'], 'workers': 1, 'collections': {}},
        {'event': 'task_done', 'task': 'a', 'at': 'now', 'durationSec': 0.5, 'attempts': 1,
         'key': 'key', 'lineOffset': 7, 'isStaged': True, 'made': {}}]


def test_what_an_attempt_used_is_named_in_json_and_comes_back():
    event = AttemptEnded('a', 1, 'ok', 'now', 0.5, usage=(0.25, 1024, 7, 0))

    record = plain(event)

    assert record['usage'] == {'cpuSec': 0.25, 'peakMemoryBytes': 1024, 'writtenBytes': 7,
                               'leftoverProcesses': 0}
    assert event_of(record) == event
