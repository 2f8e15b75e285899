"""Free text becomes the name of one file, and no two texts the same."""

import itertools

import pytest

from stagerunner.spelling import LONGEST
from stagerunner.spelling import encode


@pytest.mark.parametrize(('text', 'name'), [
    ('paper_0001.pdf', 'paper_0001.pdf'),
    ('A-z.9_', 'A-z.9_'),
    ('doi:10.1234/x', 'doi%3A10.1234%2Fx'),
    ('a b\\c', 'a%20b%5Cc'),
    ('100%', '100%25'),
    ('a~b', 'a%7Eb'),
    ('é', '%C3%A9'),
    ('\0\n', '%00%0A'),
    ('.', '%2E'), ('..', '%2E%2E'), ('..a.b', '%2E%2Ea.b'), ('.hidden', '%2Ehidden'),
    ('con', '%63on'), ('NUL.txt', '%4EUL.txt'), ('com1.', '%63om1.'), ('Lpt9', '%4Cpt9'),
    ('console', 'console'), ('com10', 'com10'), ('a.con', 'a.con'),
    pytest.param('\udcff', '%ED%B3%BF', id='no-UTF-8'),
    pytest.param('', '%', id='nothing'),
])
def test_what_is_not_plain_is_percent_encoded(text, name):
    assert encode(text) == name


@pytest.mark.parametrize('text', ['a' * 101, 'é' * 17, '/' * 500, 'x' + '/' * 34, 'xx' + '/' * 33])
def test_what_is_too_long_is_cut_and_gets_a_digest(text):
    name = encode(text)
    kept, tilde, digits = name.rpartition('~')

    assert len(name) <= LONGEST and tilde and len(digits) == 8
    assert all(len(part) >= 2 for part in kept.split('%')[1:])


def test_what_just_fits_is_not_cut():
    assert encode('a' * 100) == 'a' * 100 and encode('/' * 33) == '%2F' * 33


def test_long_texts_that_differ_at_their_ends_have_different_names():
    assert encode('a' * 200 + 'x') != encode('a' * 200 + 'y')


def test_no_two_texts_share_a_name():
    """Among all of up to four of the characters that the rules are about."""
    texts = [''.join(chosen) for n in range(5)
             for chosen in itertools.product(['.', '%', '2', 'E', '~', 'é', '/'], repeat=n)]
    texts += ['con', 'Con', '%63on', 'con.', 'nul', '%']

    assert len({encode(text) for text in texts}) == len(set(texts))
