"""Products with packed or integer weights, and pools whose channels lie last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.contrib.fused import attributes
from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

Results = Sequence[ir.Value | None]


def dynamic_quantize_matmul(pieces: Pieces) -> Results:
    """A product whose left operand is rounded as its own range says: A, B, the scale and zero point of B, a bias."""
    integers, scale, zero_point = pieces.many("DynamicQuantizeLinear", pieces.input(0), outputs=3)
    product = integer_product(
        pieces, (integers, scale, zero_point), (pieces.input(1), pieces.input(2), pieces.optional(3))
    )
    return [_plus(pieces, product, pieces.optional(4))]


def matmul_integer_to_float(pieces: Pieces) -> Results:
    """A product of integers: A, B, their scales, their zero points, a bias."""
    left, right = ((pieces.input(i), pieces.input(2 + i), pieces.optional(4 + i)) for i in (0, 1))
    return [_plus(pieces, integer_product(pieces, left, right), pieces.optional(6))]


#: Integers, their scale, their zero point.
Integers = tuple[ir.Value, ir.Value, ir.Value | None]


def integer_product(pieces: Pieces, left: Integers, right: Integers) -> ir.Value:
    """The real numbers that a product of integers stands for."""
    total = pieces("MatMulInteger", left[0], right[0], left[2], right[2])
    return pieces("Mul", pieces.cast(total, ir.DataType.FLOAT), pieces("Mul", left[1], right[1]))


def _plus(pieces: Pieces, value: ir.Value, bias: ir.Value | None) -> ir.Value:
    return value if bias is None else pieces("Add", value, bias)


def matmul_n_bits(pieces: Pieces) -> Results:
    """A product with a matrix of few bits, which has a scale for every block of each of its rows: A, B, the scales."""
    columns, rows = pieces.integer("K", 0), pieces.integer("N", 0)
    if pieces.optional(4) is not None:
        raise Undecomposable("its blocks are not in the order of the columns (g_idx)")
    weight = unpacked(pieces, rows, columns)
    product = pieces("MatMul", pieces.input(0), pieces.like(pieces.input(0), np.ascontiguousarray(weight.T)))
    return [_plus(pieces, product, pieces.optional(5))]


def unpacked(pieces: Pieces, rows: int, columns: int) -> Array:
    """The matrix of a MatMulNBits, float32 of shape (rows, columns)."""
    bits, block = pieces.integer("bits", 4), pieces.integer("block_size", 32)
    if bits not in {2, 4, 8}:
        raise Undecomposable(f"its weights have {bits} bits")
    blocks = -(-columns // block)
    numbers = _fields(pieces.constant_input(1).reshape(rows, -1), bits)[:, : blocks * block]
    scales = pieces.constant_input(2).reshape(rows, blocks, 1).astype(np.float32)
    zero: Array = np.array(2 ** (bits - 1), np.float32)
    if pieces.optional(3) is not None:
        given = pieces.constant_input(3)
        zero = _fields(given.reshape(rows, -1), bits)[:, :blocks] if given.dtype == np.uint8 else given
        zero = zero.reshape(rows, blocks, 1).astype(np.float32)
    weight: Array = (numbers.reshape(rows, blocks, block).astype(np.float32) - zero) * scales
    return weight.reshape(rows, -1)[:, :columns]


def _fields(packed: Array, bits: int) -> Array:
    """Numbers of few bits, the lowest bits of each byte first; shape (rows, bytes) -> (rows, numbers)."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields: Array = (packed[:, :, None] >> shifts) & (2**bits - 1)
    return fields.reshape(len(packed), -1)


def nhwc_max_pool(pieces: Pieces) -> Results:
    """A MaxPool between transpositions."""
    return [_between_transpositions(pieces, "MaxPool", "")]


def channels_last(pieces: Pieces) -> Results:
    """A convolution or pool on integers, as it is with channels second, between transpositions."""
    node = pieces.node
    return [_between_transpositions(pieces, node.op_type, "" if node.op_type == "QLinearConv" else node.domain)]


def _between_transpositions(pieces: Pieces, op_type: str, domain: str) -> ir.Value:
    """An operator on channels that are second, for a tensor in which they are last."""
    _, *others = pieces.node.inputs
    inner = range(1, pieces.rank(pieces.input(0)) - 1)
    first = pieces.transpose(pieces.input(0), [0, len(inner) + 1, *inner])
    result = pieces(op_type, first, *others, domain=domain, **attributes(pieces, without=("channels_last",)))
    return pieces.transpose(result, [0, *(axis + 1 for axis in inner), 1])


CONTRIB: dict[str, Decomposition] = {
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_n_bits,
    "NhwcMaxPool": nhwc_max_pool,
    "QLinearAveragePool": channels_last,
    "QLinearConv": channels_last,
    "QLinearGlobalAveragePool": channels_last,
}
