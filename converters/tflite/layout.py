"""How the dimensions of a tensor lie in memory, as a permutation.

A layout is a tuple in which place k holds the source's dimension that is stored k-th: NHWC of an NCHW source is
(0, 2, 3, 1). Transposing a tensor changes only its layout, not its memory; memory moves when an operator demands a
layout that the tensor does not have. So transposes travel along the graph until they cancel, and are written only where
the algorithm itself needs one.
"""

from __future__ import annotations

from collections.abc import Sequence

Layout = tuple[int, ...]


def identity(rank: int) -> Layout:
    """The source's own order."""
    return tuple(range(rank))


def channels_last(rank: int) -> Layout:
    """NHWC and the like: the source's dimension 1 goes to the end."""
    return (0, *range(2, rank), 1) if rank >= 3 else identity(rank)


def stored_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """The shape in memory of a tensor with `shape` in the source."""
    return tuple(shape[dimension] for dimension in layout)


def transposed(layout: Layout, permutation: Sequence[int]) -> Layout:
    """The layout of Transpose(x, permutation) over the memory of an x that has `layout`."""
    return tuple(list(permutation).index(dimension) for dimension in layout)


def moves_memory(shape: Sequence[int], source: Layout, target: Layout) -> bool:
    """Whether going from one layout to another reorders elements; dimensions of size 1 may go anywhere."""
    return [d for d in source if shape[d] != 1] != [d for d in target if shape[d] != 1]


def reshaped(before: Sequence[int], after: Sequence[int], layout: Layout) -> Layout | None:
    """The layout of Reshape(x, after) over the unmoved memory of an x of shape `before` that has `layout`.

    The reshape splits and merges runs of neighbouring dimensions. Memory can stay where each run lies in memory as one
    piece, in the source's order.

    Returns:
        The layout, or None when memory has to move first.
    """
    if 0 in before:
        return identity(len(after))
    runs = _runs(before, after)
    target: list[int] = []
    position = 0
    stored = [dimension for dimension in layout if before[dimension] != 1]
    while position < len(stored):
        run = next((run for run in runs if run[0] and run[0][0] == stored[position]), None)
        if run is None or stored[position : position + len(run[0])] != run[0]:
            return None
        target.extend(run[1])
        position += len(run[0])
    return _with_ones(target, after)


def regrouped(before: Sequence[int], after: Sequence[int], layout: Layout) -> Layout:
    """Where memory has to move to so that `reshaped` can say yes, with as much as possible left in its order.

    The runs keep the order in which memory has their first dimensions; within a run, the source's order is restored.
    """
    runs = [run for run, _ in _runs(before, after)]
    runs.sort(key=lambda run: min(layout.index(dimension) for dimension in run))
    return _with_ones([dimension for run in runs for dimension in run], before)


def _runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Pairs of the smallest runs of dimensions, size 1 left out, with equal products."""
    left = [d for d, size in enumerate(before) if size != 1]
    right = [d for d, size in enumerate(after) if size != 1]
    runs = []
    i = j = 0
    while i < len(left):
        start = (i, j)
        products = [before[left[i]], after[right[j]]]
        i, j = i + 1, j + 1
        while products[0] != products[1]:
            if products[0] < products[1]:
                products[0] *= before[left[i]]
                i += 1
            else:
                products[1] *= after[right[j]]
                j += 1
        runs.append((left[start[0] : i], right[start[1] : j]))
    return runs


def _with_ones(order: list[int], shape: Sequence[int]) -> Layout:
    """Adds the dimensions of size 1: as channels-last or the source would have them when that fits."""
    rank = len(shape)
    # Of the two, an image-like tensor most likely meets a convolution next.
    for layout in (channels_last(rank), identity(rank)) if rank > 3 else (identity(rank), channels_last(rank)):
        if [d for d in layout if shape[d] != 1] == order:
            return layout
    result = list(order)
    for dimension in (d for d, size in enumerate(shape) if size == 1):
        result.insert(min(dimension, len(result)), dimension)
    return tuple(result)
