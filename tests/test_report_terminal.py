"""On a terminal the block is drawn below the lines, and the lines stay what they are."""

import io

import pytest

from screens import FakeTerminal
from stagerunner.report.console import Stream
from stagerunner.report.console import may_draw
from stagerunner.report.terminal import Above
from stagerunner.report.terminal import Terminal
from stagerunner.report.terminal import cut
from stagerunner.report.terminal import fold
from stagerunner.report.terminal import rows_of
from stagerunner.report.terminal import width_of

pytestmark = pytest.mark.unit


def terminal(columns=80, rows=24, **environment):
    """Return a terminal of this size and what shows its screen."""
    shown = FakeTerminal()
    return Terminal(Stream(shown), dict({'COLUMNS': str(columns), 'LINES': str(rows)},
                                        **environment)), shown


# -- widths ----------------------------------------------------------------------

@pytest.mark.parametrize(('text', 'width'), [
    ('', 0), ('abc', 3), ('論文', 4), ('e\u0301', 1), ('ｶﾅ', 2), ('ＡＢ', 4), ('a\u200db', 2)])
def test_the_width_of_a_text_is_in_columns(text, width):
    assert width_of(text) == width


@pytest.mark.parametrize(('text', 'columns', 'shown'), [
    ('abc', 3, 'abc'), ('abcd', 3, 'a..'), ('論文集', 5, '論..'), ('論文集', 6, '論文集'),
    ('e\u0301e\u0301e\u0301', 3, 'e\u0301e\u0301e\u0301'), ('abc', 1, '.'), ('abc', 0, ''),
    ('e\u0301e\u0301e\u0301e', 3, 'e\u0301..')])
def test_a_text_is_cut_to_columns_and_says_so(text, columns, shown):
    assert cut(text, columns) == shown
    assert width_of(shown) <= columns


def test_rows_are_those_of_a_terminal():
    assert rows_of('abcde', 2) == ['ab', 'cd', 'e']
    assert rows_of('論文集', 3) == ['論', '文', '集']
    assert rows_of('', 3) == ['']
    assert rows_of('論', 1) == ['論', '']


@pytest.mark.parametrize('text', [
    '[SKIP] stage_copy (idempotent key matched)', 'x' * 50, '[DONE] a'])
def test_a_line_that_looks_like_no_other_is_left_as_it_is(text):
    assert fold(text, 20) == text


@pytest.mark.parametrize('forged', ['[DONE] b in 1.0s', 'Run r1 state: completed',
                                    'warning: x', 'first failure: x', 'log: x', 'note: x'])
def test_no_row_of_a_line_can_be_made_to_look_like_another_line(forged):
    text = fold('  | ' + 'x' * 16 + forged, 20)

    assert [row[:4] for line in text.split('\n')[1:] for row in rows_of(line, 20)] == ['    '] * (
        text.count('\n'))
    assert text.replace('\n    ', '') == '  | ' + 'x' * 16 + forged


# -- who gets a block ----------------------------------------

@pytest.mark.parametrize(('term', 'is_drawn'), [
    ('xterm-256color', True), ('vt100', True), ('dumb', False), ('', False)])
def test_only_what_is_more_than_a_typewriter_is_drawn_on(monkeypatch, term, is_drawn):
    monkeypatch.setattr('os.name', 'posix')
    assert may_draw(Stream(FakeTerminal()), {'TERM': term}) is is_drawn
    assert not may_draw(Stream(io.StringIO()), {'TERM': term})
    assert not may_draw(Stream(None), {'TERM': term})


def test_a_closed_stream_is_no_terminal():
    closed = io.StringIO()
    closed.close()

    assert not Stream(closed).is_terminal


# -- drawing ----------------------------------------

def test_a_block_is_drawn_and_drawn_over_and_taken_away():
    there, shown = terminal()
    there.draw(['one', 'two', 'three'])
    first = shown.screen().lines()
    there.draw(['other', 'rows'])
    second = shown.screen().lines()
    there.clear()

    assert (first, second) == (['one', 'two', 'three'], ['other', 'rows'])
    assert shown.screen().lines() == []


def test_what_has_not_changed_is_not_drawn_again():
    there, shown = terminal()
    there.draw(['one'])
    before = shown.getvalue()
    there.draw(['one'])

    assert shown.getvalue() == before


