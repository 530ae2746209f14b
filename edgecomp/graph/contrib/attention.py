"""Attention of several heads (Vaswani et al., 2017), as ONNX Runtime fuses it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.contrib.integers import integer_product
from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.query import constant

Results = Sequence[ir.Value | None]

#: What ONNX Runtime adds to the scores that a mask leaves out.
_FILTER = -10000.0
_HEADS, _HEADS_LAST = (0, 2, 1, 3), (0, 2, 3, 1)


def attention(pieces: Pieces) -> Results:
    """Queries, keys and values are one projection: input, weight, bias, mask, past, what is added to the scores."""
    _refuse(pieces, {"past keys and values": 4, "a length of the past": 6}, ("do_rotary",))
    x, weight, bias = pieces.input(0), pieces.input(1), pieces.optional(2)
    sizes = _projected(pieces, weight)
    matrices = _parts(pieces, weight, 1, sizes)
    offsets = [None] * 3 if bias is None else _parts(pieces, bias, 0, sizes)
    projections = [
        product if offset is None else pieces("Add", product, offset)
        for product, offset in zip((pieces("MatMul", x, matrix) for matrix in matrices), offsets, strict=True)
    ]
    masks = [*_mask(pieces, pieces.optional(3), projections[1]), *_causal(pieces, projections), pieces.optional(5)]
    return [_attend(pieces, projections, sizes, masks)]


def q_attention(pieces: Pieces) -> Results:
    """The same on integers: input, weight, bias, their scales, mask, their zero points, past."""
    _refuse(pieces, {"past keys and values": 8}, ("do_rotary",))
    x, weight = ((pieces.input(i), pieces.input(3 + i), pieces.optional(6 + i)) for i in (0, 1))
    sizes = _projected(pieces, weight[0])
    if constant(x[1]) is None:
        product = integer_product(pieces, x, weight)
    else:
        product = pieces("MatMul", *(pieces("DequantizeLinear", *each, axis=1) for each in (x, weight)))
    parts = _parts(pieces, pieces("Add", product, pieces.input(2)), 2, sizes)
    masks = [*_mask(pieces, pieces.optional(5), parts[1]), *_causal(pieces, parts)]
    return [_attend(pieces, parts, sizes, masks)]


def multi_head_attention(pieces: Pieces) -> Results:
    """Queries, keys and values come projected; then a bias, a mask, what is added to the scores, the past."""
    _refuse(pieces, {"past keys": 6, "past values": 7}, ())
    parts = [pieces.optional(index) for index in range(3)]
    present = [part for part in parts if part is not None]
    if len(present) < 3 or any(pieces.rank(part) != 3 for part in present):
        raise Undecomposable("its queries, keys and values are packed, or projected into heads")
    sizes = [_last(part) for part in present]
    bias = pieces.optional(3)
    if bias is not None:
        present = [pieces("Add", *pair) for pair in zip(present, _parts(pieces, bias, 0, sizes), strict=True)]
    masks = [*_mask(pieces, pieces.optional(4), present[1]), *_causal(pieces, present), pieces.optional(5)]
    return [_attend(pieces, present, sizes, masks)]


def _refuse(pieces: Pieces, inputs: dict[str, int], flags: Sequence[str]) -> None:
    """What a decoder that is fed its own past needs."""
    for what, index in inputs.items():
        if pieces.optional(index) is not None:
            raise Undecomposable(f"it takes {what}")
    for flag in flags:
        if pieces.integer(flag, 0):
            raise Undecomposable(f"it has {flag}")
    if any(pieces.is_used(index) for index in range(1, len(pieces.node.outputs))):
        raise Undecomposable("it gives keys and values back")


def _projected(pieces: Pieces, weight: ir.Value) -> list[int]:
    """The sizes of queries, keys and values."""
    given = pieces.node.attributes.get_ints("qkv_hidden_sizes", None)
    return list(given) if given else [_last(weight) // 3] * 3


def _last(value: ir.Value) -> int:
    size = value.shape[-1] if value.shape is not None else None
    if not isinstance(size, int):
        raise Undecomposable(f"the last size of {value.name} is not known")
    return size


def _parts(pieces: Pieces, value: ir.Value, axis: int, sizes: Sequence[int]) -> list[ir.Value]:
    """A value cut in three; a constant is cut beforehand, so that each part is quantized for itself."""
    array = constant(value)
    if array is None:
        return list(pieces.many("Split", value, np.array(sizes, np.int64), axis=axis, outputs=3))
    cut = np.split(array, np.cumsum(sizes)[:-1], axis=axis)
    return [part for part in (pieces.value(np.ascontiguousarray(each)) for each in cut) if part is not None]


def _attend(
    pieces: Pieces, parts: Sequence[ir.Value], sizes: Sequence[int], masks: Sequence[ir.Value | None]
) -> ir.Value:
    """softmax(scale Q K' + masks) V for every head; shape (batch, length, size) in and out."""
    heads = pieces.integer("num_heads", 1)
    split = [
        pieces("Reshape", part, np.array([0, 0, heads, size // heads])) for part, size in zip(parts, sizes, strict=True)
    ]
    query, key, value = (
        pieces.transpose(part, order) for part, order in zip(split, (_HEADS, _HEADS_LAST, _HEADS), strict=True)
    )
    scale = pieces.number("scale", 0.0) or 1 / math.sqrt(sizes[0] // heads)
    scores = pieces("Mul", pieces("MatMul", query, key), pieces.like(query, scale))
    for mask in masks:
        scores = scores if mask is None else pieces("Add", scores, mask)
    context = pieces("MatMul", pieces("Softmax", scores, axis=-1), value)
    return pieces("Reshape", pieces.transpose(context, _HEADS), np.array([0, 0, sizes[2]]))


def _mask(pieces: Pieces, mask: ir.Value | None, keys: ir.Value) -> list[ir.Value]:
    """What is added to the scores for the keys that a mask leaves out: 1 keeps a key, or a number says how many."""
    if mask is None:
        return []
    rank = pieces.rank(mask)
    if rank == 1:
        kept = pieces("Less", _places(pieces, keys, mask.dtype), pieces("Unsqueeze", mask, np.array([1])))
        mask = pieces.cast(kept, ir.DataType.FLOAT)
    elif rank > 3:
        raise Undecomposable(f"its mask has {rank} dimensions")
    left_out = pieces("Sub", 1.0, pieces.cast(mask, ir.DataType.FLOAT))
    addend = pieces("Mul", left_out, pieces.number("mask_filter_value", _FILTER))
    return [pieces("Unsqueeze", addend, np.array([1] if rank == 3 else [1, 2]))]


def _causal(pieces: Pieces, parts: Sequence[ir.Value]) -> list[ir.Value]:
    """What is added to the scores so that nobody looks ahead."""
    if not pieces.integer("unidirectional", 0):
        return []
    rows, columns = (_places(pieces, part, ir.DataType.INT64) for part in parts[:2])
    seen = pieces("GreaterOrEqual", pieces("Unsqueeze", rows, np.array([1])), columns)
    return [pieces("Where", seen, 0.0, pieces.number("mask_filter_value", _FILTER))]


def _places(pieces: Pieces, value: ir.Value, dtype: ir.DataType | None) -> ir.Value:
    """0, 1, 2, ... along the second dimension."""
    length = pieces("Gather", pieces("Shape", value), 1)
    return pieces.cast(pieces("Range", 0, length, 1), dtype or ir.DataType.INT64)


CONTRIB: dict[str, Decomposition] = {
    "Attention": attention,
    "MultiHeadAttention": multi_head_attention,
    "QAttention": q_attention,
}
