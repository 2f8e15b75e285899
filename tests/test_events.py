"""Events are frozen records; a sink has one method that matters."""

import inspect
import io
import os

import pytest

from fakes import FakeClock
from fakes import ListSink
from stagerunner import events
from stagerunner.events import MATCHED
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import TaskDone
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.report.audit import Audit
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines
from stagerunner.report.console import Stream
from stagerunner.report.log import LogFile
from stagerunner.report.metrics import Metrics
from stagerunner.session import Broadcast
from stagerunner.state.checkpoint import PipelineCheckpoint
from stagerunner.state.history import VersionHistory
from stagerunner.state.names import StateNames
from stagerunner.state.stage import StageRecords

RECORDS = [value for value in vars(events).values()
           if inspect.isclass(value) and issubclass(value, tuple)
           and value.__module__ == events.__name__]


@pytest.mark.parametrize(('reason', 'text'), [
    (Reason('never ran'), 'never ran'),
    (Reason('input changed', 'data/in.txt', 'aa', 'bb'), 'input changed: data/in.txt'),
])
def test_a_reason_reads_as_cause_and_path(reason, text):
    assert str(reason) == text


def test_an_event_cannot_be_changed_afterwards():
    done = TaskDone('work', 'now', 0.5, 1, 'key')

    with pytest.raises(AttributeError):
        done.attempts = 2
    assert (done.line_offset, done.is_staged) == (None, True)


@pytest.mark.parametrize('record', RECORDS, ids=lambda record: record.__name__)
def test_every_record_says_what_it_stands_for(record):
    assert record.__doc__.strip().endswith('.') and 'alias for field' not in record.__doc__.lower()


SKIPS = TasksSkipped(['a', 'b'], 'now', MATCHED, ['ka', 'kb'], ['ta', 'tb'])
SINGLY = list(SKIPS.singly())


def test_many_skips_at_once_reach_a_plain_sink_one_by_one():
    sink = ListSink()

    Broadcast([sink])(SKIPS)

    assert sink.events == [TaskSkipped('a', 'now', MATCHED, 'ka', 'ta'),
                           TaskSkipped('b', 'now', MATCHED, 'kb', 'tb')]


def console(out):
    return Console(out, out, FakeClock())


def quiet(out):
    return Console(out, out, FakeClock(), is_quiet=True)


@pytest.mark.parametrize('make', [console, quiet, JsonLines], ids=lambda make: make.__name__)
def test_many_skips_are_printed_as_if_they_were_told_one_by_one(make):
    at_once, singly = io.StringIO(), io.StringIO()

    make(Stream(at_once)).receive_skips(SKIPS)
    for event in SINGLY:
        make(Stream(singly)).receive(event)

    assert at_once.getvalue() == singly.getvalue()


def audit(names):
    sink = Audit(names, 'r1', FakeClock())
    sink.prepare()
    return sink


def files_of(make, folder, tell):
    """Return the files that a sink leaves of a run whose skips are told by `tell`."""
    names = StateNames(str(folder))
    (folder / 'state').mkdir(parents=True)
    sink = make(names)
    sink.receive(RunStarted('r1', 'p', 'then', ('a', 'b', 'c')))
    tell(sink)
    sink.receive(RunEnded('r1', 'now', 1.0, 'completed'))
    sink.close()
    return {path.name: path.read_bytes() for path in (folder / 'state').iterdir()}


@pytest.mark.parametrize('make', [
    pytest.param(lambda names: Metrics(names.metrics('r1'), names.textfile('r1')), id='metrics'),
    pytest.param(lambda names: PipelineCheckpoint(names, FakeClock()), id='checkpoint'),
    pytest.param(lambda names: StageRecords(names, 'r1'), id='records'),
    pytest.param(audit, id='audit'),
    pytest.param(lambda names: VersionHistory(os.path.dirname(names.folder), 'state/history', '1'),
                 id='history'),
    pytest.param(lambda names: LogFile(os.path.join(names.folder, 'log'), 'INFO', FakeClock()),
                 id='log'),
])
def test_many_skips_are_written_as_if_they_were_told_one_by_one(make, tmp_path):
    at_once = files_of(make, tmp_path / 'at_once', lambda sink: sink.receive_skips(SKIPS))
    singly = files_of(make, tmp_path / 'singly',
                      lambda sink: [sink.receive(event) for event in SINGLY])

    assert at_once == singly


def test_a_sink_must_receive_and_may_close():
    with pytest.raises(NotImplementedError):
        Sink().receive(Reason('x'))
    assert Sink().close() is None
