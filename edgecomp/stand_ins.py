"""Inputs for verification if the user gave no data."""

from __future__ import annotations

import numpy as np

from edgecomp.arrays import Array, Arrays
from edgecomp.frontends.source import Source


def stand_ins(source: Source, seed: int, count: int = 8) -> tuple[list[Arrays], list[str]]:
    """Returns the example, or random numbers if the example is constant: zeros would hide wrong weights.

    Args:
        source: Has the example.
        seed: The seed of the random numbers.
        count: How many batches of them.

    Returns:
        Batches, and what a report should say about them.
    """
    example = source.inputs
    if not any(_is_constant(array) for array in example):
        return [example], []
    generator = np.random.default_rng(seed)
    batches = [
        tuple(generator.random(array.shape).astype(array.dtype) if _is_constant(array) else array for array in example)
        for _ in range(count)
    ]
    return batches, ["The example inputs are constant: seeded random numbers from 0 to 1 stand in for them."]


def _is_constant(array: Array) -> bool:
    return array.dtype.kind == "f" and array.size > 1 and bool((array == array.flat[0]).all())
