"""Operators that select elements by constant positions or by masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces

Results = Sequence[ir.Value | None]


def trilu(pieces: Pieces) -> Results:
    """Selects between the matrices and 0 with a constant mask, which is correct for infinities too."""
    x, shape = pieces.input(0), pieces.shape(0)
    diagonal = int(pieces.constant_input(1).reshape(-1)[0]) if pieces.optional(1) is not None else 0
    ones = np.ones(shape[-2:], bool)
    mask = np.triu(ones, diagonal) if pieces.integer("upper", 1) else np.tril(ones, diagonal)
    return [pieces("Where", mask, x, pieces.like(x, 0))]


def eye_like(pieces: Pieces) -> Results:
    """Returns a constant."""
    rows, columns = pieces.shape(0)
    dtype = pieces.node.attributes.get_int("dtype", None)
    kind = pieces.input(0).dtype if dtype is None else ir.DataType(dtype)
    assert kind is not None
    return [pieces.value(np.eye(rows, columns, pieces.integer("k", 0)).astype(kind.numpy()))]


def hardmax(pieces: Pieces) -> Results:
    """Returns 1 at the first maximum, else 0."""
    x, shape = pieces.input(0), pieces.shape(0)
    axis = pieces.integer("axis", -1) % len(shape)
    largest = pieces("ArgMax", x, axis=axis, keepdims=1)
    places = np.arange(shape[axis]).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    return [pieces("Where", pieces("Equal", places, largest), pieces.like(x, 1), pieces.like(x, 0))]


def max_unpool(pieces: Pieces) -> Results:
    """Puts the pooled values back to their original positions in a tensor of zeros."""
    x, places = pieces.input(0), pieces.input(1)
    attributes = pieces.node.attributes
    shape, result = pieces.shape(0), pieces.shape(pieces.node.outputs[0])
    rank = len(shape) - 2
    kernel = list(attributes.get_ints("kernel_shape", []) or [])
    strides = list(attributes.get_ints("strides", []) or [1] * rank)
    pads = list(attributes.get_ints("pads", []) or [0] * 2 * rank)
    spatial = [(shape[2 + d] - 1) * strides[d] + kernel[d] - pads[d] - pads[d + rank] for d in range(rank)]
    whole = [*shape[:2], *spatial]
    zeros = pieces.like(x, np.zeros(int(np.prod(whole))))
    filled = pieces("ScatterElements", zeros, pieces.reshape(places, [-1]), pieces.reshape(x, [-1]))
    filled = pieces.reshape(filled, whole)
    # The indices refer to the smallest tensor that the pool may have come from; the actual shape may be larger.
    missing = [size - had for size, had in zip(result, whole, strict=True)]
    return [pieces("Pad", filled, np.array([0] * len(whole) + missing)) if any(missing) else filled]


DECOMPOSITIONS: dict[str, Decomposition] = {
    "EyeLike": eye_like,
    "Hardmax": hardmax,
    "MaxUnpool": max_unpool,
    "Trilu": trilu,
}
