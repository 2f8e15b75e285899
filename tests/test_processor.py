"""A stage script that is stopped anywhere goes on with the same bytes; alone it works as well."""

import os
import random

import pytest

from stagerunner.errors import StateError
from stagerunner.files import read_json
from stagerunner.files import write_json
from stagerunner.processor import Progress
from stagerunner.resume import ResumePoint
from stagerunner.resume import restore


class Stopped(Exception):
    """Ends a script in the middle, as a kill does: nothing in it gets to commit."""


class Stage:
    """Starts scripts as the runner does: with variables, and outputs cut to what is committed."""

    def __init__(self, folder, monkeypatch, interval=3):
        self.folder = folder
        self.private = folder / 'out'
        self.private.mkdir()
        self.progress = folder / 'state' / 'progress_work.json'
        self.progress.parent.mkdir()
        self.monkeypatch = monkeypatch
        self.interval = interval

    def begin(self):
        """Restore what was committed and return the `Progress` that a script sees then."""
        committed = read_json(str(self.progress)) or {'lineOffset': 0}
        if committed['lineOffset']:
            restore(ResumePoint(committed['lineOffset'], committed.get('outputs')),
                    str(self.private))
        for name, value in (('OUTPUT_DIR', self.private), ('PROGRESS_PATH', self.progress),
                            ('LINE_INTERVAL', self.interval),
                            ('LINE_OFFSET', committed['lineOffset'])):
            self.monkeypatch.setenv(f'PIPELINE_{name}', str(value))
        return Progress()

    def input(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def committed(self):
        return read_json(str(self.progress))


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


def upper(stage, paths, stop_after=None):
    """Run the usual script; `stop_after` lines it is killed."""
    progress = stage.begin()
    result = progress.open('result.txt')
    seen = []
    try:
        for number, line in enumerate(progress.lines(paths)):
            if number == stop_after:
                raise Stopped
            seen.append(line)
            result.write(line.upper())
        progress.__exit__(None, None, None)
    except Stopped:
        # A killed process leaves behind what its buffers had handed over by chance.
        if number % 2:
            result.flush()
        result.close()
    return seen


# -- lines -------------------------------------------------------------------------

@pytest.mark.parametrize(('data', 'lines'), [
    pytest.param(b'', [], id='empty'),
    pytest.param(b'a', ['a'], id='no-line-end'),
    pytest.param(b'a\n', ['a\n'], id='one'),
    pytest.param(b'\n\n', ['\n', '\n'], id='empty-lines'),
    pytest.param(b'a\r\nb\rc\n', ['a\r\n', 'b\rc\n'], id='line-feeds-only'),
    pytest.param('a\x0b\x0c\x1c\x85\u2028b\nc'.encode(), ['a\x0b\x0c\x1c\x85\u2028b\n', 'c'],
                 id='no-other-ends'),
    pytest.param(b'\xef\xbb\xbfa\n', ['\ufeffa\n'], id='byte-order-mark'),
    pytest.param('grün\n'.encode(), ['grün\n'], id='utf-8'),
    pytest.param(b'\xff\0\n', ['\udcff\0\n'], id='binary'),
])
def test_lines_end_at_line_feeds_and_keep_their_ends(stage, data, lines):
    path = stage.input('in', data)

    assert upper(stage, [path]) == lines
    assert stage.committed()['lineOffset'] == len(lines)


def test_the_lines_of_several_files_follow_one_another(stage):
    paths = [stage.input('a', b'1\n2'), stage.input('b', b''), stage.input('c', b'3\n')]

    assert upper(stage, paths) == ['1\n', '2', '3\n']
    assert (stage.private / 'result.txt').read_bytes() == b'1\n23\n'


def test_lines_can_be_bytes_or_another_encoding(stage):
    path = stage.input('in', 'ä\n'.encode('latin-1'))

    assert list(stage.begin().lines([path], encoding=None)) == [b'\xe4\n']
    assert list(stage.begin().lines([path], encoding='latin-1')) == ['ä\n']


def test_all_files_are_handed_over_at_once(stage):
    """Bug: the second call skipped as many lines as the first one had read."""
    progress = stage.begin()
    progress.lines([stage.input('a', b'1\n')])

    with pytest.raises(ValueError, match='hand it all files at once'):
        progress.lines([stage.input('b', b'2\n')])


# -- outputs -----------------------------------------------------------------------

def test_text_and_bytes_are_written_as_they_are(stage):
    with stage.begin() as progress:
        progress.open('text').write('grün \udcff\n')
        progress.open('latin', encoding='latin-1').write('grün\r\n')
        progress.open('sub/raw', encoding=None).write(b'\xff\n')
        print('printed', file=progress.open('print'))

    assert {path.name: path.read_bytes() for path in stage.private.rglob('*') if path.is_file()} \
        == {'text': b'gr\xc3\xbcn \xff\n', 'latin': b'gr\xfcn\r\n', 'raw': b'\xff\n',
            'print': b'printed\n'}
    assert stage.committed()['outputs'] == {'text': 8, 'latin': 6, 'sub/raw': 2, 'print': 8}


def test_an_output_that_is_asked_for_again_is_the_same_one(stage):
    """Bug: the second time it was emptied."""
    with stage.begin() as progress:
        for name in ('a', 'b', './a', 'a'):
            progress.open(name).write('x')

    assert (stage.private / 'a').read_bytes() == b'xxx'
    assert stage.committed()['outputs'] == {'a': 3, 'b': 1}


def test_what_a_stopped_attempt_left_beyond_its_commit_is_gone(stage):
    (stage.private / 'result.txt').write_bytes(b'left over, and longer than what comes')

    upper(stage, [stage.input('in', b'a\n')])

    assert (stage.private / 'result.txt').read_bytes() == b'A\n'


# -- commits -----------------------------------------------------------------------

def test_progress_is_committed_at_every_interval_and_at_the_end(stage):
    progress = stage.begin()
    result = progress.open('result.txt')
    seen = []
    with progress:
        for line in progress.lines([stage.input('in', b'a\n' * 7)]):
            result.write(line)
            seen.append((stage.committed() or {}).get('lineOffset'))

    assert seen == [None, None, None, 3, 3, 3, 6]
    assert stage.committed() == {'lineOffset': 7, 'outputs': {'result.txt': 14},
                                 'position': [0, 14]}


def test_a_script_may_commit_when_it_likes(stage):
    progress = stage.begin()
    progress.open('result.txt').write('abc')
    progress.commit()

    assert stage.committed() == {'lineOffset': 0, 'outputs': {'result.txt': 3},
                                 'position': [0, 0]}
    progress.__exit__(KeyError, KeyError(), None)


def test_outputs_are_on_the_disk_before_progress_is_and_that_before_the_script_goes_on(
        stage, flushed):
    progress = stage.begin()
    progress.open('result.txt').write('abc')
    progress.commit()

    name, result, temporary, folder = flushed
    assert (name, result) == (str(stage.private), str(stage.private / 'result.txt'))
    assert (stage.private / 'result.txt').read_bytes() == b'abc'
    assert temporary.startswith(str(stage.progress)) and folder == str(stage.progress.parent)
    progress.__exit__(KeyError, KeyError(), None)


def test_after_an_exception_nothing_is_committed(stage):
    path = stage.input('in', b'a\n' * 5)

    with pytest.raises(KeyError), stage.begin() as progress:
        result = progress.open('result.txt')
        for number, line in enumerate(progress.lines([path])):
            result.write(line)
            if number == 4:
                raise KeyError

    assert stage.committed()['lineOffset'] == 3
    with pytest.raises(ValueError, match='closed file'):
        result.write('more')


def test_a_script_without_outputs_of_its_own_promises_none(stage):
    """Bug: an empty list of outputs made the runner remove what such a script had written."""
    with stage.begin() as progress:
        list(progress.lines([stage.input('in', b'a\n')]))

    assert stage.committed() == {'lineOffset': 1, 'position': [0, 2]}


# -- going on ----------------------------------------------------------------------

@pytest.mark.parametrize('interval', [1, 3, 50])
def test_stopped_at_any_line_it_ends_with_the_same_bytes(tmp_path, monkeypatch, interval):
    data = [b'one\ntwo\n\nthr\xffee', b'', b'four\r\nfive\nsix\n', b'seven\neight\nnine']
    lines = [line.decode('utf-8', 'surrogateescape')
             for part in data for line in part.splitlines(keepends=True)]

    for stop_after in range(10):
        folder = tmp_path / str(stop_after)
        folder.mkdir()
        stage = Stage(folder, monkeypatch, interval)
        paths = [stage.input(str(number), part) for number, part in enumerate(data)]
        first = upper(stage, paths, stop_after)
        done = (stage.committed() or {'lineOffset': 0})['lineOffset']
        second = upper(stage, paths)

        assert (stage.private / 'result.txt').read_bytes() == b''.join(data).upper()
        assert first[:done] + second == lines and done == stop_after // interval * interval
        assert stage.committed()['lineOffset'] == 10


def test_stopped_again_and_again_it_ends_with_the_same_bytes(tmp_path, monkeypatch, rng):
    for trial in range(6):
        folder = tmp_path / str(trial)
        folder.mkdir()
        stage = Stage(folder, monkeypatch, rng.choice([2, 3, 7]))
        data = b''.join(b'x' * rng.randrange(9) + b'\n' for _ in range(60))
        path = stage.input('in', data)
        for _ in range(6):
            upper(stage, [path], rng.randrange(12))
        upper(stage, [path])

        assert (stage.private / 'result.txt').read_bytes() == data.upper()


def test_an_output_that_is_opened_late_keeps_its_lines_over_two_stops(stage):
    """Bug: a commit of the second attempt forgot the outputs that it had not opened yet."""
    path = stage.input('in', b'a1\nb1\nb2\nb3\nb4\na2\n')

    def split(stop_after):
        progress = stage.begin()
        for number, line in enumerate(progress.lines([path])):
            if number == stop_after:
                break
            progress.open(line[0]).write(line)
        progress.__exit__(*([None] * 3 if stop_after is None else [Stopped, None, None]))

    stage.interval = 2
    split(2)
    split(2)
    split(None)

    assert (stage.private / 'a').read_bytes() == b'a1\na2\n'
    assert (stage.private / 'b').read_bytes() == b'b1\nb2\nb3\nb4\n'


def test_it_seeks_and_does_not_read_again_what_was_done(stage):
    """What was done is overwritten without line ends: who read it again would count wrongly."""
    path = stage.input('in', b'one\ntwo\nthree\nfour\n')
    upper(stage, [path], 3)
    stage.input('in', b'#' * len(b'one\ntwo\nthree\n') + b'four\n')

    assert upper(stage, [path]) == ['four\n']
    assert (stage.private / 'result.txt').read_bytes() == b'ONE\nTWO\nTHREE\nFOUR\n'


def test_what_was_not_cut_back_is_cut_by_the_script_itself(stage):
    path = stage.input('in', b'one\ntwo\nthree\nfour\n')
    upper(stage, [path], 3)
    stage.begin()
    with (stage.private / 'result.txt').open('ab') as result:
        result.write(b'more than was committed')
    progress = Progress()

    with progress:
        result = progress.open('result.txt')
        for line in progress.lines([path]):
            result.write(line.upper())

    assert (stage.private / 'result.txt').read_bytes() == b'ONE\nTWO\nTHREE\nFOUR\n'


@pytest.mark.parametrize('position', [
    None, 'x', [], [0], [0, 1, 2], ['0', 4], [0, 4.0], [True, 4], [-1, 4], [7, 4], [0, -4],
    [0, 10**9]])
def test_a_position_that_is_missing_or_odd_costs_time_and_no_lines(stage, position):
    paths = [stage.input('a', b'1\n2\n'), stage.input('b', b'3\n4\n5\n6\n7\n8\n')]
    upper(stage, paths, 3)
    write_json(str(stage.progress), dict(stage.committed(), position=position), durable=False)

    # Bug: the position after such a start left out the lines that were skipped.
    assert upper(stage, paths, 4) == ['4\n', '5\n', '6\n', '7\n']
    assert stage.committed()['position'] == [1, 8]
    assert upper(stage, paths) == ['7\n', '8\n']
    assert (stage.private / 'result.txt').read_bytes() == b'1\n2\n3\n4\n5\n6\n7\n8\n'


@pytest.mark.parametrize('spoil', [
    pytest.param(lambda path: path.unlink(), id='gone'),
    pytest.param(lambda path: path.write_text('{'), id='torn'),
    pytest.param(lambda path: path.write_text('[]'), id='list'),
    pytest.param(lambda path: path.write_text('{"lineOffset": 2}'), id='other-line'),
])
def test_progress_that_went_away_after_the_runner_looked_ends_the_script(stage, spoil):
    """Bug: it went on with emptied outputs, so the result lacked the lines that were done."""
    upper(stage, [stage.input('in', b'a\n' * 5)], 4)
    stage.begin()
    spoil(stage.progress)

    with pytest.raises(StateError, match='does not tell what became of the first 3 lines'):
        Progress()


# -- without a runner ----------------------------------------------------------------

def test_outside_the_runner_it_starts_at_0_and_writes_here(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith('PIPELINE_')]:
        monkeypatch.delenv(name)
    (tmp_path / 'in').write_bytes(b'a\n' * 120)

    with Progress() as progress:
        result = progress.open('result.txt')
        for line in progress.lines(['in']):
            result.write(line.upper())

    assert (tmp_path / 'result.txt').read_bytes() == b'A\n' * 120
    assert (progress.interval, progress.line_offset) == (50, 120)
    assert sorted(os.listdir('.')) == ['in', 'result.txt']


def test_a_long_text_keeps_every_byte(stage, rng):
    data = bytes(rng.choice(b'ab\xff\n\r\0') for _ in range(20_000))
    path = stage.input('in', data)
    stage.interval = 500

    upper(stage, [path], random.Random(1).randrange(3000))
    upper(stage, [path])

    assert (stage.private / 'result.txt').read_bytes() == data.upper()
