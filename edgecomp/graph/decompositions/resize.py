"""Decomposes Resize, of any axes in any mode, into a gather or a product with a matrix for each axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable
from edgecomp.graph.interpolation import Positions, cubic_weight, nearest_index, source_positions
from edgecomp.graph.query import constant

Matrix = npt.NDArray[np.float64]


def resize(pieces: Pieces) -> Sequence[ir.Value]:
    """Resizes one axis after the other."""
    value = pieces.input(0)
    before, after = pieces.shape(0), pieces.shape(pieces.node.outputs[0])
    mode = pieces.text("mode", "nearest")
    scales, starts, ends = _regions(pieces, before, after)
    inside = []
    for axis, scale in enumerate(scales):
        size = (before[axis], after[axis])
        positions = _positions(pieces, size, scale, (starts[axis], ends[axis]))
        inside.append(_is_inside(pieces, positions, size[0]))
        if size[0] == size[1] and np.array_equal(positions, np.arange(size[0])):
            continue
        if mode == "nearest":
            index = nearest_index(positions, pieces.text("nearest_mode", "round_prefer_floor"), size[0])
            value = pieces("Gather", value, index, axis=axis)
        else:
            value = _multiplied(pieces, value, axis, _matrix(pieces, positions, size[0], scale))
    if all(mask.all() for mask in inside):
        return [value]
    mask = np.ones((), bool)
    for part in inside:
        mask = mask[..., None] & part
    outside = np.array(pieces.number("extrapolation_value", 0.0), np.float32)
    return [pieces("Where", mask, value, outside)]


def _regions(
    pieces: Pieces, before: Sequence[int], after: Sequence[int]
) -> tuple[list[float], list[float], list[float]]:
    """Returns the scale of each axis, and the start and end of the region that is read, as shares of its length."""
    rank = len(before)
    axes = [axis % rank for axis in pieces.node.attributes.get_ints("axes", None) or range(rank)]
    scales = [new / old for new, old in zip(after, before, strict=True)]
    given = constant(pieces.optional(2))
    policy = pieces.text("keep_aspect_ratio_policy", "stretch")
    if given is not None and given.size:
        for axis, scale in zip(axes, given, strict=True):
            scales[axis] = float(scale)
    elif policy != "stretch":
        sizes = pieces.constant_input(3)
        ratios = [int(size) / before[axis] for axis, size in zip(axes, sizes, strict=True)]
        for axis in axes:
            scales[axis] = min(ratios) if policy == "not_larger" else max(ratios)
    starts, ends = [0.0] * rank, [1.0] * rank
    if pieces.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        region = pieces.constant_input(1)
        for place, axis in enumerate(axes):
            starts[axis], ends[axis] = float(region[place]), float(region[place + len(axes)])
    return scales, starts, ends


def _positions(pieces: Pieces, size: tuple[int, int], scale: float, region: tuple[float, float]) -> Positions:
    """Returns the source position of each element of an axis."""
    mode = pieces.text("coordinate_transformation_mode", "half_pixel")
    try:
        return source_positions(mode, *size, scale, region)
    except ValueError as error:
        raise Undecomposable(str(error)) from error


def _is_inside(pieces: Pieces, positions: Positions, size: int) -> npt.NDArray[np.bool_]:
    """Tells which positions take values of the source; the others get `extrapolation_value`."""
    if pieces.text("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return np.ones(len(positions), bool)
    return (positions >= 0) & (positions <= size - 1)


def _matrix(pieces: Pieces, positions: Positions, size: int, scale: float) -> Matrix:
    """Returns the weights of the source's elements (columns) in each element of the result (rows)."""
    antialias = bool(pieces.integer("antialias", 0))
    narrowing = min(scale, 1.0) if antialias else 1.0
    reach = int(np.ceil(2 / narrowing)) + 1
    index = np.floor(positions)[:, None].astype(np.int64) + np.arange(-reach, reach + 1)
    distance = np.abs(index - positions[:, None]) * narrowing
    if pieces.text("mode", "nearest") == "cubic":
        weights = cubic_weight(distance, pieces.number("cubic_coeff_a", -0.75))
    else:
        weights = np.maximum(0, 1 - distance)
    if pieces.integer("exclude_outside", 0):
        weights = np.where((index >= 0) & (index < size), weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((len(positions), size))
    rows = np.broadcast_to(np.arange(len(positions))[:, None], index.shape)
    np.add.at(matrix, (rows, np.clip(index, 0, size - 1)), weights)
    return matrix


def _multiplied(pieces: Pieces, value: ir.Value, axis: int, matrix: Matrix) -> ir.Value:
    """Multiplies an axis by a constant matrix."""
    if value.dtype != ir.DataType.FLOAT:
        raise Undecomposable("it interpolates between integers")
    rank = len(pieces.shape(value))
    factor = matrix.astype(np.float32)
    if axis == rank - 2:
        return pieces("MatMul", factor, value)
    order = [place for place in range(rank) if place != axis] + [axis]
    product = pieces("MatMul", pieces.transpose(value, order), factor.T.copy())
    return pieces.transpose(product, [order.index(place) for place in range(rank)])


DECOMPOSITIONS: dict[str, Decomposition] = {"Resize": resize}
