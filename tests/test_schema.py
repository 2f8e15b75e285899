"""Checkers find every fault of a value, name its place, and never raise."""

import pytest

from stagerunner.schema import LONGEST_S
from stagerunner.schema import AnyJson
from stagerunner.schema import ByKind
from stagerunner.schema import Checker
from stagerunner.schema import Choice
from stagerunner.schema import Fault
from stagerunner.schema import Flag
from stagerunner.schema import Key
from stagerunner.schema import ListOf
from stagerunner.schema import Mapping
from stagerunner.schema import Number
from stagerunner.schema import Record
from stagerunner.schema import Rule
from stagerunner.schema import Text
from stagerunner.schema import describe
from stagerunner.schema import in_file_order
from stagerunner.schema import nearest
from stagerunner.schema import no_stage
from stagerunner.schema import place_text
from stagerunner.schema import printable
from stagerunner.strictjson import parse


def check(checker, value):
    """Return what a checker makes of a value, and its faults as lines of file `f`."""
    faults = []
    result = checker.check(value, ('here',), faults)
    return result, [fault.line('f') for fault in faults]


def no_cat(text):
    return 'cats are refused' if 'cat' in text else None


#: A table with every kind of checker.
TABLE = Record({
    'name': Key(Text(Rule(no_cat, '^(?!.*cat)')), required=True),
    'note': Key(Text(may_be_empty=True), 'none'),
    'enabled': Key(Flag(), True),
    'mode': Key(Choice('retry', 'fail'), 'retry'),
    'size': Key(Number(0), 7),
    'count': Key(Number(1, 10, whole=True), 3),
    'names': Key(ListOf(Text()), []),
    'free': Key(Mapping(), {}),
    'inner': Key(Record({'maxAttempts': Key(Number(), 3)}), {}),
})


# -- values that pass ----------------------------------------

@pytest.mark.parametrize(('checker', 'value'), [
    pytest.param(Checker(), object, id='base'),
    pytest.param(Text(), 'x', id='text'),
    pytest.param(Text(may_be_empty=True), '', id='empty-text'),
    pytest.param(Text(Rule(no_cat, '^(?!.*cat)')), 'dog', id='text-with-rule'),
    pytest.param(Flag(), True, id='true'),
    pytest.param(Flag(), False, id='false'),
    pytest.param(Choice('a', 'b'), 'b', id='choice'),
    pytest.param(Number(), 0, id='least'),
    pytest.param(Number(), LONGEST_S, id='most'),
    pytest.param(Number(0.5, 2), 1.25, id='fraction'),
    pytest.param(Number(0, above=True), 5e-324, id='just-above'),
    pytest.param(Number(1, whole=True), 1, id='whole'),
    pytest.param(ListOf(Number()), [], id='empty-list'),
    pytest.param(ListOf(Number(), at_least=2), [1, 2], id='list'),
    pytest.param(Mapping(Number(), Rule(no_cat, '^(?!.*cat)')), {'dog': 1}, id='mapping'),
    pytest.param(AnyJson(), {'a': [1, None, {'b': 'c'}]}, id='any'),
    pytest.param(TABLE, {'name': 'x', 'inner': {'maxAttempts': 1}}, id='record'),
])
def test_a_good_value_passes_as_it_is(checker, value):
    assert check(checker, value) == (value, [])


def test_a_whole_number_written_with_a_point_becomes_an_int():
    value, faults = check(Number(1, whole=True), 50.0)

    assert (value, type(value), faults) == (50, int, [])


def test_objects_with_free_keys_come_back_as_plain_copies():
    given = {'a': {'b': [1]}}

    value, _ = check(Mapping(), given)
    value['a']['b'].append(2)

    assert given == {'a': {'b': [1]}}


# -- faults ----------------------------------------

