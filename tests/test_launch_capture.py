"""Of what a processor prints the beginning and the end are kept, on disk and never in memory."""

import os

import pytest

from limited import no_file_over
from stagerunner.launch.capture import HEAD_BYTES
from stagerunner.launch.capture import RECENT_LINES
from stagerunner.launch.capture import SEAM
from stagerunner.launch.capture import TAIL_BYTES
from stagerunner.launch.capture import Log
from stagerunner.launch.capture import Output
from stagerunner.launch.capture import Recent
from stagerunner.launch.capture import Redactor
from stagerunner.launch.capture import in_order


def kept(data, head, tail):
    """Return what a log of so much output has to be."""
    if len(data) <= head + tail:
        return data
    cut = len(data) - head - tail
    return data[:head] + b'\n... %d bytes cut ...\n' % cut + data[-tail:]


# -- the log -----------------------------------------------------------------------

def test_a_log_of_nothing_is_no_file(tmp_path):
    log = Log('logs/r1/a.1.log')
    log.close()

    assert os.listdir('.') == [] and log.printed == 0


def test_the_first_byte_makes_the_file_and_the_folders_above_it(tmp_path):
    log = Log(str(tmp_path / 'logs' / 'r1' / 'a.1.log'))
    log.write(b'\xff\0\x1b[2J\r\n')
    log.close()
    log.close()

    assert (tmp_path / 'logs' / 'r1' / 'a.1.log').read_bytes() == b'\xff\0\x1b[2J\r\n'


def test_the_log_of_a_former_run_with_this_id_is_replaced(tmp_path):
    (tmp_path / 'log').write_bytes(b'a long former log')
    log = Log('log')
    log.write(b'new')
    log.close()

    assert (tmp_path / 'log').read_bytes() == b'new'


@pytest.mark.parametrize('at_a_time', [1, 3, 7, 10, 20, 30, 500])
def test_beginning_and_end_are_kept_however_the_bytes_arrive(tmp_path, at_a_time):
    for size in (1, 9, 10, 11, 29, 30, 31, 32, 49, 50, 51, 70, 71, 103, 104, 105, 177, 178,
                 179, 250, 500):
        data = bytes(number % 251 for number in range(size))
        log = Log('log', head_bytes=10, tail_bytes=20)

        for start in range(0, size, at_a_time):
            log.write(data[start:start + at_a_time])
        log.close()

        assert (tmp_path / 'log').read_bytes() == kept(data, 10, 20)
        assert log.printed == size and log.fault is None
        assert os.listdir('.') == ['log']


def test_while_it_is_written_the_file_never_grows_beyond_its_cap(tmp_path, rng):
    log = Log('log', head_bytes=100, tail_bytes=300)

    for _ in range(200):
        log.write(b'x' * rng.randrange(90))
        assert not log.printed or (tmp_path / 'log').stat().st_size <= 400 + len(SEAM)
    log.close()


@pytest.mark.parametrize('at_a_time', [1, 7, 90, 500])
def test_a_ring_that_was_never_closed_can_be_put_in_order_at_any_time(tmp_path, at_a_time):
    """That is the log of a killed run, and of one that goes on."""
    data = bytes(number % 251 for number in range(500))
    log = Log('log', head_bytes=10, tail_bytes=20)
    for start in range(0, 500, at_a_time):
        log.write(data[start:start + at_a_time])
        seen, so_far = in_order((tmp_path / 'log').read_bytes(), 10, 20), data[:start + at_a_time]
        if len(so_far) <= 30 + len(SEAM):
            assert seen == so_far
        else:
            assert seen == so_far[:10] + b'\n... lines cut ...\n' + so_far[-20:]
    log.close()

    assert in_order((tmp_path / 'log').read_bytes(), 10, 20) == kept(data, 10, 20)


def test_a_log_of_just_that_size_without_a_seam_is_no_ring():
    data = b'x' * (30 + len(SEAM))

    assert in_order(data, 10, 20) == data


def test_the_caps_are_those_of_the_contract(tmp_path):
    """More than 10 MiB pass through a real log, in blocks as a pipe gives them."""
    block = bytes(range(256)) * 1024
    log = Log('log')
    for _ in range(48):
        log.write(block)
    log.close()

    assert (HEAD_BYTES, TAIL_BYTES) == (1024 * 1024, 9 * 1024 * 1024)
    assert (tmp_path / 'log').read_bytes() == kept(block * 48, HEAD_BYTES, TAIL_BYTES)


# -- when the disk refuses ---------------------------------------------------------

def test_a_full_disk_stops_the_log_and_not_the_processor(tmp_path):
    log = Log('log')
    with no_file_over(10):
        log.write(b'123456789')
        log.write(b'abcdef')
        log.write(b'more\n')
    log.write(b'with room again\n')
    log.close()

    assert 'File too large' in str(log.fault)
    assert (tmp_path / 'log').read_bytes() == b'123456789a'
    assert log.printed == 36 and log.recent.lines()[-1] == 'with room again'


