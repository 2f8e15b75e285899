"""JSON is read strictly: what another reader could take differently is refused by its place."""

import json

import pytest

from stagerunner.strictjson import MAX_DEPTH
from stagerunner.strictjson import MAX_DIGITS
from stagerunner.strictjson import Repeated
from stagerunner.strictjson import parse


def nested(depth, opening='[', middle='1', closing=']'):
    return (opening * depth + middle + closing * depth).encode()


@pytest.mark.parametrize(('data', 'value'), [
    pytest.param(b'{"a": [1, 2.5, "x", true, null]}', {'a': [1, 2.5, 'x', True, None]}, id='any'),
    pytest.param(b'\xef\xbb\xbf{"a": 1}', {'a': 1}, id='byte-order-mark'),
    pytest.param(b' \r\n\t[] \n', [], id='white-space-around'),
    pytest.param(b'"text"', 'text', id='bare-string'),
    pytest.param('"grün \U0001f600"'.encode(), 'grün \U0001f600', id='utf-8'),
    pytest.param(b'"\\ud83d\\ude00 \\u0000"', '\U0001f600 \0', id='whole-pair'),
    pytest.param(b'-0', 0, id='minus-zero'),
    pytest.param(b'1e308', 1e308, id='largest'),
    pytest.param(b'1e-400', 0.0, id='too-small-is-zero'),
    pytest.param(b'9' * MAX_DIGITS, int('9' * MAX_DIGITS), id='most-digits'),
    pytest.param(b'0.' + b'5' * (MAX_DIGITS - 2), 5 / 9, id='longest-fraction'),
    pytest.param(nested(MAX_DEPTH), json.loads(nested(MAX_DEPTH)), id='deepest-list'),
    pytest.param(nested(MAX_DEPTH, '{"a":', '1', '}'),
                 json.loads(nested(MAX_DEPTH, '{"a":', '1', '}')), id='deepest-object'),
])
def test_what_is_strict_json_is_read(data, value):
    assert parse(data) == value


@pytest.mark.parametrize(('data', 'slip'), [
    (b"{'a': 1}", '; strings stand in double quotes'), (b'[1] # one', '; JSON has no comments'),
    (b'/* a list */ [1]', '; JSON has no comments'), (b'[1 2]', "Expecting ',' delimiter")])
def test_slips_of_a_hand_that_is_used_to_other_notations_are_named(data, slip):
    with pytest.raises(ValueError) as refused:
        parse(data)

    assert str(refused.value).endswith(slip)


def test_a_comma_too_many_is_named_in_the_words_of_python_or_ours():
    with pytest.raises(ValueError, match='trailing comma|; the comma before it is too many'):
        parse(b'{"a": [1], }')


@pytest.mark.parametrize(('data', 'fault'), [
    pytest.param(b'', 'is empty', id='empty'),
    pytest.param(b' \n\t', 'is empty', id='blank'),
    pytest.param(b'\xef\xbb\xbf', 'is empty', id='only-a-mark'),
    pytest.param(b'{"a": 1,}', 'not valid JSON at line 1 column ', id='trailing-comma'),
    pytest.param(b'{"a": 1}\n{', 'not valid JSON at line 2 column 1: Extra data', id='trailing'),
    pytest.param(b'[] x', 'not valid JSON at line 1 column 4: Extra data', id='trailing-word'),
    pytest.param(b'// no\n[]', 'not valid JSON at line 1 column 1: Expecting value',
                 id='comment'),
    pytest.param(b"{'a': 1}", 'not valid JSON at line 1 column 2: Expecting property name',
                 id='single-quotes'),
    pytest.param(b'[1\n,\n"a', 'not valid JSON at line 3 column 1: Unterminated string',
                 id='cut-off'),
    pytest.param(b'"a\nb"', 'not valid JSON at line 1 column 3: Invalid control character',
                 id='line-feed-in-string'),
    pytest.param(b'[01]', 'not valid JSON at line 1 column 3: ', id='leading-zero'),
    pytest.param(b'[.5]', 'not valid JSON at line 1 column 2: ', id='bare-fraction'),
    pytest.param(b'\x00', 'not valid JSON at line 1 column 1: ', id='nul'),
    pytest.param(b'{"a": "\xff"}', 'not UTF-8 at byte 7', id='latin-1'),
    pytest.param(b'"\xed\xa0\x80"', 'not UTF-8 at byte 1', id='encoded-surrogate'),
    pytest.param('[]'.encode('utf-16'), 'is UTF-16; save it as UTF-8', id='utf-16'),
    pytest.param(b'[NaN]', 'NaN is not a JSON number', id='nan'),
    pytest.param(b'[Infinity]', 'Infinity is not a JSON number', id='infinity'),
    pytest.param(b'[-Infinity]', '-Infinity is not a JSON number', id='minus-infinity'),
    pytest.param(b'1e400', '1e400 is too large for a number', id='1e400'),
    pytest.param(b'-1e400', '-1e400 is too large for a number', id='minus-1e400'),
    pytest.param(b'0.' + b'1' * 1000, '0.111111111111111111 is too large for a number',
                 id='long-fraction'),
    pytest.param(b'9' * 4301, 'a number has 4301 digits, at most 1000 are read',
                 id='4301-digits'),
    pytest.param(b'9' * 1001, 'a number has 1001 digits, at most 1000 are read',
                 id='1001-digits'),
    # Bug: the outermost list was not counted, so 65 levels were let through.
    pytest.param(nested(MAX_DEPTH + 1), 'nested deeper than 64', id='65-lists'),
    pytest.param(nested(MAX_DEPTH + 1, '{"a":', '1', '}'), 'nested deeper than 64',
                 id='65-objects'),
    pytest.param(nested(200_000), 'nested deeper than 64', id='200000-lists'),
    pytest.param(nested(200_000, '{"a":', '1', '}'), 'nested deeper than 64',
                 id='200000-objects'),
    pytest.param(b'"\\ud800"', 'a string holds half of a surrogate pair', id='high-half'),
    pytest.param(b'["\\udc00"]', 'a string holds half of a surrogate pair', id='low-half'),
    pytest.param(b'{"\\ud800": 1}', 'a string holds half of a surrogate pair', id='half-in-key'),
])
def test_what_is_not_strict_json_is_refused_with_its_place(data, fault):
    with pytest.raises(ValueError) as caught:
        parse(data)

    assert str(caught.value).startswith(fault)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 120


def test_duplicate_keys_come_back_named_and_the_last_value_counts():
    value = parse(b'{"a": 1, "b": {"c": 1, "c": 2, "c": 3}, "a": 4}')

    assert (value, value.repeated) == ({'a': 4, 'b': {'c': 3}}, ('a',))
    assert value['b'].repeated == ('c', 'c')


def test_an_object_without_duplicates_is_a_plain_one():
    assert type(parse(b'{"a": {}}')) is dict and Repeated().repeated == ()


def test_what_json_writes_is_read_back_the_same(rng):
    def value(depth):
        kind = rng.randrange(7 if depth else 5)
        if kind < 5:
            return [None, rng.random() < 0.5, rng.randrange(-10**18, 10**18),
                    rng.uniform(-1e300, 1e300), ''.join(map(chr, rng.sample(range(1, 0xd000), 5)))
                    ][kind]
        children = [value(depth - 1) for _ in range(rng.randrange(4))]
        return children if kind == 5 else {f'k{n}': child for n, child in enumerate(children)}

    for _ in range(200):
        made = value(4)
        assert parse(json.dumps(made, ensure_ascii=rng.random() < 0.5).encode()) == made
