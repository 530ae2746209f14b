"""Normalization over the last dimension, with the sums that stand in front of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

Results = Sequence[ir.Value | None]

#: The first opset with a LayerNormalization.
_LAYER_NORM_OPSET = 17
#: What ONNX Runtime adds to a variance when nothing is written.
_EPSILON = 1e-12


def skip_layer_norm(pieces: Pieces) -> Results:
    """LayerNormalization of a tensor, what skips to it, and a bias; their sum is the fourth output."""
    total = _total(pieces, pieces.optional(4))
    return [_layer_norm(pieces, total, pieces.input(2), pieces.optional(3)), *_no_statistics(pieces), total]


def skip_simplified_layer_norm(pieces: Pieces) -> Results:
    """The same with RMSNorm."""
    total = _total(pieces, pieces.optional(3))
    return [_rms_norm(pieces, total, pieces.input(2)), *_no_statistics(pieces), total]


def layer_norm(pieces: Pieces) -> Results:
    """ONNX's, in an opset that does not have it yet."""
    _refuse_other_axes(pieces)
    return [_layer_norm(pieces, pieces.input(0), pieces.input(1), pieces.optional(2)), *_no_statistics(pieces)]


def simplified_layer_norm(pieces: Pieces) -> Results:
    """RMSNorm: x / sqrt(mean(x^2) + epsilon) * scale (Zhang and Sennrich, 2019)."""
    _refuse_other_axes(pieces)
    return [_rms_norm(pieces, pieces.input(0), pieces.input(1)), *_no_statistics(pieces)]


def _refuse_other_axes(pieces: Pieces) -> None:
    if pieces.integer("axis", -1) not in {-1, pieces.rank(pieces.input(0)) - 1}:
        raise Undecomposable("it normalizes more than the last dimension")


def _total(pieces: Pieces, bias: ir.Value | None) -> ir.Value:
    total = pieces("Add", pieces.input(0), pieces.input(1))
    return total if bias is None else pieces("Add", total, bias)


def _no_statistics(pieces: Pieces) -> Results:
    """Mean and deviation, the outputs that training alone reads."""
    statistics = pieces.node.outputs[1:3]
    if any(pieces.is_used(index) for index in range(1, 1 + len(statistics))):
        raise Undecomposable("its mean or deviation is read, as in training")
    return [None] * len(statistics)


def _layer_norm(pieces: Pieces, x: ir.Value, scale: ir.Value, bias: ir.Value | None) -> ir.Value:
    epsilon = pieces.number("epsilon", _EPSILON)
    if pieces.opset >= _LAYER_NORM_OPSET:
        return pieces("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)
    centred = pieces("Sub", x, pieces.reduce("ReduceMean", x, [-1]))
    normalized = pieces("Mul", _divided_by_root(pieces, centred, epsilon), scale)
    return normalized if bias is None else pieces("Add", normalized, bias)


def _rms_norm(pieces: Pieces, x: ir.Value, scale: ir.Value) -> ir.Value:
    return pieces("Mul", _divided_by_root(pieces, x, pieces.number("epsilon", _EPSILON)), scale)


def _divided_by_root(pieces: Pieces, x: ir.Value, epsilon: float) -> ir.Value:
    """Divided by the root of the mean square."""
    mean = pieces.reduce("ReduceMean", pieces("Mul", x, x), [-1])
    return pieces("Div", x, pieces("Sqrt", pieces("Add", mean, pieces.like(x, epsilon))))


def embed_layer_norm(pieces: Pieces) -> Results:
    """BERT's beginning: the embeddings of words, positions and segments, added and normalized (Devlin et al., 2019).

    The second output counts what a mask leaves of each row; the third is the sum.
    """
    return _embedded(pieces, [pieces.optional(index) for index in _TABLES], positions=8)


def q_embed_layer_norm(pieces: Pieces) -> Results:
    """The same with tables of integers; their scales follow the mask, and their zero points those."""
    tables = [
        None
        if (integers := pieces.optional(index)) is None
        else pieces("DequantizeLinear", integers, pieces.input(index + 6), pieces.optional(index + 11))
        for index in _TABLES
    ]
    return _embedded(pieces, tables, positions=None)


#: Where the tables of words, positions and segments are, and the norm's scale and bias.
_TABLES = range(2, 7)


def _embedded(pieces: Pieces, tables: Sequence[ir.Value | None], positions: int | None) -> Results:
    word_table, position_table, segment_table, scale, bias = tables
    assert scale is not None
    words, segments = pieces.input(0), pieces.optional(1)
    total = pieces("Gather", word_table, words)
    if segments is not None and segment_table is not None:
        total = pieces("Add", total, pieces("Gather", segment_table, segments))
    given = None if positions is None else pieces.optional(positions)
    if given is None:
        placed = pieces("Slice", position_table, np.array([0]), _length(pieces, words), np.array([0]))
    else:
        placed = pieces("Gather", position_table, given)
    total = pieces("Add", total, placed)
    return [_layer_norm(pieces, total, scale, bias), _mask_lengths(pieces, words), total]


def _length(pieces: Pieces, ids: ir.Value) -> ir.Value:
    return pieces.slice(pieces("Shape", ids), 0, 1, 2)


def _mask_lengths(pieces: Pieces, words: ir.Value) -> ir.Value | None:
    if not pieces.is_used(1):
        return None
    mask = pieces.optional(7)
    mask = pieces("Mul", words, pieces.like(words, 0)) if mask is None else mask
    return pieces.reduce("ReduceSum", pieces.cast(mask, ir.DataType.INT32), [1], keep=False)


CONTRIB: dict[str, Decomposition] = {
    "EmbedLayerNormalization": embed_layer_norm,
    "QEmbedLayerNormalization": q_embed_layer_norm,
    "LayerNormalization": layer_norm,
    "SimplifiedLayerNormalization": simplified_layer_norm,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_norm,
}
