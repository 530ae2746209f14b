"""Resize, by the nearest element or linearly, one axis after the other; other modes are decomposed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from edgecomp.graph.interpolation import nearest_index, source_positions
from edgecomp.graph.query import constant, input_of, shape_of
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, ints

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
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    scales = [new / old for new, old in zip(after, before, strict=True)]
    given = constant(input_of(node, 2))
    if given is not None and given.size:
        for axis, scale in zip(ints(node, "axes", list(range(len(before)))), given, strict=True):
            scales[axis] = float(scale)
    rounding = attributes.get_string("nearest_mode", "round_prefer_floor") or "round_prefer_floor"
    axes = []
    for axis, (old, new, scale) in enumerate(zip(before, after, scales, strict=True)):
        positions = source_positions(coordinates, old, new, scale)
        if old == new and np.array_equal(positions, np.arange(old)):
            continue
        axes.append((axis, _selection(positions, old, rounding) if mode == "nearest" else _blend(positions, old)))

    def run(inputs: Tensor, *_: Tensor | None) -> Tensor:
        for axis, parts in axes:
            inputs = sum((_part(inputs, axis, *part) for part in parts), torch.zeros((), device=inputs.device))
        return inputs

    return run


#: Elements of an axis, and what each weighs; None for all of it.
_Parts = list[tuple[Tensor, Tensor | None]]


def _selection(positions: npt.NDArray[np.float64], size: int, rounding: str) -> _Parts:
    return [(torch.from_numpy(nearest_index(positions, rounding, size)), None)]


def _blend(positions: npt.NDArray[np.float64], size: int) -> _Parts:
    """The elements before and after each position, weighted by how near they are."""
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
