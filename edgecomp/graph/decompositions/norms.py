"""Norms over dimensions or windows, and logarithms of sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.query import constant, input_of, normalized_axes

Results = Sequence[ir.Value | None]
Step = Callable[[Pieces, ir.Value], ir.Value]


def _reduced(pieces: Pieces, before: Step | None, after: Step | None, op_type: str = "ReduceSum") -> Results:
    """Computes a sum, with a step before it on each element, or after it on the result."""
    x = pieces.input(0)
    axes = _axes(pieces)
    result = x if before is None else before(pieces, x)
    if axes:
        result = pieces.reduce(op_type, result, axes, keep=bool(pieces.integer("keepdims", 1)))
    return [result if after is None else after(pieces, result)]


def _axes(pieces: Pieces) -> tuple[int, ...]:
    given = input_of(pieces.node, 1)
    if given is not None and constant(given) is None:
        raise Undecomposable(f"its axes ({given.name}) are computed")
    return normalized_axes(pieces.node, len(pieces.shape(0)))


def _step(op_type: str) -> Step:
    return lambda pieces, value: pieces(op_type, value)


def _square(pieces: Pieces, value: ir.Value) -> ir.Value:
    return pieces("Mul", value, value)


def log_sum_exp(pieces: Pieces) -> Results:
    """Computes m + log(sum(exp(x - m))), where m is the largest value."""
    x = pieces.input(0)
    axes = _axes(pieces)
    largest = pieces.reduce("ReduceMax", x, axes) if axes else x
    powers = pieces("Exp", pieces("Sub", x, largest))
    total = pieces.reduce("ReduceSum", powers, axes) if axes else powers
    result = pieces("Add", pieces("Log", total), largest)
    keep = bool(pieces.integer("keepdims", 1))
    shape = [1 if axis in axes else size for axis, size in enumerate(pieces.shape(0))]
    return [result if keep else pieces.reshape(result, [size for axis, size in enumerate(shape) if axis not in axes])]


def _powers(pieces: Pieces, x: ir.Value, p: int) -> ir.Value:
    """Computes |x| to a power."""
    if p == 1:
        return pieces("Abs", x)
    return pieces("Mul", x, x) if p == 2 else pieces("Pow", pieces("Abs", x), pieces.like(x, p))


def _root(pieces: Pieces, x: ir.Value, p: int) -> ir.Value:
    if p == 1:
        return x
    return pieces("Sqrt", x) if p == 2 else pieces("Pow", x, pieces.like(x, 1 / p))


def lp_normalization(pieces: Pieces) -> Results:
    """Divides x by its norm along one axis; a zero vector stays zero."""
    x, p = pieces.input(0), pieces.integer("p", 2)
    axis = pieces.integer("axis", -1) % len(pieces.shape(0))
    norm = _root(pieces, pieces.reduce("ReduceSum", _powers(pieces, x, p), [axis]), p)
    is_zero = pieces("Equal", norm, pieces.like(x, 0))
    return [pieces("Div", x, pieces("Where", is_zero, pieces.like(x, 1), norm))]


def global_lp_pool(pieces: Pieces) -> Results:
    """Computes the norm over all spatial dimensions."""
    x, p = pieces.input(0), pieces.integer("p", 2)
    total = pieces.reduce("ReduceSum", _powers(pieces, x, p), range(2, len(pieces.shape(0))))
    return [_root(pieces, total, p)]


def lp_pool(pieces: Pieces) -> Results:
    """Computes the norm over windows; the sums are a depthwise convolution with ones."""
    x, p = pieces.input(0), pieces.integer("p", 2)
    channels = pieces.shape(0)[1]
    attributes = pieces.node.attributes
    kernel = list(attributes.get_ints("kernel_shape", []) or [])
    known: dict[str, Any] = {
        name: list(attributes[name].as_ints()) for name in ("strides", "dilations") if name in attributes
    }
    auto_pad = pieces.text("auto_pad", "NOTSET")
    if auto_pad == "NOTSET":
        known["pads"] = _pads(pieces, kernel, **known)
    ones = np.ones((channels, 1, *kernel), np.float32)
    powers = _powers(pieces, x, p)
    total = pieces("Conv", powers, pieces.like(x, ones), group=channels, auto_pad=auto_pad, **known)
    return [_root(pieces, total, p)]


def _pads(
    pieces: Pieces, kernel: Sequence[int], strides: Sequence[int] = (), dilations: Sequence[int] = ()
) -> list[int]:
    """Returns the padding, extended at the end to where the last windows of `ceil_mode` reach."""
    rank = len(kernel)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    begins = list(pieces.node.attributes.get_ints("pads", []) or [0] * 2 * rank)[:rank]
    sizes, outputs = pieces.shape(0)[2:], pieces.shape(pieces.node.outputs[0])[2:]
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(outputs, strides, kernel, dilations, strict=True)]
    return [*begins, *(max(r - i - b, 0) for r, i, b in zip(reach, sizes, begins, strict=True))]


DECOMPOSITIONS: dict[str, Decomposition] = {
    "GlobalLpPool": global_lp_pool,
    "LpNormalization": lp_normalization,
    "LpPool": lp_pool,
    "ReduceL1": partial(_reduced, before=_step("Abs"), after=None),
    "ReduceL2": partial(_reduced, before=_square, after=_step("Sqrt")),
    "ReduceLogSum": partial(_reduced, before=None, after=_step("Log")),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceSumSquare": partial(_reduced, before=_square, after=None),
}
