"""Normalizations without a function body in ONNX, and those of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable


def standardized(pieces: Pieces, source: ir.Value, axes: Sequence[int], epsilon: float) -> ir.Value:
    """Computes (x - mean) / sqrt(variance + epsilon)."""
    centered = pieces("Sub", source, pieces.reduce("ReduceMean", source, axes))
    return pieces("Mul", centered, _inverse_size(pieces, centered, axes, epsilon))


def _inverse_size(pieces: Pieces, source: ir.Value, axes: Sequence[int], epsilon: float) -> ir.Value:
    """Computes 1 / sqrt(mean of the squares + epsilon)."""
    mean = pieces.reduce("ReduceMean", pieces("Mul", source, source), axes)
    return pieces("Reciprocal", pieces("Sqrt", pieces("Add", mean, epsilon)))


def _along_channels(pieces: Pieces, value: ir.Value, rank: int) -> ir.Value:
    """Reshapes a vector so that it broadcasts along dimension 1."""
    return pieces.reshape(value, (-1, *[1] * (rank - 2)))


def instance_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """InstanceNormalization (Ulyanov et al., 2016)."""
    source = pieces.input(0)
    rank = len(pieces.shape(source))
    result = standardized(pieces, source, range(2, rank), pieces.number("epsilon", 1e-5))
    result = pieces("Mul", result, _along_channels(pieces, pieces.input(1), rank))
    return [pieces("Add", result, _along_channels(pieces, pieces.input(2), rank))]


def batch_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """BatchNormalization with computed statistics; constant statistics are folded when a graph is simplified."""
    if pieces.integer("training_mode", 0):
        raise Undecomposable("it is in training mode: it takes its statistics from the batch")
    source = pieces.input(0)
    rank = len(pieces.shape(source))
    scale, bias, mean, variance = (_along_channels(pieces, pieces.input(index), rank) for index in range(1, 5))
    size = pieces("Sqrt", pieces("Add", variance, pieces.number("epsilon", 1e-5)))
    result = pieces("Mul", pieces("Sub", source, mean), pieces("Div", scale, size))
    return [pieces("Add", result, bias)]


def local_response_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """LRN (Krizhevsky et al., 2012): the sum of squares over neighbouring channels, as a sum of slices."""
    source = pieces.input(0)
    shape, size = pieces.shape(source), pieces.integer("size", 1)
    before, behind = (size - 1) // 2, size - 1 - (size - 1) // 2
    pads = np.zeros((2, len(shape)), np.int64)
    pads[:, 1] = before, behind
    squares = pieces("Pad", pieces("Mul", source, source), pads.reshape(-1))
    total = pieces.slice(squares, 1, 0, shape[1])
    for offset in range(1, size):
        total = pieces("Add", total, pieces.slice(squares, 1, offset, offset + shape[1]))
    share = pieces.number("alpha", 1e-4) / size
    steadied = pieces("Add", pieces("Mul", total, share), pieces.number("bias", 1.0))
    return [pieces("Mul", source, pieces("Pow", steadied, -pieces.number("beta", 0.75)))]


def root_mean_square_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """RMSNormalization (Zhang and Sennrich, 2019), and SimplifiedLayerNormalization, as ONNX Runtime calls it."""
    return [_root_mean_square(pieces, pieces.input(0), pieces.input(1), pieces.integer("axis", -1))]


def _root_mean_square(pieces: Pieces, source: ir.Value, scale: ir.Value, axis: int) -> ir.Value:
    rank = len(pieces.shape(source))
    inverse = _inverse_size(pieces, source, range(axis % rank, rank), pieces.number("epsilon", 1e-5))
    return pieces("Mul", pieces("Mul", source, inverse), scale)


def skip_layer_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """ONNX Runtime's SkipLayerNormalization: LayerNormalization of input + skip + bias."""
    total = _skipped(pieces, 4)
    axes = [len(pieces.shape(total)) - 1]
    result = pieces("Mul", standardized(pieces, total, axes, pieces.number("epsilon", 1e-12)), pieces.input(2))
    if (offset := pieces.optional(3)) is not None:
        result = pieces("Add", result, offset)
    return [result, None, None, total]


def skip_root_mean_square_norm(pieces: Pieces) -> Sequence[ir.Value | None]:
    """ONNX Runtime's SkipSimplifiedLayerNormalization."""
    total = _skipped(pieces, 3)
    return [_root_mean_square(pieces, total, pieces.input(2), -1), None, None, total]


def _skipped(pieces: Pieces, bias: int) -> ir.Value:
    if pieces.is_used(1) or pieces.is_used(2):
        raise Undecomposable("its mean and variance are read")
    total = pieces("Add", pieces.input(0), pieces.input(1))
    offset = pieces.optional(bias)
    return total if offset is None else pieces("Add", total, offset)


DECOMPOSITIONS: dict[str, Decomposition] = {
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LRN": local_response_norm,
    "RMSNormalization": root_mean_square_norm,
    "SimplifiedLayerNormalization": root_mean_square_norm,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_root_mean_square_norm,
}
