"""A layered layout of a directed acyclic graph (Sugiyama, Tagawa and Toda, 1981).

1. Each node goes on the layer after its last source. A node that could stand lower, such as the side input of a
   residual sum, moves down to the layer before its first reader.
2. An edge that crosses layers gets a bend in each of them, so that it has its own way around the nodes.
3. Layers are ordered by the mean position of neighbours, sweeping down and up; the best order is kept.
4. Horizontal positions follow those of neighbours as closely as the widths allow. For one layer this is a least-squares
   problem under order constraints, which the pool-adjacent-violators algorithm solves exactly. Nodes take precedence
   over bends: the main path is straight, and long edges run beside it, as straight as space permits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_SWEEPS = 12
_BEND_WIDTH = 14.0
_GAP = 22.0
#: The weight of bends, and of nodes on branches, relative to 1 for a node on the main path.
_FAINT = 0.001

Edge = tuple[int, int]


@dataclass(frozen=True)
class Layers:
    """The layer and order of every node. Bends are numbered after the nodes.

    Attributes:
        count: The number of nodes.
        size: The width of each node and bend.
        layer: The layer of each node and bend, from the top.
        rows: The nodes and bends of each layer, from the left.
        ways: The bends of each edge, from top to bottom, in the order of the edges.
        above: The neighbours of each node or bend one layer further up.
        below: Those one layer further down.
    """

    count: int
    size: list[float]
    layer: list[int]
    rows: list[list[int]]
    ways: list[list[int]]
    above: list[list[int]]
    below: list[list[int]]


def lay_out(widths: Sequence[float], edges: Sequence[Edge]) -> Layers:
    """Assigns nodes to layers and orders them: rules 1 to 3.

    Args:
        widths: The width of each node.
        edges: From a node to one with a larger number.
    """
    count = len(widths)
    layer = _assign(count, edges)
    size = [*widths]
    ways: list[list[int]] = []
    links: list[Edge] = []
    for source, target in edges:
        bends = list(range(len(size), len(size) + layer[target] - layer[source] - 1))
        size.extend([_BEND_WIDTH] * len(bends))
        layer.extend(range(layer[source] + 1, layer[target]))
        way = [source, *bends, target]
        links.extend(pairwise(way))
        ways.append(bends)
    above: list[list[int]] = [[] for _ in size]
    below: list[list[int]] = [[] for _ in size]
    for source, target in links:
        below[source].append(target)
        above[target].append(source)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for node in _first_order(count, above, below, len(size)):
        rows[layer[node]].append(node)
    return Layers(count, size, layer, _order(rows, above, below), ways, above, below)


def _assign(count: int, edges: Sequence[Edge]) -> list[int]:
    """Rule 1."""
    layer = [0] * count
    sources: list[list[int]] = [[] for _ in range(count)]
    targets: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    for node in range(count):
        layer[node] = max((layer[source] + 1 for source in sources[node]), default=0)
    for node in reversed(range(count)):
        if targets[node] and len(sources[node]) < 2:
            lowest = min(layer[target] for target in targets[node]) - 1
            # Moving down lengthens the edge from a single source, and shortens one edge for each reader.
            if not sources[node] or len(targets[node]) > 1:
                layer[node] = max(layer[node], lowest)
    return layer


def _first_order(count: int, above: list[list[int]], below: list[list[int]], total: int) -> list[int]:
    """Returns the nodes depth first, so that chains stay together."""
    seen = [False] * total
    order: list[int] = []
    for root in (node for node in range(count) if not above[node]):
        stack = [root]
        while stack:
            node = stack.pop()
            if not seen[node]:
                seen[node] = True
                order.append(node)
                stack.extend(reversed(below[node]))
    return order


def _order(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """Rule 3."""
    place = [0.0] * len(above)

    def note(row: list[int]) -> None:
        for index, node in enumerate(row):
            place[node] = index - len(row) / 2

    for row in rows:
        note(row)
    best, fewest = [list(row) for row in rows], _crossings(rows, below, place)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        near = above if down else below
        for row in rows if down else reversed(rows):
            wanted = {
                node: sum(place[other] for other in near[node]) / len(near[node]) if near[node] else place[node]
                for node in row
            }
            row.sort(key=wanted.__getitem__)
            note(row)
        crossings = _crossings(rows, below, place)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows: list[list[int]], below: list[list[int]], place: list[float]) -> int:
    """Counts the pairs of edges that cross."""
    total = 0
    for row in rows:
        if len(row) < 2:
            continue
        ends = [end for node in row for end in sorted(place[other] for other in below[node])]
        seen: list[float] = []
        for end in ends:
            position = len(seen)
            while position and seen[position - 1] > end:
                position -= 1
            total += len(seen) - position
            seen.insert(position, end)
    return total


def place(layers: Layers, first: int, end: int) -> dict[int, float]:
    """Applies rule 4 to the layers from `first` to before `end`.

    Returns:
        The centre of each node and bend on them; the left side of the leftmost one is at 0.
    """
    rows = layers.rows[first:end]
    x = {node: 0.0 for row in rows for node in row}
    above = {node: [other for other in layers.above[node] if other in x] for node in x}
    below = {node: [other for other in layers.below[node] if other in x] for node in x}
    for row in rows:
        _spread(row, x, [(0.0, 1.0)] * len(row), layers)
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            near, far = (above, below) if down else (below, above)
            _spread(row, x, [_wish(node, near, far, x, layers.count) for node in row], layers)
    _straighten(rows, above, below, x, layers)
    left = min((x[node] - layers.size[node] / 2 for node in x), default=0.0)
    return {node: middle - left for node, middle in x.items()}


def _straighten(
    rows: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]], x: dict[int, float], layers: Layers
) -> None:
    """Aligns the bends of each edge, as far left as possible, if nothing is in the way."""
    left_of = {other: node for row in rows for node, other in pairwise(row)}
    right_of = {node: other for other, node in left_of.items()}
    size = layers.size
    starts = [bend for bend in x if bend >= layers.count and not (above[bend] and above[bend][0] >= layers.count)]
    for start in sorted(starts, key=x.__getitem__):
        bends = [start]
        while below[bends[-1]] and below[bends[-1]][0] >= layers.count:
            bends.append(below[bends[-1]][0])
        lefts = [x[left_of[bend]] + size[left_of[bend]] / 2 + _GAP for bend in bends if bend in left_of]
        middle = max(lefts) + _BEND_WIDTH / 2 if lefts else max(x[bend] for bend in bends)
        rights = (right_of[bend] for bend in bends if bend in right_of)
        if all(middle + _BEND_WIDTH / 2 <= x[other] - size[other] / 2 for other in rights):
            x.update(dict.fromkeys(bends, middle))


def _wish(
    node: int, near: dict[int, list[int]], far: dict[int, list[int]], x: dict[int, float], count: int
) -> tuple[float, float]:
    """Returns the preferred position of a node or bend, and its weight.

    It prefers to be in line with its middle neighbour, and has full weight if that neighbour prefers it too: so one
    main path through the network is straight, and branches give way.
    """
    guide = _middle(near[node], x)
    if guide is None:
        guide, far = _middle(far[node], x), near
    if guide is None:
        return x[node], _FAINT
    mutual = node < count and _middle(far[guide], x) == node
    return x[guide], 1.0 if mutual else _FAINT


def _middle(nodes: list[int], x: dict[int, float]) -> int | None:
    """Returns the middle node, or the left of two middle ones, so that detours run to the right of the main path."""
    return sorted(nodes, key=x.__getitem__)[(len(nodes) - 1) // 2] if nodes else None


def _spread(row: list[int], x: dict[int, float], wishes: list[tuple[float, float]], layers: Layers) -> None:
    """Places a row as close to its preferred positions as order and widths allow, by pooling adjacent violators."""
    offset = 0.0
    offsets: list[float] = []
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for index, (node, (wanted, weight)) in enumerate(zip(row, wishes, strict=True)):
        if index:
            offset += (layers.size[row[index - 1]] + layers.size[node]) / 2 + _GAP
        offsets.append(offset)
        mean, members = wanted - offset, 1
        while blocks and blocks[-1][0] >= mean:
            other, heavier, more = blocks.pop()
            mean = (mean * weight + other * heavier) / (weight + heavier)
            weight, members = weight + heavier, members + more
        blocks.append((mean, weight, members))
    places = iter([mean for mean, _, members in blocks for _ in range(members)])
    for node, start in zip(row, offsets, strict=True):
        x[node] = next(places) + start
