"""Rounding, remainders, special values and indices, for runtimes that support them only in part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.query import is_float

Results = Sequence[ir.Value]


def rounded(pieces: Pieces) -> Results:
    """floor(x + 1/2), minus 1 where that rounds a tie to an odd number."""
    x = pieces.input(0)
    shifted = pieces("Add", x, 0.5)
    up = pieces("Floor", shifted)
    half = pieces("Floor", pieces("Mul", up, 0.5))
    odd = pieces("Greater", pieces("Sub", up, pieces("Mul", half, 2.0)), 0.5)
    is_tie = pieces("Equal", shifted, up)
    return [pieces("Where", pieces("And", is_tie, odd), pieces("Sub", up, 1.0), up)]


def remainder(pieces: Pieces) -> Results:
    """With fmod: x - y * trunc(x / y), which has the sign of x. Integer division truncates anyway."""
    x, y = pieces.input(0), pieces.input(1)
    if not pieces.integer("fmod", 0):
        raise Undecomposable("it has the sign of the divisor")
    quotient = pieces("Div", x, y)
    if not is_float(x):
        return [pieces("Sub", x, pieces("Mul", y, quotient))]
    whole = pieces("Mul", pieces("Sign", quotient), pieces("Floor", pieces("Abs", quotient)))
    return [pieces("Sub", x, pieces("Mul", y, whole))]


def is_nan(pieces: Pieces) -> Results:
    """Tests whether x is not >= minus infinity, because runtimes fold the comparison of a tensor with itself."""
    if not is_float(pieces.input(0)):
        raise Undecomposable("it is not of type float32")
    return [pieces("Not", pieces("GreaterOrEqual", pieces.input(0), float("-inf")))]


def is_infinite(pieces: Pieces) -> Results:
    """Tests whether x is beyond the largest finite number, on the requested sides."""
    x, largest = pieces.input(0), float(np.finfo(np.float32).max)
    if not is_float(x):
        raise Undecomposable("it is not of type float32")
    positive, negative = (bool(pieces.integer(f"detect_{side}", 1)) for side in ("positive", "negative"))
    if positive and negative:
        return [pieces("Greater", pieces("Abs", x), largest)]
    if positive:
        return [pieces("Greater", x, largest)]
    if negative:
        return [pieces("Greater", -largest, x)]
    return [pieces("And", pieces("Greater", x, x), pieces("Greater", x, x))]


def last_extreme(pieces: Pieces) -> Results:
    """ArgMax or ArgMin with `select_last_index`: finds the first index in the reversed tensor."""
    x = pieces.input(0)
    shape = pieces.shape(x)
    axis = pieces.integer("axis", 0) % len(shape)
    if not pieces.integer("select_last_index", 0):
        raise Undecomposable("it selects the first index")
    backwards = pieces("Gather", x, np.arange(shape[axis])[::-1].copy(), axis=axis)
    first = pieces(pieces.node.op_type, backwards, axis=axis, keepdims=pieces.integer("keepdims", 1))
    return [pieces("Sub", shape[axis] - 1, first)]


def one_hot(pieces: Pieces) -> Results:
    """Compares each index with each position; negative indices count from the end."""
    depth = int(pieces.constant_input(1).reshape(-1)[0])
    off, on = pieces.constant_input(2)
    index = pieces.cast(pieces.input(0), ir.DataType.INT64)
    rank = len(pieces.shape(index)) + 1
    axis = pieces.integer("axis", -1) % rank
    counted = pieces("Where", pieces("Greater", 0, index), pieces("Add", index, depth), index)
    places = np.arange(depth).reshape(-1, *(1,) * (rank - 1 - axis))
    same = pieces("Equal", pieces("Unsqueeze", counted, np.array([axis])), places)
    return [pieces("Where", same, np.array(on), np.array(off))]


DECOMPOSITIONS: dict[str, Decomposition] = {
    "ArgMax": last_extreme,
    "ArgMin": last_extreme,
    "IsInf": is_infinite,
    "IsNaN": is_nan,
    "Mod": remainder,
    "OneHot": one_hot,
    "Round": rounded,
}
