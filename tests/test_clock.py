"""Times are UTC text; a request to stop is seen by every wait, now and later."""

import os
import select
import threading
import time

import pytest

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.clock import stamp


@pytest.fixture
def stop():
    made = Stop()
    yield made
    made.close()


def is_readable(stop):
    return bool(select.select([stop.fileno()], [], [], 0)[0])


@pytest.mark.parametrize(('seconds', 'text'), [
    pytest.param(0, '1970-01-01T00:00:00.000000+00:00', id='epoch'),
    pytest.param(0.1234564, '1970-01-01T00:00:00.123456+00:00', id='rounded-down'),
    pytest.param(1.9999999, '1970-01-01T00:00:02.000000+00:00', id='rounded-into-next-second'),
    pytest.param(-0.25, '1969-12-31T23:59:59.750000+00:00', id='before-epoch'),
    pytest.param(1764547200, '2025-12-01T00:00:00.000000+00:00', id='contract'),
    pytest.param(4102444800.5, '2100-01-01T00:00:00.500000+00:00', id='far'),
])
def test_a_time_is_utc_with_microseconds(seconds, text):
    assert stamp(seconds) == text


def test_a_time_does_not_depend_on_the_zone(monkeypatch):
    plain = stamp(1764547200)
    monkeypatch.setenv('TZ', 'Asia/Kolkata')
    time.tzset()
    try:
        assert stamp(1764547200) == plain
    finally:
        monkeypatch.undo()
        time.tzset()


def test_texts_sort_like_the_times_they_stand_for(rng):
    moments = sorted(rng.uniform(0, 4e9) for _ in range(200))

    assert [stamp(moment) for moment in moments] == sorted(map(stamp, moments))


def test_the_real_clock_tells_both_times():
    clock = Clock()
    before = time.time(), time.monotonic()

    assert before[0] <= clock.now() <= time.time()
    assert before[1] <= clock.monotonic() <= time.monotonic()


def test_nobody_asked(stop):
    assert (stop.is_requested, stop.count, stop.signum, is_readable(stop)) == (False, 0, 0, False)


def test_a_request_is_seen_at_once_and_by_later_waits_too(stop):
    stop.request(15)

    assert stop.is_requested and is_readable(stop) and is_readable(stop)


def test_the_first_signal_is_the_one_that_is_reported(stop):
    stop.request(15)
    stop.request(2)

    assert (stop.signum, stop.count) == (15, 2)


def test_what_was_seen_can_be_taken_off_and_the_next_request_is_seen_again(stop):
    stop.drain()
    stop.request(2)
    stop.drain()
    was_readable = is_readable(stop)
    stop.request(2)

    assert (was_readable, is_readable(stop)) == (False, True)


def test_a_request_never_blocks_however_often_it_comes(stop):
    """Over 64 KiB of requests: a pipe that nobody reads would stop the signal handler."""
    for _ in range(70_000):
        stop.request(2)

    assert stop.count == 70_000 and is_readable(stop)


def test_a_request_from_elsewhere_ends_a_wait(stop):
    thread = threading.Thread(target=stop.request, args=(2,))
    thread.start()

    assert select.select([stop.fileno()], [], [], 60)[0]
    thread.join()


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
def test_the_pipe_is_given_back():
    before = os.listdir('/proc/self/fd')
    stop = Stop()
    number = stop.fileno()
    stop.close()

    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(number)
    assert os.listdir('/proc/self/fd') == before