@pytest.mark.parametrize(('checker', 'value', 'message'), [
    pytest.param(Text(), 5, 'expected a string, got 5', id='text-number'),
    pytest.param(Text(), None, 'expected a string, got null', id='text-null'),
    pytest.param(Text(), ['x'], 'expected a string, got a list', id='text-list'),
    pytest.param(Text(), {}, 'expected a string, got an object', id='text-object'),
    pytest.param(Text(), True, 'expected a string, got true', id='text-flag'),
    pytest.param(Text(), '', 'must not be empty', id='text-empty'),
    pytest.param(Text(), 'a\0b', 'must not contain a NUL character', id='text-nul'),
    pytest.param(Text(Rule(no_cat, '^(?!.*cat)')), 'a cat', 'cats are refused', id='text-rule'),
    pytest.param(Flag(), 'true', "expected true or false, got 'true'", id='flag-string'),
    pytest.param(Flag(), 1, 'expected true or false, got 1', id='flag-number'),
    pytest.param(Flag(), None, 'expected true or false, got null', id='flag-null'),
    pytest.param(Choice('retry', 'fail'), 'Retry',
                 "expected 'retry' or 'fail', got 'Retry', did you mean 'retry'?", id='choice'),
    pytest.param(Choice('retry', 'fail'), 'x', "expected 'retry' or 'fail', got 'x'",
                 id='choice-far'),
    pytest.param(Choice('retry', 'fail'), False, "expected 'retry' or 'fail', got false",
                 id='choice-flag'),
    pytest.param(Number(), '50', "expected a number of at least 0, got '50'", id='number-string'),
    pytest.param(Number(), True, 'expected a number of at least 0, got true', id='number-flag'),
    pytest.param(Number(), -0.5, 'expected a number of at least 0, got -0.5', id='number-low'),
    pytest.param(Number(), LONGEST_S + 1, 'expected at most 3.15e+08, got 315000001',
                 id='number-high'),
    pytest.param(Number(), 10 ** 400, 'expected at most 3.15e+08, got 1' + 59 * '0',
                 id='number-beyond-floats'),
    pytest.param(Number(), -10 ** 400, 'expected a number of at least 0, got -1' + 58 * '0',
                 id='number-far-below'),
    pytest.param(Number(0, above=True), 0, 'expected a number above 0, got 0', id='number-at'),
    pytest.param(Number(0, 1), 1.5, 'expected at most 1, got 1.5', id='range-high'),
    pytest.param(Number(0, 1), -1, 'expected a number from 0 to 1, got -1', id='range-low'),
    pytest.param(Number(1, whole=True), 2.5, 'expected a whole number above 0, got 2.5',
                 id='whole-fraction'),
    pytest.param(Number(1, whole=True), 0, 'expected a whole number above 0, got 0',
                 id='whole-zero'),
    pytest.param(Number(0, whole=True), -1, 'expected a whole number of at least 0, got -1',
                 id='whole-negative'),
    pytest.param(Number(1, 10, whole=True), None, 'expected a whole number from 1 to 10, got null',
                 id='whole-null'),
    pytest.param(ListOf(Text()), 'x', "expected a list, got 'x'", id='list-string'),
    pytest.param(ListOf(Text()), {}, 'expected a list, got an object', id='list-object'),
    pytest.param(ListOf(Text(), at_least=1), [], 'expected at least 1, got an empty list',
                 id='list-empty'),
    pytest.param(Mapping(), [], 'expected an object, got a list', id='mapping-list'),
    pytest.param(TABLE, 'x', "expected an object, got 'x'", id='record-string'),
])
def test_a_bad_value_is_one_fault_at_its_place(checker, value, message):
    assert check(checker, value)[1] == [f'f: here: {message}']


@pytest.mark.parametrize(('checker', 'value', 'lines'), [
    pytest.param(ListOf(Number(0, 5)), [1, 'x', 2, 9],
                 ["here[1]: expected a number from 0 to 5, got 'x'",
                  'here[3]: expected at most 5, got 9'], id='entries-of-a-list'),
    pytest.param(Mapping(Number(0, 5), Rule(no_cat, '^(?!.*cat)')), {'cat': 9, 'dog': None},
                 ['here.cat: cats are refused', 'here.cat: expected at most 5, got 9',
                  'here.dog: expected a number from 0 to 5, got null'], id='keys-and-values'),
    pytest.param(TABLE, {'Name': 'x', 'enabeld': 1, 'zzz': 1},
                 ["here: unknown key 'Name', did you mean 'name'?",
                  "here: unknown key 'enabeld', did you mean 'enabled'?",
                  "here: unknown key 'zzz'"], id='keys-of-a-record'),
    pytest.param(TABLE, {'zzz': 'x'}, ["here: unknown key 'zzz'", "here: key 'name' is missing"],
                 id='required-key'),
    pytest.param(TABLE, {'name': '', 'inner': {'maxAttemps': 'x', 'maxAttempts': 'x'}},
                 ['here.name: must not be empty',
                  "here.inner: unknown key 'maxAttemps', did you mean 'maxAttempts'?",
                  "here.inner.maxAttempts: expected a number of at least 0, got 'x'"], id='depth'),
    pytest.param(TABLE, parse(b'{"name": "x", "free": {"a": 1, "a": [{"b": 1, "b": 2}]}, '
                              b'"name": "y", "inner": {"maxAttempts": 1, "maxAttempts": 2}}'),
                 ["here: duplicate key 'name'", "here.free: duplicate key 'a'",
                  "here.free.a[0]: duplicate key 'b'",
                  "here.inner: duplicate key 'maxAttempts'"], id='duplicates'),
    pytest.param(Mapping(), {'a\n\x1b[2J': parse(b'{"b": 1, "b": 1}')},
                 ["here.a\\n\\x1b[2J: duplicate key 'b'"], id='place-that-moves-the-cursor'),
    pytest.param(TABLE, {'name': 'x', 'a\nb': 1}, ["here: unknown key 'a\\nb'"],
                 id='key-that-breaks-the-line'),
])
def test_all_faults_of_a_value_are_found_each_at_its_place(checker, value, lines):
    assert check(checker, value)[1] == [f'f: {line}' for line in lines]


