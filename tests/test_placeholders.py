"""Placeholders are found wherever they stand in a JSON value."""

import pytest

from stagerunner.placeholders import fields_in
from stagerunner.placeholders import fixed_folder
from stagerunner.placeholders import texts_in

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(('text', 'fields'), [
    ('', []), ('{item}', []), ('{item.id', []), ('item.id', []), ('{item.id}', ['id']),
    ('a{item.x y}{item.}', ['x y', '']), ('{{item.id}}', ['id']), ('{item.{item.id}}', ['id']),
])
def test_fields_of_a_text_are_found(text, fields):
    assert fields_in(text) == fields


def test_texts_are_found_with_their_places():
    value = {'a': ['x', '{item.id}'], '{item.key}': 1, 'b': {'c': '{item.no'}, 'd': None}

    assert list(texts_in(value, ('top',))) == [
        (('top', 'a', 1), '{item.id}'), (('top', 'b', 'c'), '{item.no')]


@pytest.mark.parametrize(('path', 'folder'), [
    ('a/b', 'a/b'), ('a/{item.id}', 'a'), ('a/b-{item.id}/c', 'a'), ('{item.id}/a', '.'),
    ('a/{item}', 'a/{item}')])
def test_the_part_that_all_items_share_is_a_whole_folder(path, folder):
    assert fixed_folder(path) == folder
