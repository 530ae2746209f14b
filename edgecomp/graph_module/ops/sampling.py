"""Resize in the modes nearest and linear, one axis after the other; other modes are decomposed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from edgecomp.graph.interpolation import nearest_index, source_positions
from edgecomp.graph.query import constant, input_of, shape_of
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, ints, numbers

Tensor = torch.Tensor


def _resize(node: ir.Node) -> Function:
    attributes = node.attributes
    mode = attributes.get_string("mode", "nearest") or "nearest"
    coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel") or "half_pixel"
    if (
        mode not in {"nearest", "linear"}
        or coordinates == "tf_crop_and_resize"
        or bool(attributes.get_int("antialias", 0))
        or attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise UnsupportedError(f"its mode is {mode}, {coordinates}")
    assert node.inputs[0] is not None
    rank = len(shape_of(node.inputs[0]))
    along = [axis % rank for axis in ints(node, "axes", list(range(rank)))]
    given = constant(input_of(node, 2))
    factors = {} if given is None else dict(zip(along, map(float, given), strict=False))
    if not factors and input_of(node, 3) is None:
        raise UnsupportedError("its scales are computed")
    rounding = attributes.get_string("nearest_mode", "round_prefer_floor") or "round_prefer_floor"

    def run(inputs: Tensor, *others: Tensor | None) -> Tensor:
        sizes = {} if factors else dict(zip(along, numbers(others[2]), strict=True))  # type: ignore[arg-type]
        for axis in along:
            old = inputs.shape[axis]
            new = math.floor(old * factors[axis]) if factors else sizes[axis]
            positions = source_positions(coordinates, old, new, factors.get(axis, new / old))
            if old == new and np.array_equal(positions, np.arange(old)):
                continue
            parts = _selection(positions, old, rounding) if mode == "nearest" else _blend(positions, old)
            inputs = sum((_part(inputs, axis, *part) for part in parts), torch.zeros((), device=inputs.device))
        return inputs

    return run


#: Indices along an axis with their weights; None means a weight of 1.
_Parts = list[tuple[Tensor, Tensor | None]]


def _selection(positions: npt.NDArray[np.float64], size: int, rounding: str) -> _Parts:
    return [(torch.from_numpy(nearest_index(positions, rounding, size)), None)]


def _blend(positions: npt.NDArray[np.float64], size: int) -> _Parts:
    """Returns the elements before and after each position, weighted by distance."""
    inside = np.clip(positions, 0, size - 1)
    low = np.floor(inside).astype(np.int64)
    high, share = np.minimum(low + 1, size - 1), (inside - low).astype(np.float32)
    return [
        (torch.from_numpy(low), torch.from_numpy(1 - share)),
        (torch.from_numpy(high), torch.from_numpy(share)),
    ]


def _part(inputs: Tensor, axis: int, places: Tensor, weight: Tensor | None) -> Tensor:
    chosen = inputs.index_select(axis, places.to(inputs.device))
    if weight is None:
        return chosen
    return chosen * weight.to(inputs.device).reshape([-1 if place == axis else 1 for place in range(inputs.ndim)])


SAMPLING: dict[str, Build] = {"Resize": _resize}