def test_of_very_many_stages_some_are_listed_where_one_is_named_that_there_is_not():
    assert no_stage('?', [f's{number}' for number in range(10_000)]).endswith(
        ' s17, s18, s19 and 9980 more')


def test_a_record_returns_what_was_given_and_completes_it_with_defaults():
    given, faults = check(TABLE, {'name': 'x', 'count': 5})

    assert (given, faults) == ({'name': 'x', 'count': 5}, [])
    assert TABLE.complete(given) == {
        'name': 'x', 'note': 'none', 'enabled': True, 'mode': 'retry', 'size': 7, 'count': 5,
        'names': [], 'free': {}, 'inner': {}}


def test_a_fault_at_the_top_has_no_place():
    assert Fault((), 'expected an object').line('f') == 'f: expected an object'


# -- words and order ----------------------------------------

@pytest.mark.parametrize(('value', 'text'), [
    (None, 'null'), (True, 'true'), (False, 'false'), (3, '3'), (2.5, '2.5'), ([], 'a list'),
    ({}, 'an object'), ('a', "'a'"), ('ä\n\x1b', "'\\xe4\\n\\x1b'"),
    ('x' * 60, repr('x' * 60)), ('x' * 61, repr('x' * 57) + '...'), (10 ** 999, '1' + '0' * 59)])
def test_a_value_is_described_on_one_short_line(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(('name', 'hint'), [
    ('outputdir', ", did you mean 'outputDir'?"), ('OUTPUTS', ", did you mean 'outputs'?"),
    ('input', ", did you mean 'inputs'?"), ('', ''), ('color', '')])
def test_the_nearest_name_is_suggested_whatever_its_case(name, hint):
    assert nearest(name, ['outputDir', 'outputs', 'inputs']) == hint


@pytest.mark.parametrize(('where', 'text'), [
    ((), ''), (('stages',), 'stages'), (('stages', 0), 'stages[0]'), ((0,), '[0]'),
    (('a', 'b', 3, 'c d'), 'a.b[3].c d'), (('a\x00\u2028',), 'a\\x00\\u2028')])
def test_a_place_is_spelled_as_programmers_do(where, text):
    assert place_text(where) == text


def test_text_that_is_printed_keeps_on_its_line():
    assert printable('ok äöü \x07\r\n\x9b') == 'ok äöü \\x07\\r\\n\\x9b'


def test_faults_are_sorted_as_their_places_stand_in_the_file():
    document = {'stages': [{'b': 1, 'a': 2}, {'z': 3}], 'name': 'x'}
    ordered = [
        Fault(('stages', 0), 'whole'),
        Fault(('stages', 0, 'b'), ''), Fault(('stages', 0, 'a'), ''),
        Fault(('stages', 1), 'first', 'z'), Fault(('stages', 1), 'missing', 'y'),
        Fault(('stages', 7), 'not there'), Fault(('name',), ''), Fault(('absent',), '')]

    assert in_file_order(ordered[::-1], document) == ordered


@pytest.mark.parametrize('where', [('stages', 7, 'x'), ('name', 'deeper', 'still'), ('no', 'x')])
def test_a_place_that_is_not_in_the_file_stands_where_it_would(where):
    document = {'stages': [{}], 'name': 'x'}
    absent, last = Fault(where, 'odd'), Fault(('zzz',), 'last')

    assert in_file_order([last, absent], document) == (
        [last, absent] if where[0] == 'no' else [absent, last])


@pytest.mark.parametrize(('value', 'result', 'messages'), [
    ('x', 'x', []), (2, 2, []), (['x'], ['x'], []), ({'a': 1}, {'a': 1}, []),
    ('', None, ['must not be empty']), (True, None, ['expected this or that, got true']),
    (None, None, ['expected this or that, got null']),
])
def test_a_value_may_be_of_one_of_some_kinds(value, result, messages):
    checker = ByKind('this or that', text=Text(), number=Number(1), entries=ListOf(Text()),
                     record=Mapping())
    faults = []

    assert checker.check(value, ('x',), faults) == result
    assert [fault.message for fault in faults] == messages


def test_a_kind_without_a_checker_is_refused():
    faults = []

    assert ByKind('a name', text=Text()).check([], (), faults) is None
    assert [fault.message for fault in faults] == ['expected a name, got a list']


def test_a_key_may_have_another_spelling_but_be_given_once():
    record = Record({'maxSize': Key(Number(1, whole=True))}, spellings={'max_size': 'maxSize'})
    faults = []

    assert record.check({'max_size': 3}, (), faults) == {'maxSize': 3} and not faults
    record.check({'max_size': 3, 'maxSize': 3}, (), faults)
    record.check({'max_size': 0}, ('x',), faults)
    assert [fault.line('f') for fault in faults] == [
        "f: 'maxSize' and 'max_size' are one key, give one of them",
        'f: x.max_size: expected a whole number above 0, got 0']