def test_lines_appear_above_the_block_whichever_stream_they_are_for():
    there, shown = terminal()
    out, err = (Above(Stream(shown), there) for _ in range(2))
    for number in range(3):
        there.draw([f'block {number}', 'second row'])
        (err if number == 1 else out).line(f'line {number}')
    there.draw(['block'])

    assert shown.screen().lines() == ['line 0', 'line 1', 'line 2', 'block']


def test_several_lines_at_once_are_coloured_and_folded_each():
    there, shown = terminal(60)
    there.draw(['block'])
    there.line('[DONE] a\n[FAIL] ' + 'x' * 53 + '[DONE] b', there.out)
    screen = shown.screen(60)

    assert screen.lines() == ['[DONE] a', '[FAIL] ' + 'x' * 53, '    [DONE] b']
    assert screen.colours == ['32', '0', '31', '0']


def test_a_line_for_a_file_leaves_the_block_alone():
    there, shown = terminal()
    file = io.StringIO()
    there.draw(['block'])
    before = shown.getvalue()
    Above(Stream(file), there).line('[DONE] a')

    assert (file.getvalue(), shown.getvalue()) == ('[DONE] a\n', before)


def test_the_block_is_never_wider_or_higher_than_the_screen():
    there, shown = terminal(60, 5)
    there.draw(['x' * 200] * 10)

    assert shown.screen(60).lines() == ['x' * 57 + '..'] * 3


@pytest.mark.parametrize('environment', [{'columns': 59}, {'columns': 40}, {'columns': 20},
                                         {'columns': 80, 'NO_COLOR': '1'}],
                         ids=lambda given: '-'.join(map(str, given.values())))
def test_where_no_escapes_are_wanted_one_row_is_drawn_with_none(environment):
    there, shown = terminal(**environment)
    out = Above(Stream(shown), there)
    for number in range(3):
        there.draw([f'block {"long" * (3 - number)}', 'second row'])
    middle = shown.screen(environment['columns']).lines()
    out.line('[FAIL] a: x')
    there.draw(['again'])
    there.clear()

    assert '\x1b' not in shown.getvalue()
    assert middle == ['block long']
    assert shown.screen(environment['columns']).lines() == ['[FAIL] a: x']


def test_an_empty_no_color_means_nothing():
    there, shown = terminal(NO_COLOR='')
    there.line('[DONE] a', there.out)

    assert shown.getvalue() == '\x1b[32m[DONE]\x1b[0m a\n'


@pytest.mark.parametrize(('line', 'colours'), [
    ('[DONE] a in 1.000s', ['32', '0']), ('[FAIL] a: x', ['31', '0']),
    ('[RETRY] a', ['33', '0']), ('warning: x', ['33', '0']), ('[SKIP] a (x)', []),
    ('Run r1 state: completed', [])])
def test_the_beginning_of_a_line_says_in_colour_how_it_is(line, colours):
    there, shown = terminal()
    there.line(line, there.out)
    screen = shown.screen()

    assert (screen.lines(), screen.colours) == ([line], colours)


def test_a_terminal_that_became_narrower_loses_no_line():
    """What was drawn before may stay behind; the lines above it do."""
    there, shown = terminal(100)
    there.line('[DONE] a', there.out)
    there.draw(['x' * 90, 'second'])
    there.environment['COLUMNS'] = '30'
    there.draw(['y' * 90, 'second'])
    there.line('[DONE] b', there.out)

    screen = shown.screen(100)
    assert [line for line in screen.lines() if line.startswith('[')] == ['[DONE] a', '[DONE] b']


def test_names_that_the_encoding_does_not_have_keep_their_place():
    class Old(FakeTerminal):
        encoding = 'ascii'

    shown = Old()
    there = Terminal(Stream(shown), {'COLUMNS': '60'})
    there.draw(['論文' * 20])
    there.line('論', there.out)

    assert shown.screen(60).lines() == ['\\u8ad6']
    assert shown.getvalue().isascii()


def test_a_reader_that_went_away_is_no_error():
    there = Terminal(Stream(None), {})
    there.draw(['x'])
    there.line('y', there.out)
    there.clear()

    assert there.size == (80, 24)
