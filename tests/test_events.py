"""Events are frozen records; a sink has one method that matters."""

import inspect

import pytest

from stagerunner import events
from stagerunner.events import Reason
from stagerunner.events import Sink
from stagerunner.events import TaskDone

RECORDS = [value for value in vars(events).values()
           if inspect.isclass(value) and issubclass(value, tuple)]


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
    assert record.__doc__.endswith('.') and 'alias for field' not in record.__doc__.lower()


def test_a_sink_must_receive_and_may_close():
    with pytest.raises(NotImplementedError):
        Sink().receive(Reason('x'))
    assert Sink().close() is None
