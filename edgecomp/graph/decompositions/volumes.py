"""Decomposes 3-D convolutions and pools into 2-D ones, because runtimes for devices have no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.graph.decompositions.pieces import Decomposition, Pieces, Undecomposable

Results = Sequence[ir.Value | None]


def conv(pieces: Pieces) -> Results:
    """Sums one 2-D convolution for each depth layer of the kernel; the result's depth becomes part of the batch."""
    batch, channels, _, height, width = _volume(pieces)
    weight = pieces.constant_input(1)
    _, features, *sizes = pieces.shape(pieces.node.outputs[0])
    strides, dilations = _each(pieces, "strides"), _each(pieces, "dilations")
    pads = _pads(pieces, weight.shape[2:])
    layers = pieces.transpose(pieces.input(0), [0, 2, 1, 3, 4])
    if pads[0] or pads[3]:
        layers = pieces("Pad", layers, np.array([0, pads[0], 0, 0, 0, 0, pads[3], 0, 0, 0]))
    total: ir.Value | None = None
    for place in range(weight.shape[2]):
        first = place * dilations[0]
        taken = pieces.slice(layers, 1, first, first + (sizes[0] - 1) * strides[0] + 1, strides[0])
        part = pieces(
            "Conv",
            pieces.reshape(taken, (batch * sizes[0], channels, height, width)),
            np.ascontiguousarray(weight[:, :, place]),
            pieces.optional(2) if total is None else None,
            strides=strides[1:],
            dilations=dilations[1:],
            pads=[pads[1], pads[2], pads[4], pads[5]],
            group=pieces.integer("group", 1),
        )
        total = part if total is None else pieces("Add", total, part)
    assert total is not None
    result = pieces.reshape(total, (batch, sizes[0], features, *sizes[1:]))
    return [pieces.transpose(result, [0, 2, 1, 3, 4])]


def pool(pieces: Pieces) -> Results:
    """Pools over height and width, then over depth; maxima and averages can be computed in any order."""
    batch, channels, depth, height, width = _volume(pieces)
    if pieces.is_used(1):
        raise Undecomposable("its indices are asked for")
    sizes = pieces.shape(pieces.node.outputs[0])[2:]
    images = pieces.reshape(pieces.input(0), (batch, channels * depth, height, width))
    images = _pooled(pieces, images, [1, 2])
    columns = pieces.reshape(images, (batch, channels, depth, sizes[1] * sizes[2]))
    return [pieces.reshape(_pooled(pieces, columns, [0]), (batch, channels, *sizes))]


def _pooled(pieces: Pieces, source: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Pools along one or two dimensions; a missing second one has size 1."""
    lists: dict[str, list[int]] = {}
    for name, missing in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 0)):
        given = list(pieces.node.attributes.get_ints(name, []) or [])
        halves = [given[:3], given[3:]] if name == "pads" else [given]
        if given:
            chosen = [([half[axis] for axis in axes] + [missing])[:2] for half in halves]
            lists[name] = [number for half in chosen for number in half]
    kept = {name: each.value for name, each in pieces.node.attributes.items() if name not in lists}
    return pieces(pieces.node.op_type, source, **lists, **kept)


def _volume(pieces: Pieces) -> tuple[int, ...]:
    shape = pieces.shape(0)
    if len(shape) != 5:
        raise Undecomposable(f"it slides over {len(shape) - 2} dimensions")
    return shape


def _each(pieces: Pieces, name: str) -> list[int]:
    return list(pieces.node.attributes.get_ints(name, []) or [1] * 3)


def _pads(pieces: Pieces, kernel: Sequence[int]) -> list[int]:
    """Returns the padding before each dimension, then after each."""
    mode = pieces.text("auto_pad", "NOTSET")
    if mode in {"NOTSET", "VALID"}:
        return list(pieces.node.attributes.get_ints("pads", []) or [0] * 6)
    sizes: tuple[Any, ...] = (pieces.shape(0)[2:], pieces.shape(pieces.node.outputs[0])[2:])
    windows = zip(*sizes, kernel, _each(pieces, "strides"), _each(pieces, "dilations"), strict=True)
    totals = [max((after - 1) * s + (k - 1) * d + 1 - before, 0) for before, after, k, s, d in windows]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


DECOMPOSITIONS: dict[str, Decomposition] = {"AveragePool": pool, "Conv": conv, "MaxPool": pool}
