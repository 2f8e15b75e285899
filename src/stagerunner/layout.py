"""Where the boxes and lines of a drawn graph go: layers, order within them, coordinates; pure.

The steps are those of Sugiyama: each box goes into the first layer below all
that it needs, layers are ordered by the mean place of their neighbours
(barycentres) until fewer lines cross, and each layer is then laid as near to
its neighbours as the widths of its boxes allow.  A line that passes a layer
has a lane in it like a box, so that nothing lies on top of anything; all lines
of one box share their lanes.
"""

from __future__ import annotations

from bisect import bisect_right
from bisect import insort
from typing import Dict
from typing import List
from typing import Mapping
from typing import Optional
from typing import Sequence
from typing import Set
from typing import Tuple

from stagerunner.records import NamedTuple

#: Sizes in pixels: of boxes, between boxes and layers, of a lane, around the whole.
BOX_HEIGHT, BOX_GAP, LAYER_GAP, LANE, MARGIN = 46, 22, 44, 12, 12

#: No layer has more boxes; what has no room goes into the next one.
WIDEST = 8

#: So many boxes at least need the same ones, and so many, before one hub joins their lines.
_HUB = 3

#: Rounds of ordering, and of laying.
_ROUNDS = 4

#: That a lane is straight matters more than where a box is.
_LANE_WEIGHT = 1000.0


class Box(NamedTuple):
    """A node as it is drawn: its upper left corner and its width."""

    x: float
    y: float
    width: float


class Line(NamedTuple):
    """A piece of a line; `target` is empty where it only leads on to other pieces.

    It goes down from `start` to `bend`, from there on to `end`, and straight
    down through whatever it has a lane in.
    """

    source: str
    target: str
    points: Tuple[Tuple[float, float], ...]


class Layout(NamedTuple):
    """A drawing; `hubs` are the places where many lines meet."""

    width: float
    height: float
    boxes: Dict[str, Box]
    lines: List[Line]
    hubs: List[Tuple[float, float]]


class _Spot(NamedTuple):
    """What has a place in a layer: a box, a hub, or the lane of a box's lines."""

    name: str
    lane: int = -1


def without_implied(needs: Mapping[str, Sequence[str]]) -> Dict[str, List[str]]:
    """Return a graph without the edges that follow from the others.

    The names stand in an order in which each comes after what it needs.

    >>> without_implied({'a': [], 'b': ['a'], 'c': ['a', 'b']})
    {'a': [], 'b': ['a'], 'c': ['b']}
    """
    rank = {name: index for index, name in enumerate(needs)}
    above: Dict[str, int] = {}
    found: Dict[str, List[str]] = {}
    for name, wanted in needs.items():
        known, kept = 0, set()
        # Only what comes later can need what comes earlier.
        for need in sorted(wanted, key=rank.__getitem__, reverse=True):
            if not known >> rank[need] & 1:
                kept.add(need)
                known |= above[need] | 1 << rank[need]
        above[name] = known
        found[name] = [need for need in wanted if need in kept]
    return found


def arrange(needs: Mapping[str, Sequence[str]], widths: Mapping[str, float]) -> Layout:
    """Return where to draw everything; names stand after what they need, as above."""
    joined, hubs = _with_hubs(needs)
    layers, pieces = _with_lanes(joined, _layers(joined, hubs))
    sizes = {spot: widths[spot.name] if spot.lane < 0 and spot.name not in hubs else LANE
             for layer in layers for spot in layer}
    _order(layers, pieces)
    centres = _lay(layers, pieces, sizes)
    return _drawn(layers, pieces, sizes, centres, hubs)


# -- what stands in which layer ----------------------------------------------------

def _with_hubs(needs: Mapping[str, Sequence[str]]) -> Tuple[Dict[str, List[str]], Set[str]]:
    """Let boxes that need the same many boxes share the lines to them."""
    sharers: Dict[Tuple[str, ...], int] = {}
    for wanted in needs.values():
        sharers[tuple(sorted(wanted))] = sharers.get(tuple(sorted(wanted)), 0) + 1
    hubs: Dict[Tuple[str, ...], str] = {}
    joined: Dict[str, List[str]] = {}
    for name, wanted in needs.items():
        group = tuple(sorted(wanted))
        if len(group) < _HUB or sharers[group] < _HUB:
            joined[name] = list(wanted)
            continue
        if group not in hubs:
            # No stage has a name with a blank.
            hubs[group] = f'hub {len(hubs)}'
            joined[hubs[group]] = list(wanted)
        joined[name] = [hubs[group]]
    return joined, set(hubs.values())


