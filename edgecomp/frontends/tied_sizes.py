"""Dynamic dimensions that a file calls by different names, and that are one: most exporters name each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgecomp.arrays import Arrays
from edgecomp.graph.sizes import bindings
from edgecomp.shapes import InputShapes


def tie_sizes(
    shapes: InputShapes, examples: Arrays, runs: Callable[[Arrays], bool]
) -> tuple[InputShapes, dict[str, str]]:
    """Takes dimensions of several inputs for one if the model runs only where they are equal.

    Args:
        shapes: The model's, as its file names them.
        examples: One array for each input, at the example sizes.
        runs: Whether the model runs on such arrays of other sizes.

    Returns:
        The shapes, and each name that is gone with the one that took its place.
    """
    names = _same_place(shapes)
    if not names or _runs_elsewhere(shapes, examples, runs):
        return shapes, {}
    tied = replace(
        shapes,
        inputs={name: tuple(names.get(str(size), size) for size in each) for name, each in shapes.inputs.items()},
        example={name: size for name, size in shapes.example.items() if name not in names},
    )
    return (tied, names) if _runs_elsewhere(tied, examples, runs) else (shapes, {})


def _same_place(shapes: InputShapes) -> dict[str, str]:
    """Each dimension whose place and example size another input's has, with the name that it has there."""
    first: dict[tuple[int, int], tuple[str, str]] = {}
    names: dict[str, str] = {}
    for name, each in shapes.inputs.items():
        for axis, size in enumerate(each):
            if isinstance(size, str) and size not in names:
                owner, other = first.setdefault((axis, shapes.example[size]), (name, size))
                if owner != name and other != size:
                    names[size] = other
    return names


def _runs_elsewhere(shapes: InputShapes, examples: Arrays, runs: Callable[[Arrays], bool]) -> bool:
    """Whether the model runs where every dynamic dimension has a size of its own."""
    return any(
        runs(tuple(np.resize(array, size) for array, size in zip(examples, shapes.at(sizes).values(), strict=True)))
        for direction in (1, -1)
        for sizes in bindings(shapes.example, direction)[:1]
    )
