"""Decomposes scattering to constant indices: every element of the result becomes a lookup."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

Results = Sequence[ir.Value]


def scatter_elements(pieces: Pieces) -> Results:
    """Each update goes to an index along one axis."""
    shape, index = pieces.shape(0), pieces.constant_input(1)
    axis = pieces.integer("axis", 0) % len(shape)
    places = np.indices(index.shape)
    places[axis] = index % shape[axis]
    return _looked_up(pieces, np.asarray(np.ravel_multi_index(tuple(places), shape)))


def scatter_slices(pieces: Pieces) -> Results:
    """Each update is a slice of the data, with an index along its first axes."""
    shape, index = pieces.shape(0), pieces.constant_input(1)
    depth = index.shape[-1]
    if depth == 0:
        raise Undecomposable("its indices are empty")
    first = tuple(index[..., axis] % shape[axis] for axis in range(depth))
    size = int(np.prod(shape[depth:]))
    starts = np.ravel_multi_index(first, shape[:depth]) * size
    return _looked_up(pieces, starts[..., None] + np.arange(size))


def _looked_up(pieces: Pieces, places: npt.NDArray[np.int64]) -> Results:
    """Replaces elements of the data by the updates; of several updates for one place, the last one wins."""
    if pieces.text("reduction", "none") != "none":
        raise Undecomposable("it combines what is scattered with what is there")
    shape = pieces.shape(0)
    source = np.full(int(np.prod(shape)), -1)
    source[places.reshape(-1)] = np.arange(places.size)
    updates = pieces.reshape(pieces.input(2), (-1,))
    chosen = pieces("Gather", updates, np.maximum(source, 0).reshape(shape), axis=0)
    mask = source.reshape(shape) >= 0
    return [chosen if mask.all() else pieces("Where", mask, chosen, pieces.input(0))]


DECOMPOSITIONS: dict[str, Decomposition] = {"ScatterElements": scatter_elements, "ScatterND": scatter_slices}