def _layers(needs: Mapping[str, Sequence[str]], hubs: Set[str]) -> Dict[str, int]:
    """Return the layer of each name: below all that it needs, where there is room."""
    found: Dict[str, int] = {}
    taken: Dict[int, int] = {}
    for name, wanted in needs.items():
        layer = max((found[need] + 1 for need in wanted), default=0)
        if name not in hubs:
            while taken.get(layer, 0) >= WIDEST:
                layer += 1
            taken[layer] = taken.get(layer, 0) + 1
        found[name] = layer
    return found


_Pieces = Dict[_Spot, Dict[_Spot, None]]


def _with_lanes(needs: Mapping[str, Sequence[str]],
                layer_of: Mapping[str, int]) -> Tuple[List[List[_Spot]], _Pieces]:
    """Return all spots by layer, and which spot leads to which of the next layer."""
    layers: List[List[_Spot]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    pieces: _Pieces = {}
    for name, layer in layer_of.items():
        layers[layer].append(_Spot(name))
        pieces[_Spot(name)] = {}
    for name, wanted in needs.items():
        for need in wanted:
            above = _Spot(need)
            for layer in range(layer_of[need] + 1, layer_of[name]):
                lane = _Spot(need, layer)
                if lane not in pieces:
                    layers[layer].append(lane)
                    pieces[lane] = {}
                pieces[above][lane] = None
                above = lane
            pieces[above][_Spot(name)] = None
    return layers, pieces


# -- in which order ----------------------------------------------------------------

def _order(layers: List[List[_Spot]], pieces: _Pieces) -> None:
    """Sort each layer by its neighbours, and keep the order in which the fewest lines cross."""
    up = _reversed(pieces)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, pieces)
    for _ in range(_ROUNDS):
        for neighbours, sweep in ((up, layers), (pieces, list(reversed(layers)))):
            for index in range(1, len(sweep)):
                _sort(sweep[index], sweep[index - 1], neighbours)
        crossings = _crossings(layers, pieces)
        if crossings >= fewest:
            break
        best, fewest = [list(layer) for layer in layers], crossings
    for layer, order in zip(layers, best):
        layer[:] = order


def _reversed(pieces: _Pieces) -> _Pieces:
    found: _Pieces = {spot: {} for spot in pieces}
    for above, ends in pieces.items():
        for below in ends:
            found[below][above] = None
    return found


def _sort(layer: List[_Spot], beside: Sequence[_Spot], neighbours: _Pieces) -> None:
    place = {spot: index / len(beside) for index, spot in enumerate(beside)}
    wanted = {}
    for index, spot in enumerate(layer):
        found = [place[near] for near in neighbours[spot]]
        wanted[spot] = sum(found) / len(found) if found else index / len(layer)
    layer.sort(key=wanted.__getitem__)


def _crossings(layers: Sequence[Sequence[_Spot]], pieces: _Pieces) -> int:
    total = 0
    for layer, below in zip(layers, layers[1:]):
        place = {spot: index for index, spot in enumerate(below)}
        seen: List[int] = []
        for spot in layer:
            ends = [place[end] for end in pieces[spot]]
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


# -- where exactly -----------------------------------------------------------------

def _lay(layers: Sequence[Sequence[_Spot]], pieces: _Pieces,
         sizes: Mapping[_Spot, float]) -> Dict[_Spot, float]:
    """Return the centre of each spot, as near to its neighbours as the order allows."""
    centres: Dict[_Spot, float] = {}
    for layer in layers:
        _settle(layer, [0.0] * len(layer), sizes, centres)
    up = _reversed(pieces)
    for _ in range(_ROUNDS):
        for neighbours, sweep in ((up, layers), (pieces, list(reversed(layers)))):
            for layer in sweep:
                _settle(layer, [_wanted(spot, neighbours[spot], centres) for spot in layer],
                        sizes, centres)
    for layer in layers:
        _bring_home(layer, pieces, up, sizes, centres)
    left = min((centre - sizes[spot] / 2 for spot, centre in centres.items()), default=0.0)
    return {spot: centre - left + MARGIN for spot, centre in centres.items()}


