"""Convolutions and products that ONNX Runtime fused with what stood around them, and operators that ONNX adopted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

Results = Sequence[ir.Value | None]


def fused_conv(pieces: Pieces) -> Results:
    """A Conv, to whose result another tensor may be added, and an activation."""
    kept = attributes(pieces, without=("activation", "activation_params"))
    result = pieces("Conv", pieces.input(0), pieces.input(1), pieces.optional(2), **kept)
    if (addend := pieces.optional(3)) is not None:
        result = pieces("Add", result, addend)
    parameters = pieces.node.attributes.get_floats("activation_params", []) or []
    return [_activation(pieces, result, list(parameters))]


def fused_gemm(pieces: Pieces) -> Results:
    """A Gemm and an activation."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    kept = attributes(pieces, without=("activation", *names))
    result = pieces("Gemm", pieces.input(0), pieces.input(1), pieces.optional(2), **kept)
    parameters = [pieces.number(name, 0.0) for name in names if name in pieces.node.attributes]
    return [_activation(pieces, result, parameters)]


def attributes(pieces: Pieces, without: Sequence[str] = ()) -> dict[str, Any]:
    """What the node's attributes say, but for some."""
    return {name: each.value for name, each in pieces.node.attributes.items() if name not in without}


def _clip(pieces: Pieces, x: ir.Value, low: float, high: float) -> ir.Value:
    return pieces("Clip", x, pieces.like(x, low), pieces.like(x, high))


#: Name -> the operator on a value and the activation's parameters, in the order that ONNX Runtime writes them.
_ACTIVATIONS: dict[str, Callable[..., ir.Value]] = {
    "": lambda pieces, x: x,
    "Clip": _clip,
    "HardSigmoid": lambda pieces, x, alpha=0.2, beta=0.5: pieces("HardSigmoid", x, alpha=alpha, beta=beta),
    "HardSwish": lambda pieces, x: pieces("HardSwish", x),
    "LeakyRelu": lambda pieces, x, alpha=0.01: pieces("LeakyRelu", x, alpha=alpha),
    "Relu": lambda pieces, x: pieces("Relu", x),
    "Sigmoid": lambda pieces, x: pieces("Sigmoid", x),
    "Tanh": lambda pieces, x: pieces("Tanh", x),
}


def _activation(pieces: Pieces, x: ir.Value, parameters: Sequence[float]) -> ir.Value:
    name = pieces.text("activation", "")
    if name not in _ACTIVATIONS:
        raise Undecomposable(f"its activation is {name}")
    return _ACTIVATIONS[name](pieces, x, *parameters)


def fused_matmul(pieces: Pieces) -> Results:
    """A @ B times alpha; each may lie transposed, in its last two dimensions or with the batch behind its rows."""
    operands = [_operand(pieces, index, letter) for index, letter in enumerate("AB")]
    product, alpha = pieces("MatMul", *operands), pieces.number("alpha", 1.0)
    return [product if alpha == 1 else pieces("Mul", product, pieces.like(product, alpha))]


def _operand(pieces: Pieces, index: int, letter: str) -> ir.Value:
    value = pieces.input(index)
    order = list(range(pieces.rank(value)))
    if len(order) < 2:  # ONNX Runtime ignores the flags of a vector
        return value
    if pieces.integer(f"transBatch{letter}", 0):
        order = [*order[1:-1], 0, order[-1]]
    if pieces.integer(f"trans{letter}", 0):
        order[-2:] = reversed(order[-2:])
    return pieces.transpose(value, order)


def bias_add(pieces: Pieces) -> Results:
    """The sum of three."""
    return [pieces("Add", pieces("Add", pieces.input(0), pieces.input(1)), pieces.input(2))]


def _adopted(pieces: Pieces) -> Results:
    """An operator that ONNX has taken over as it was."""
    return [pieces(pieces.node.op_type, *pieces.node.inputs, **attributes(pieces))]


def grid_sample(pieces: Pieces) -> Results:
    """ONNX's, whose modes opset 20 renamed."""
    kept = attributes(pieces, without=("mode",))
    mode = pieces.text("mode", "bilinear")
    if pieces.opset >= 20:
        mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return [pieces("GridSample", pieces.input(0), pieces.input(1), mode=mode, **kept)]


CONTRIB: dict[str, Decomposition] = {
    "BiasAdd": bias_add,
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "GatherND": _adopted,
    "GridSample": grid_sample,
    "Pad": _adopted,
    "Range": _adopted,
    "TransposeMatMul": fused_matmul,
    "Trilu": _adopted,
}
