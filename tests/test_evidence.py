"""Tests of `stagerunner.evidence`: what a success leaves in the audit is whole, and bounded."""

from __future__ import annotations

import json

import pytest

from stagerunner.evidence import MOST_BYTES
from stagerunner.evidence import MOST_ENTRIES
from stagerunner.evidence import evidence
from stagerunner.state.marker import Output

pytestmark = pytest.mark.unit


def parts(**given):
    return dict({'format': 1, 'inputs': [['in.txt', 'aa']], 'processor': ['bin/x.py', 'bb'],
                 'helpers': [], 'params': {}, 'env': {}, 'options': {}, 'python': '3.11'}, **given)


def test_it_is_what_the_key_was_made_of_and_the_manifest():
    found = evidence(parts(params={'level': 2}), 'data/out',
                     [Output('a', 5, 'cc'), Output('b', 0, '', 'a')])

    assert found == dict(parts(params={'level': 2}), outputDir='data/out', outputs=[
        {'path': 'a', 'size': 5, 'sha256': 'cc'},
        {'path': 'b', 'size': 0, 'sha256': '', 'link': 'a'}])


def test_long_lists_and_values_are_told_by_their_digest():
    many = [[f'in/{number}', 'aa'] for number in range(MOST_ENTRIES + 1)]
    whole = evidence(parts(inputs=many[1:]), 'o', [])
    cut = evidence(parts(inputs=many, params={'text': 'x' * MOST_BYTES, 'n': 1}), 'o',
                   [Output(str(number), 1, 'cc') for number in range(MOST_ENTRIES + 1)])

    assert whole['inputs'] == many[1:]
    assert cut['inputs']['count'] == cut['outputs']['count'] == MOST_ENTRIES + 1
    assert set(cut['params']['text']) == {'digest'} and cut['params']['n'] == 1
    assert len(json.dumps(cut)) < 2000


def test_equal_things_have_equal_digests_and_others_have_not():
    long = ['x' * 2000, 'x' * 1999 + 'y']

    one, same, other = (evidence(parts(params={'p': text}), 'o', [])
                        for text in (long[0], long[0], long[1]))

    assert one == same and one != other


def test_parts_are_not_changed():
    given = parts(params={'text': 'x' * 5000})

    evidence(given, 'o', [])

    assert given == parts(params={'text': 'x' * 5000})
