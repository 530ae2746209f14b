"""Follows labels through a reshape: which old positions each new dimension comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgecomp.compression.pruning.units import FIXED, Labels, Units, UnitTable, fixed

#: Which part loses positions if a removable dimension is split into several. "outer" is the second last: the heads of
#: an attention (heads, size of a head). "inner" is the last: the channels of a shuffle (groups, channels of a group).
#: "none" fixes all of them.
Carrier = Literal["outer", "inner", "none"]


def reshape(labels: Labels, shape: Sequence[int], table: UnitTable, carrier: Carrier, where: str) -> Labels:
    """Returns the labels after a reshape.

    Args:
        labels: The labels before it.
        shape: The new shape.
        table: Joins units that have to go together so that the result stays rectangular.
        carrier: Which part of a split dimension loses positions.
        where: The reason that is recorded for fixed dimensions.
    """
    old = [(index, units) for index, units in enumerate(labels) if len(units) > 1]
    result = [fixed(size) for size in shape]
    new = [index for index, size in enumerate(shape) if size > 1]
    for sources, targets in _segments([len(units) for _, units in old], [shape[index] for index in new]):
        parts = [old[index][1] for index in sources]
        sizes = [shape[new[index]] for index in targets]
        for index, units in zip(targets, _regroup(parts, sizes, table, carrier, where), strict=True):
            result[new[index]] = units
    return tuple(result)


def _segments(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Finds the shortest runs of dimensions with the same number of elements on both sides."""
    segments = []
    first = second = 0
    while first < len(old) or second < len(new):
        sources, targets = [first], [second]
        sizes = [old[first], new[second]]
        first, second = first + 1, second + 1
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                sources.append(first)
                sizes[0] *= old[first]
                first += 1
            else:
                targets.append(second)
                sizes[1] *= new[second]
                second += 1
        segments.append((sources, targets))
    return segments


def _regroup(
    parts: Sequence[Units], sizes: Sequence[int], table: UnitTable, carrier: Carrier, where: str
) -> list[Units]:
    """Returns labels for dimensions that are regrouped into others with as many elements."""
    removable = [index for index, units in enumerate(parts) if (units != FIXED).any()]
    if not removable:
        return [fixed(size) for size in sizes]
    if len(parts) == len(sizes) == 1:
        return [parts[0]]
    if len(removable) > 1:
        for units in parts:
            table.fix(units, f"two removable dimensions become one: {where}")
        return [fixed(size) for size in sizes]
    shape = [1] * len(parts)
    shape[removable[0]] = -1
    spread = np.broadcast_to(parts[removable[0]].reshape(shape), [len(units) for units in parts])
    return _divide(spread.reshape(sizes), table, carrier, where)


def _divide(grid: Units, table: UnitTable, carrier: Carrier, where: str) -> list[Units]:
    """Returns labels for a grid's axes: one carries the units, and units that differ along the others are joined."""
    varying = [axis for axis in range(grid.ndim) if (grid != grid.take([0], axis)).any()]
    if len(varying) > 1 and carrier == "none":
        table.fix(grid, where)
        return [fixed(size) for size in grid.shape]
    axis = varying[-2 if carrier == "outer" else -1] if len(varying) > 1 else varying[0]
    columns = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
    table.join(columns[:, :1], columns, where)
    return [columns[:, 0] if other == axis else fixed(size) for other, size in enumerate(grid.shape)]


def couple_parts(units: Units, parts: int, table: UnitTable, where: str) -> None:
    """Keeps equal parts equally long: what goes from one part goes from all of them at the same place."""
    rows = units.reshape(parts, -1)
    table.join(rows[:1], rows, where)
