"""GELU in its forms, with a bias in front or without."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces

Results = Sequence[ir.Value | None]

#: The first opset with a Gelu.
_GELU_OPSET = 20


def gelu(pieces: Pieces) -> Results:
    """x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel, 2016)."""
    return [_gelu(pieces, pieces.input(0))]


def bias_gelu(pieces: Pieces) -> Results:
    """`gelu` of a sum."""
    return [_gelu(pieces, pieces("Add", pieces.input(0), pieces.input(1)))]


def _gelu(pieces: Pieces, x: ir.Value) -> ir.Value:
    if pieces.opset >= _GELU_OPSET:
        return pieces("Gelu", x)
    gate = pieces("Add", pieces("Erf", pieces("Mul", x, pieces.like(x, math.sqrt(0.5)))), pieces.like(x, 1))
    return pieces("Mul", pieces("Mul", x, gate), pieces.like(x, 0.5))


def fast_gelu(pieces: Pieces) -> Results:
    """x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), of x and a bias when there is one."""
    x, bias = pieces.input(0), pieces.optional(1)
    x = x if bias is None else pieces("Add", x, bias)
    if pieces.opset >= _GELU_OPSET:
        return [pieces("Gelu", x, approximate="tanh")]
    square = pieces("Mul", x, x)
    curve = pieces("Add", pieces("Mul", square, pieces.like(x, 0.044715)), pieces.like(x, 1))
    inner = pieces("Mul", pieces("Mul", x, curve), pieces.like(x, math.sqrt(2 / math.pi)))
    gate = pieces("Add", pieces("Tanh", inner), pieces.like(x, 1))
    return [pieces("Mul", pieces("Mul", x, gate), pieces.like(x, 0.5))]


def quick_gelu(pieces: Pieces) -> Results:
    """X * sigmoid(alpha * x): SiLU where alpha is 1."""
    x, alpha = pieces.input(0), pieces.number("alpha", 1.702)
    scaled = x if alpha == 1 else pieces("Mul", x, pieces.like(x, alpha))
    return [pieces("Mul", x, pieces("Sigmoid", scaled))]


CONTRIB: dict[str, Decomposition] = {
    "BiasGelu": bias_gelu,
    "FastGelu": fast_gelu,
    "Gelu": gelu,
    "QuickGelu": quick_gelu,
}
