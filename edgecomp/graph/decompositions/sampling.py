"""Decomposes GridSample into gathers, and AffineGrid into a matrix product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable


def grid_sample(pieces: Pieces) -> Sequence[ir.Value | None]:
    """GridSample of an image (Jaderberg et al., 2015): a weighted sum of the pixels around each position."""
    source, grid = pieces.input(0), pieces.input(1)
    shape = pieces.shape(source)
    mode = {"bilinear": "linear"}.get(given := pieces.text("mode", "linear"), given)
    if len(shape) != 4 or mode not in {"linear", "nearest"}:
        raise Undecomposable(f"mode {mode!r} over {len(shape) - 2} dimensions")
    padding = pieces.text("padding_mode", "zeros")
    batch, channels, height, width = shape
    rows = pieces.reshape(pieces.transpose(source, [0, 2, 3, 1]), (batch * height * width, channels))
    first = np.arange(batch, dtype=np.float32).reshape(-1, 1, 1, 1) * (height * width)
    x, y = (_place(pieces, grid, index, size, padding) for index, size in ((0, width), (1, height)))
    total: ir.Value | None = None
    for row, row_weight in _neighbours(pieces, y, height, mode):
        for column, column_weight in _neighbours(pieces, x, width, mode):
            index = pieces("Add", pieces("Add", pieces("Mul", row, float(width)), column), first)
            index = pieces("Squeeze", pieces.cast(index, ir.DataType.INT32), np.array([3], np.int64))
            pixels = pieces("Mul", pieces("Gather", rows, index, axis=0), pieces("Mul", row_weight, column_weight))
            total = pixels if total is None else pieces("Add", total, pixels)
    assert total is not None
    return [pieces.transpose(total, [0, 3, 1, 2])]


def _place(pieces: Pieces, grid: ir.Value, index: int, size: int, padding: str) -> ir.Value:
    """Returns one coordinate (batch, height, width, 1), in pixels from the centre of the first one."""
    own = pieces.slice(grid, 3, index, index + 1)
    if pieces.integer("align_corners", 0):
        place = pieces("Mul", pieces("Add", own, 1.0), (size - 1) / 2)
    else:
        place = pieces("Add", pieces("Mul", pieces("Add", own, 1.0), size / 2), -0.5)
    if padding == "reflection":
        place = _reflected(pieces, place, size)
    return place if padding == "zeros" else pieces("Clip", place, 0.0, float(size - 1))


def _reflected(pieces: Pieces, place: ir.Value, size: int) -> ir.Value:
    """Reflects positions at the centres of the outer pixels if corners are aligned, else at their borders."""
    edge = 0.0 if pieces.integer("align_corners", 0) else 0.5
    period = max(2 * (size - 1 + 2 * edge), 1.0)
    shifted = pieces("Abs", pieces("Add", place, edge))
    turns = pieces("Floor", pieces("Mul", shifted, 1 / period))
    rest = pieces("Sub", shifted, pieces("Mul", turns, period))
    return pieces("Sub", pieces("Min", rest, pieces("Sub", period, rest)), edge)


def _neighbours(pieces: Pieces, place: ir.Value, size: int, mode: str) -> list[tuple[ir.Value, ir.Value]]:
    """Returns the neighbouring pixels along one dimension, and their weights, which are 0 outside the image."""
    if mode == "nearest":
        return [_inside(pieces, pieces("Round", place), None, size)]
    low = pieces("Floor", place)
    share = pieces("Sub", place, low)
    return [
        _inside(pieces, low, pieces("Sub", 1.0, share), size),
        _inside(pieces, pieces("Add", low, 1.0), share, size),
    ]


def _inside(pieces: Pieces, index: ir.Value, weight: ir.Value | None, size: int) -> tuple[ir.Value, ir.Value]:
    limited = pieces("Clip", index, 0.0, float(size - 1))
    valid = pieces.cast(pieces("Equal", limited, index), ir.DataType.FLOAT)
    return limited, valid if weight is None else pieces("Mul", weight, valid)


def affine_grid(pieces: Pieces) -> Sequence[ir.Value | None]:
    """Multiplies a constant matrix of (x, y, ..., 1) for each pixel or voxel by the maps (batch, 2 or 3, 3 or 4)."""
    batch, _, *sizes = (int(size) for size in pieces.constant_input(1))
    aligned = bool(pieces.integer("align_corners", 0))
    if aligned and 1 in sizes:
        raise Undecomposable("its corners are one pixel, and there is no agreement where that lies")
    shrink = [0.0 if aligned else 1 / size for size in sizes]
    lines = [np.linspace(least - 1, 1 - least, size) for least, size in zip(shrink, sizes, strict=True)]
    axes = np.meshgrid(*lines, indexing="ij")
    places = np.stack([axis.reshape(-1) for axis in [*reversed(axes), np.ones(sizes)]], axis=1).astype(np.float32)
    grid = pieces("MatMul", places, pieces.transpose(pieces.input(0), [0, 2, 1]))
    return [pieces.reshape(grid, (batch, *sizes, len(sizes)))]


DECOMPOSITIONS: dict[str, Decomposition] = {"AffineGrid": affine_grid, "GridSample": grid_sample}
