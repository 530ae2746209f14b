"""Folds a long layout into columns, like a newspaper, so that a deep network fits a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgecomp.drawing.layers import Edge, Layers, place

#: The aspect ratio to aim for, width over height.
_ASPECT = 1.5
#: Networks with fewer rows stay in one column.
_SHORTEST = 16
#: A column may end only where at most this many tensors pass on to the next one.
_WIDEST_CUT = 5
#: The space between columns, where arrows go up, and the distance between two arrows there.
GUTTER, LANE = 90.0, 7.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """A finished layout.

    Attributes:
        width: The width of all of it.
        height: The height of all of it.
        centres: The centre of each box.
        paths: The corners of each arrow.
    """

    width: float
    height: float
    centres: list[Point]
    paths: list[list[Point]]


@dataclass(frozen=True)
class _Column:
    """One column: its first layer, the positions of its nodes, and its right and lower end."""

    start: int
    x: dict[int, float]
    right: float
    bottom: float


def fold(layers: Layers, edges: Sequence[Edge], *, height: float, gap: float) -> Placed:
    """Places every box and arrow.

    Args:
        layers: The layered layout.
        edges: The edges that `lay_out` was given.
        height: The height of a box.
        gap: The distance between layers.
    """
    pitch = height + gap
    starts = _cuts(layers, edges, pitch)
    columns: list[_Column] = []
    left = 0.0
    for start, end in zip(starts, [*starts[1:], len(layers.rows)], strict=True):
        middles = {node: left + middle for node, middle in place(layers, start, end).items()}
        right = max((middle + layers.size[node] / 2 for node, middle in middles.items()), default=left)
        columns.append(_Column(start, middles, right, (end - start - 1) * pitch + height))
        left = right + GUTTER
    column_of = {node: number for number, column in enumerate(columns) for node in column.x}

    def centre(node: int) -> Point:
        column = columns[column_of[node]]
        return column.x[node], (layers.layer[node] - column.start) * pitch + height / 2

    lanes: list[dict[int, int]] = [{} for _ in columns]
    paths = []
    for (source, target), way in zip(edges, layers.ways, strict=True):
        x, y = centre(source)
        path: list[Point] = [(x, y + height / 2)]
        stops = [source, *way, target]
        for before, after in pairwise(stops):
            here, (x, y) = column_of[before], centre(after)
            if here != column_of[after]:
                # Arrows with the same source carry one tensor, and share a lane.
                lane = LANE * lanes[here].setdefault(source, len(lanes[here]))
                path += _detour(centre(before)[0], columns[here], lane, x)
            path.append((x, y - height / 2 if after == target else y))
        paths.append(path)
    bottom = max((column.bottom for column in columns), default=0.0)
    return Placed(left - GUTTER, bottom, [centre(node) for node in range(layers.count)], paths)


def _detour(x: float, column: _Column, lane: float, target: float) -> list[Point]:
    """Returns the path from the foot of a column through the gutter to the head of the next one."""
    below, up, top = column.bottom + 14 + lane, column.right + GUTTER / 2 - 10 + lane, -14 - lane
    return [(x, below), (up, below), (up, top), (target, top)]


def _cuts(layers: Layers, edges: Sequence[Edge], pitch: float) -> list[int]:
    """Returns the first layer of each column: columns of similar height, cut where few tensors pass."""
    rows = len(layers.rows)
    if rows < _SHORTEST:
        return [0]
    width = GUTTER + max(sum(layers.size[node] for node in row) for row in layers.rows)
    wanted = max(1, round(math.sqrt(_ASPECT * rows * pitch / width)))
    last: dict[int, int] = {}
    for source, target in edges:
        last[source] = max(last.get(source, 0), layers.layer[target])
    passing = [0] * (rows + 1)
    for source, row in last.items():
        passing[layers.layer[source] + 1] += 1
        passing[row + 1] -= 1
    for row in range(rows):
        passing[row + 1] += passing[row]
    starts = [0]
    for number in range(1, wanted):
        ideal = rows * number // wanted
        reach = max(1, rows // wanted // 4)
        choices = [row for row in range(ideal - reach, ideal + reach + 1) if starts[-1] + 2 < row < rows - 2]
        best = min(choices, key=lambda row: (passing[row], abs(row - ideal)), default=None)
        if best is not None and passing[best] <= _WIDEST_CUT:
            starts.append(best)
    return starts
