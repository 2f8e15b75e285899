"""Tests of `stagerunner.records`: they behave as those of `typing` do."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from stagerunner.records import NamedTuple

pytestmark = pytest.mark.unit


class Ours(NamedTuple):
    """A record of ours."""

    one: int
    two: typing.Optional[str] = None
    three: typing.Tuple[int, ...] = ()

    @property
    def both(self) -> str:
        """Two fields as one text."""
        return f'{self.one}{self.two}'


class Theirs(typing.NamedTuple):
    """The same of the standard library."""

    one: int
    two: typing.Optional[str] = None
    three: typing.Tuple[int, ...] = ()

    @property
    def both(self) -> str:
        """Two fields as one text."""
        return f'{self.one}{self.two}'


class Empty(NamedTuple):
    """No field at all."""


GIVEN = [((1,), {}), ((1, 'x'), {}), ((1, 'x', (2,)), {}), ((), {'one': 1}),
         ((1,), {'three': (3,)}), ((), {'three': (3,), 'one': 1, 'two': 'y'})]


@pytest.mark.parametrize('args, named', GIVEN)
def test_a_record_is_made_read_and_shown_as_one_of_typing(args, named):
    ours, theirs = Ours(*args, **named), Theirs(*args, **named)

    assert ours == theirs and hash(ours) == hash(theirs)
    assert (ours.one, ours.two, ours.three, ours.both) == (
        theirs.one, theirs.two, theirs.three, theirs.both)
    assert repr(ours) == repr(theirs).replace('Theirs', 'Ours')
    assert ours._asdict() == dict(theirs._asdict())
    assert ours._replace(two='z') == theirs._replace(two='z')
    assert Ours._make([1, 2, 3]) == Theirs._make([1, 2, 3])


@pytest.mark.parametrize('args, named', [
    ((), {}), ((1, 2, 3, 4), {}), ((1,), {'one': 1}), ((1,), {'four': 4}), ((), {'two': 'x'})])
def test_what_typing_refuses_is_refused(args, named):
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_a_field_that_there_is_not_cannot_be_replaced():
    for record in (Ours(1), Theirs(1)):
        # What kind of error it is depends on the version of Python.
        with pytest.raises((ValueError, TypeError), match='four'):
            record._replace(four=4)


def test_a_record_is_frozen():
    for record in (Ours(1), Theirs(1)):
        with pytest.raises(AttributeError):
            record.one = 2
        with pytest.raises(AttributeError):
            record.four = 4


def test_a_record_can_be_copied_and_pickled():
    record = Ours(1, 'x', (2,))

    assert copy.deepcopy(record) == pickle.loads(pickle.dumps(record)) == record
    assert type(pickle.loads(pickle.dumps(record))) is Ours


def test_a_record_says_which_fields_it_has():
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == dict(Theirs._field_defaults)
    assert Empty() == () and Empty._fields == ()


def test_a_record_can_be_extended_by_methods():
    class More(Ours):
        def doubled(self) -> int:
            return self.one * 2

    assert More(2).doubled() == 4 and More(2, 'x').two == 'x'
