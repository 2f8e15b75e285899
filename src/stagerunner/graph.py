"""Questions about who needs whom: a cycle as a path, and all that something needs; pure."""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Dict
    from typing import Iterable
    from typing import Iterator
    from typing import List
    from typing import Mapping
    from typing import Sequence
    from typing import Set



def find_cycle(needs: Mapping[str, Sequence[str]]) -> List[str]:
    """Return names that need one another in a circle, the first one again at the end.

    The list is empty where there is no cycle.  The answer depends on the order
    of `needs` alone, so the same graph gives the same message each time.

    >>> find_cycle({'a': ['b'], 'b': ['c'], 'c': ['b']})
    ['b', 'c', 'b']
    >>> find_cycle({'a': ['b', 'c'], 'b': ['c'], 'c': []})
    []
    """
    finished: Set[str] = set()
    for start in needs:
        if start not in finished:
            cycle = _cycle_from(start, needs, finished)
            if cycle:
                return cycle
    return []


def _cycle_from(start: str, needs: Mapping[str, Sequence[str]],
                finished: Set[str]) -> List[str]:
    """Walk depth first without recursion: a chain of ten thousand stages is a legal graph."""
    path = [start]
    place: Dict[str, int] = {start: 0}
    open_ends: List[Iterator[str]] = [iter(needs.get(start, ()))]
    while path:
        name = next((need for need in open_ends[-1] if need not in finished), None)
        if name is None:
            open_ends.pop()
            done = path.pop()
            del place[done]
            finished.add(done)
        elif name in place:
            return [*path[place[name]:], name]
        else:
            place[name] = len(path)
            path.append(name)
            open_ends.append(iter(needs.get(name, ())))
    return []


def closure(needs: Mapping[str, Sequence[str]], names: Iterable[str]) -> Set[str]:
    """Return `names` and all that they need, directly or through others.

    >>> sorted(closure({'a': ['b'], 'b': ['c'], 'c': [], 'd': ['a']}, ['b']))
    ['b', 'c']
    """
    found = set(names)
    waiting = list(found)
    while waiting:
        for name in needs.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found
