"""Dynamic quantization, whose parameters are computed from each input, as float arithmetic on integers.

Sums of products of 8-bit integers are exact in float32 below 2**24. Above that they are rounded as by the Cast to
float32 that follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.decompositions.pieces import Decomposition, Pieces
from edgecomp.graph.query import constant, origin

Results = Sequence[ir.Value | None]


def dynamic_quantize_linear(pieces: Pieces) -> Results:
    """Quantizes the range from the smallest to the largest value, including 0, to the integers from 0 to 255."""
    x = pieces.input(0)
    axes = list(range(len(pieces.shape(x))))
    low = pieces("Min", pieces.reduce("ReduceMin", x, axes, keep=False), 0.0)
    high = pieces("Max", pieces.reduce("ReduceMax", x, axes, keep=False), 0.0)
    span = pieces("Sub", high, low)
    # An all-zero input has no range; ONNX Runtime uses a scale of 1.
    scale = pieces("Where", pieces("Equal", span, 0.0), 1.0, pieces("Div", span, 255.0))
    zero_point = _to_byte(pieces, pieces("Round", pieces("Neg", pieces("Div", low, scale))))
    integers = pieces("Add", pieces("Round", pieces("Div", x, scale)), zero_point)
    results = [_to_byte(pieces, integers), scale, zero_point]
    return [value if value is scale else pieces.cast(value, ir.DataType.UINT8) for value in results]


def _to_byte(pieces: Pieces, value: ir.Value) -> ir.Value:
    return pieces("Clip", value, 0.0, 255.0)


def matmul_integer(pieces: Pieces) -> Results:
    """Multiplies operands after subtracting zero points, which may be one per row or one per column."""
    return _integers(pieces, pieces("MatMul", _above(pieces, 0, 2, 1), _above(pieces, 1, 3, 0)))


def conv_integer(pieces: Pieces) -> Results:
    """Convolves operands after subtracting zero points; padding with the zero point then becomes padding with 0."""
    weight = _above(pieces, 1, 3, len(pieces.shape(1)) - 1)
    attributes = {name: each.value for name, each in pieces.node.attributes.items()}
    return _integers(pieces, pieces("Conv", _above(pieces, 0, 2, 0), weight, **attributes))


def _above(pieces: Pieces, index: int, zero_index: int, ones: int) -> ir.Value | Array:
    """Subtracts an operand's zero point, in float32.

    Args:
        pieces: The pieces of the node.
        index: The index of the operand.
        zero_index: The index of its zero point, which may be absent.
        ones: How many dimensions of size 1 to append to a vector of zero points.
    """
    value = _real(pieces, pieces.input(index))
    if (zero_point := pieces.optional(zero_index)) is None:
        return value
    shape = pieces.shape(zero_point)
    if math.prod(shape) == 1:
        shape = ()
    elif len(shape) == 1:
        shape = (*shape, *[1] * ones)
    zero = _real(pieces, zero_point)
    if not isinstance(value, ir.Value) and not isinstance(zero, ir.Value):
        return value - zero.reshape(shape)
    return pieces("Sub", value, pieces.reshape(zero, shape) if isinstance(zero, ir.Value) else zero.reshape(shape))


def _real(pieces: Pieces, value: ir.Value) -> ir.Value | Array:
    """Returns integers as float32: the values before the cast of a DynamicQuantizeLinear if possible, or a Cast."""
    if (numbers := constant(value)) is not None:
        return numbers.astype(np.float32)
    maker = value.producer()
    if maker is not None and maker.op_type == "Cast" and origin(maker)[1] == "DynamicQuantizeLinear":
        assert maker.inputs[0] is not None
        return maker.inputs[0]
    return pieces.cast(value, ir.DataType.FLOAT)


def _integers(pieces: Pieces, total: ir.Value) -> Results:
    """Returns the result as int32; readers that would cast it to float32 get the float value directly."""
    for reader, index in pieces.node.outputs[0].uses():
        if reader.op_type == "Cast" and reader.outputs[0].dtype == ir.DataType.FLOAT:
            reader.replace_input_with(index, total)
    return [pieces.cast(total, ir.DataType.INT32)]


DECOMPOSITIONS: dict[str, Decomposition] = {
    "ConvInteger": conv_integer,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulInteger": matmul_integer,
}