def test_a_disk_that_is_full_at_the_end_leaves_the_ring_and_nothing_beside_it(tmp_path):
    log = Log('log', head_bytes=10, tail_bytes=20)
    log.write(b'h' * 10 + b'x' * (7 + len(SEAM)) + b't' * 20)
    with no_file_over(30):
        log.close()

    assert 'File too large' in str(log.fault)
    assert os.listdir('.') == ['log']
    assert in_order((tmp_path / 'log').read_bytes(), 10, 20) == (
        b'h' * 10 + b'\n... lines cut ...\n' + b't' * 20)


@pytest.mark.parametrize('lay', [
    pytest.param(lambda path: path.symlink_to('precious'), id='link'),
    pytest.param(lambda path: path.mkdir(), id='folder'),
    pytest.param(lambda path: os.mkfifo(str(path)), id='pipe')])
def test_what_lies_in_the_way_of_a_log_is_neither_followed_nor_waited_for(tmp_path, lay):
    (tmp_path / 'precious').write_text('p')
    lay(tmp_path / 'log')

    log = Log('log')
    log.write(b'text')
    log.close()

    assert log.fault is not None and log.printed == 4
    assert (tmp_path / 'precious').read_text() == 'p'


def test_a_file_in_the_place_of_the_folder_of_logs_is_no_reason_to_stop(tmp_path):
    (tmp_path / 'logs').write_text('a file')
    log = Log('logs/r1/a.1.log')
    log.write(b'text')
    log.close()

    assert isinstance(log.fault, NotADirectoryError)


@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='needs /proc')
@pytest.mark.parametrize('limit', [5, 25, 30, 1000])
def test_no_file_is_left_open_whatever_went_wrong(limit):
    before = os.listdir('/proc/self/fd')
    log = Log('log', head_bytes=10, tail_bytes=20)
    with no_file_over(limit):
        for _ in range(7):
            log.write(b'0123456789')
        log.close()

    assert os.listdir('/proc/self/fd') == before
    assert (log.fault is None) == (limit == 1000)


# -- the last lines ----------------------------------------------------------------

@pytest.mark.parametrize(('data', 'lines'), [
    pytest.param([], (), id='nothing'),
    pytest.param([b'\n \n'], (), id='blank'),
    pytest.param([b'a\nb\n'], ('a', 'b'), id='lines'),
    pytest.param([b'a\nb'], ('a', 'b'), id='no-line-end'),
    pytest.param([b'a\r\nb\r\n'], ('a', 'b'), id='windows'),
    pytest.param([b'a\n\nb\n\n\n'], ('a', '', 'b'), id='empty-lines'),
    pytest.param([b'gr\xc3', b'\xbcn\n'], ('grün',), id='cut-in-a-letter'),
    pytest.param([b'\xff\xfe\n'], ('\\xff\\xfe',), id='no-utf-8'),
    pytest.param([b'%d\n' % number for number in range(50)], tuple(map(str, range(30, 50))),
                 id='the-last-twenty'),
])
def test_the_last_lines_are_text_whatever_was_printed(data, lines):
    recent = Recent()
    for part in data:
        recent.add(part)

    assert recent.lines() == lines


def test_the_last_lines_take_16_kib_of_memory_whatever_was_printed():
    recent = Recent()
    for _ in range(5):
        recent.add(b'x' * 100_000)
        recent.add(b'y')

    line, = recent.lines()
    assert len(line) == 16 * 1024 and line.endswith('xy') and RECENT_LINES == 20


def test_both_streams_share_a_log_and_only_errors_are_judged(tmp_path):
    output = Output('log')
    output.write(b'out 1\n', is_error=False)
    output.write(b'err 1\n', is_error=True)
    output.write(b'out 2\n', is_error=False)
    output.log.close()

    assert (tmp_path / 'log').read_bytes() == b'out 1\nerr 1\nout 2\n'
    assert output.errors.lines() == ('err 1',)
    assert output.log.recent.lines() == ('out 1', 'err 1', 'out 2')


@pytest.mark.parametrize('secrets, printed, passed', [
    ((b'longer-one', b'longer'), b'longer-one', b'[secret]'),
    ((b'longer-one', b'longer'), b'longer-on longer.', b'[secret]-on [secret].'),
    ((b'longer-one', b'longer'), b'longer', b'[secret]'),
    ((b'aXa',), b'aXaXaXaXa', b'[secret]X[secret]Xa'),
    ((b'abc',), b'ababcab', b'ab[secret]ab'),
    ((b'two\nlines', b'lines'), b'two\ntwo\nlines', b'two\n[secret]')])
@pytest.mark.parametrize('at_a_time', [1, 2, 5, 100])
def test_a_secret_is_replaced_however_it_arrives(secrets, printed, passed, at_a_time):
    """The end of a longer secret was once let through when its beginning was a secret too."""
    redactor = Redactor(secrets)

    found = b''.join(redactor.pass_on(printed[place:place + at_a_time])
                     for place in range(0, len(printed), at_a_time)) + redactor.rest()

    assert found == passed