def _bring_home(layer: Sequence[_Spot], pieces: _Pieces, up: _Pieces,
                sizes: Mapping[_Spot, float], centres: Dict[_Spot, float]) -> None:
    """Move boxes without any line next to their neighbours, which went to theirs."""
    is_alone = [not pieces[spot] and not up[spot] for spot in layer]
    for index in range(1, len(layer)):
        if is_alone[index] and not all(is_alone[:index]):
            before = layer[index - 1]
            centres[layer[index]] = centres[before] + _room(before, layer[index], sizes)
    for index in reversed(range(len(layer) - 1)):
        if all(is_alone[:index + 1]):
            after = layer[index + 1]
            centres[layer[index]] = centres[after] - _room(layer[index], after, sizes)


def _room(left: _Spot, right: _Spot, sizes: Mapping[_Spot, float]) -> float:
    """Return how far apart two neighbours have to be; lanes may lie side by side."""
    gap = BOX_GAP if min(left.lane, right.lane) < 0 else 0
    return (sizes[left] + sizes[right]) / 2 + gap


def _wanted(spot: _Spot, neighbours: Mapping[_Spot, None],
            centres: Mapping[_Spot, float]) -> Optional[float]:
    """Return the mean of the neighbours; a lane that goes on as one wants to be straight."""
    if spot.lane >= 0:
        neighbours = {near: None for near in neighbours
                      if near.lane >= 0 and near.name == spot.name} or neighbours
    return (sum(centres[near] for near in neighbours) / len(neighbours) if neighbours
            else None)


def _settle(layer: Sequence[_Spot], wanted: Sequence[Optional[float]],
            sizes: Mapping[_Spot, float], centres: Dict[_Spot, float]) -> None:
    """Move the spots of a layer to where they want to be, in order and without touching.

    What is wanted less the room to the left must not decrease: spots that would
    overtake one another are pooled and stand at their common mean.
    """
    room, rooms = 0.0, []
    for index, spot in enumerate(layer):
        if index:
            room += _room(layer[index - 1], spot, sizes)
        rooms.append(room)
    pools: List[List[float]] = []
    for spot, place, room in zip(layer, wanted, rooms):
        weight = _LANE_WEIGHT if spot.lane >= 0 else 1.0
        at = centres.get(spot, 0.0) if place is None else place
        pools.append([(at - room) * weight, weight, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, weight, count = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + weight, pools[-1][2] + count]
    index = 0
    for total, weight, count in pools:
        for _ in range(int(count)):
            centres[layer[index]] = total / weight + rooms[index]
            index += 1


def _drawn(layers: Sequence[Sequence[_Spot]], pieces: _Pieces, sizes: Mapping[_Spot, float],
           centres: Mapping[_Spot, float], hubs: Set[str]) -> Layout:
    boxes: Dict[str, Box] = {}
    middles = []
    lines: List[Line] = []
    for index, layer in enumerate(layers):
        top = MARGIN + index * (BOX_HEIGHT + LAYER_GAP)
        for spot in layer:
            x = centres[spot]
            is_box = spot.lane < 0 and spot.name not in hubs
            if is_box:
                boxes[spot.name] = Box(x - sizes[spot] / 2, top, sizes[spot])
            elif spot.lane < 0:
                middles.append((x, top + BOX_HEIGHT / 2))
            for end in pieces[spot]:
                # Only a box stops a line; a lane or hub is passed from top to bottom.
                start = (x, top + (BOX_HEIGHT if is_box else 0))
                leaves = (x, top + BOX_HEIGHT)
                arrives = (centres[end], top + BOX_HEIGHT + LAYER_GAP)
                lines.append(Line(spot.name, end.name if end.lane < 0 and end.name not in hubs
                                  else '', (start, leaves, arrives)))
    return Layout(
        max((centre + sizes[spot] / 2 for spot, centre in centres.items()), default=0.0) + MARGIN,
        max(0, len(layers) * (BOX_HEIGHT + LAYER_GAP) - LAYER_GAP) + 2 * MARGIN,
        boxes, lines, middles)
