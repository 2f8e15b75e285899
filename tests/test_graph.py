"""A cycle is told as a path, and a closure holds all that something needs."""

import random

import pytest

from stagerunner.graph import closure
from stagerunner.graph import find_cycle

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(('needs', 'cycle'), [
    pytest.param({}, [], id='empty'),
    pytest.param({'a': []}, [], id='single'),
    pytest.param({'a': ['b', 'c'], 'b': ['d'], 'c': ['d'], 'd': []}, [], id='diamond'),
    pytest.param({'a': ['nowhere']}, [], id='unknown-need'),
    pytest.param({'a': ['a']}, ['a', 'a'], id='itself'),
    pytest.param({'a': ['b'], 'b': ['a']}, ['a', 'b', 'a'], id='two'),
    pytest.param({'x': ['a'], 'a': ['b'], 'b': ['c'], 'c': ['a']}, ['a', 'b', 'c', 'a'],
                 id='what-only-leads-to-it-is-left-out'),
    pytest.param({'a': ['b', 'c'], 'b': [], 'c': ['d'], 'd': ['c']}, ['c', 'd', 'c'],
                 id='behind-a-dead-end'),
])
def test_a_cycle_is_found_as_a_path(needs, cycle):
    assert find_cycle(needs) == cycle


def test_a_chain_of_any_length_is_walked():
    needs = {str(number): [str(number + 1)] for number in range(50_000)}

    assert find_cycle(needs) == []
    assert len(closure(needs, ['0'])) == 50_001
    assert len(find_cycle(dict(needs, **{'50000': ['0']}))) == 50_002


def test_a_cycle_is_found_exactly_where_the_graph_has_one():
    """Random graphs, judged by repeatedly taking away what needs nothing that is left."""
    rng = random.Random(5)
    found = []
    for _ in range(300):
        names = [str(number) for number in range(rng.randint(1, 8))]
        needs = {name: rng.sample(names, rng.randint(0, min(2, len(names)))) for name in names}
        left = dict(needs)
        while any(not set(left[name]) & set(left) for name in left):
            left = {name: left[name] for name in left if set(left[name]) & set(left)}

        cycle = find_cycle(needs)

        assert bool(cycle) == bool(left)
        assert all(after in needs[before] for before, after in zip(cycle, cycle[1:]))
        assert cycle[:1] == cycle[len(cycle) - 1:]
        found.append(bool(cycle))
    assert {True, False} == set(found)


@pytest.mark.parametrize(('names', 'needed'), [
    ([], ''), (['d'], 'd'), (['b'], 'bd'), (['a'], 'abcd'), (['b', 'e'], 'bdef'), (['e'], 'ef')])
def test_a_closure_holds_what_is_needed_and_no_more(names, needed):
    needs = {'a': ['b', 'c'], 'b': ['d'], 'c': ['d'], 'd': [], 'e': ['f'], 'f': ['e']}

    assert closure(needs, names) == set(needed)
