"""Memory layouts of tensors, as permutations.

A layout is a tuple whose element k is the source dimension that is stored k-th: NHWC of an NCHW source is (0, 2, 3, 1).
Transposing a tensor only changes its layout, not its memory. Memory moves only when an operator requires a layout that
the tensor does not have. So transposes move through the graph until they cancel, and are written only where they are
really needed.
"""

from __future__ import annotations

from collections.abc import Sequence

Layout = tuple[int, ...]


def identity(rank: int) -> Layout:
    """Returns the source's own order."""
    return tuple(range(rank))


def channels_last(rank: int) -> Layout:
    """Returns NHWC and the like: dimension 1 of the source is stored last."""
    return (0, *range(2, rank), 1) if rank >= 3 else identity(rank)


def stored_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Returns the stored shape of a tensor with `shape` in the source."""
    return tuple(shape[dimension] for dimension in layout)


def transposed(layout: Layout, permutation: Sequence[int]) -> Layout:
    """Returns the layout of Transpose(x, permutation), in the memory of an x with `layout`."""
    return tuple(list(permutation).index(dimension) for dimension in layout)


def moves_memory(shape: Sequence[int], source: Layout, target: Layout) -> bool:
    """Tells whether a change of layout reorders elements; dimensions of size 1 never matter."""
    return [d for d in source if shape[d] != 1] != [d for d in target if shape[d] != 1]


def reshaped(before: Sequence[int], after: Sequence[int], layout: Layout) -> Layout | None:
    """Returns the layout of Reshape(x, after) in the unmoved memory of an x with shape `before` and `layout`.

    The reshape splits and merges runs of neighbouring dimensions. Memory can stay if every run is contiguous in memory
    and in the source's order.

    Returns:
        The layout, or None if memory has to move first.
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
    """Returns a layout that `reshaped` accepts, with as little reordering of memory as possible.

    Runs are ordered by their first dimension in memory; within a run, the source's order is restored.
    """
    runs = [run for run, _ in _runs(before, after)]
    runs.sort(key=lambda run: min(layout.index(dimension) for dimension in run))
    return _with_ones([dimension for run in runs for dimension in run], before)


def _runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Returns pairs of the shortest runs of dimensions with equal products, without dimensions of size 1."""
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
    """Inserts the dimensions of size 1 so that the layout is channels-last or the source's, if possible."""
    rank = len(shape)
    # An image-like tensor most likely feeds a convolution next.
    for layout in (channels_last(rank), identity(rank)) if rank > 3 else (identity(rank), channels_last(rank)):
        if [d for d in layout if shape[d] != 1] == order:
            return layout
    result = list(order)
    for dimension in (d for d, size in enumerate(shape) if size == 1):
        result.insert(min(dimension, len(result)), dimension)
    return tuple(result)
