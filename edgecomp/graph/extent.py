"""Finds the smallest sizes that a model runs at, and what its sizes are multiples of, by trying.

Runtimes do not look whether a window still fits into what is left of an image: below such a size MNN crashes or makes
numbers up, and LiteRT may add or join what does not fit together. So an artifact says what the original takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgecomp.shapes import InputShapes, evenness


def with_extent(shapes: InputShapes, answers: Callable[[dict[str, int]], bool]) -> InputShapes:
    """The shapes with the sizes that a model answers at.

    One dimension is settled after the other, so that the smallest sizes go together too.

    Args:
        shapes: The dimensions that are dynamic, prepared at some sizes.
        answers: Whether the model gives finite numbers at some sizes of them.
    """
    if shapes.signatures:
        return shapes  # no other sizes were asked for
    sizes, multiples = dict(shapes.example), dict(shapes.multiples)
    for name, example in shapes.example.items():

        def runs(size: int, name: str = name) -> bool:
            return answers({**sizes, name: size})

        known = multiples.get(name, 1 if name in shapes.odd else evenness(example))
        smallest = _first(range(known, example + 1, known), runs)
        # The remainder is looked for at the smallest size, which takes least time.
        step = next(step for step in _powers(multiples.get(name, 1), known) if step == known or runs(smallest + step))
        sizes[name] = _first(range(max(smallest - known, 0) + step, smallest + 1, step), runs)
        if step > 1:
            multiples[name] = step
    if not answers(sizes):
        return shapes  # nor does it at the example sizes: scores of minus infinity, say, by which nothing can be told
    return replace(shapes, smallest=sizes, multiples=multiples)


def _first(sizes: Sequence[int], runs: Callable[[int], bool]) -> int:
    """The first of some sizes that a model runs at, and from which on it does; it runs at the last."""
    if len(sizes) == 1 or runs(sizes[0]):
        return sizes[0]
    low, high = 0, len(sizes) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(sizes[middle]) else (middle, high)
    return sizes[high]


def _powers(first: int, last: int) -> list[int]:
    """A number, twice as much, and so on, up to another."""
    found = [first]
    while found[-1] < last:
        found.append(2 * found[-1])
    return found
