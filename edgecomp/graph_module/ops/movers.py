"""Operators that move, select or repeat elements, and operators on shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from edgecomp.graph.query import axes_of, pads_of, shape_of
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, ints, numbers, plain

Tensor = torch.Tensor


def _reshape(node: ir.Node) -> Function:
    literal = bool(node.attributes.get_int("allowzero", 0))

    def run(inputs: Tensor, shape: Tensor) -> Tensor:
        sizes = numbers(shape)
        if not literal:
            sizes = [inputs.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return inputs.reshape(sizes)

    return run


def _flatten(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", 1)

    def run(inputs: Tensor) -> Tensor:
        rows = int(np.prod(inputs.shape[:axis])) if axis else 1
        return inputs.reshape(rows, -1)

    return run


def _transpose(node: ir.Node) -> Function:
    order = ints(node, "perm", [])
    return lambda inputs: inputs.permute(order or tuple(reversed(range(inputs.ndim))))


def _squeeze(node: ir.Node) -> Function:
    axes = axes_of(node)

    def run(inputs: Tensor, given: Tensor | None = None) -> Tensor:
        chosen = axes if axes is not None else [axis for axis, size in enumerate(inputs.shape) if size == 1]
        return inputs.squeeze(tuple(chosen))

    return run


def _unsqueeze(node: ir.Node) -> Function:
    axes, rank = axes_of(node), len(shape_of(node.outputs[0]))
    if axes is None:
        raise UnsupportedError("its axes are computed")
    places = sorted(axis % rank for axis in axes)

    def run(inputs: Tensor, given: Tensor | None = None) -> Tensor:
        for place in places:
            inputs = inputs.unsqueeze(place)
        return inputs

    return run


def _concat(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", 0)
    return lambda *inputs: torch.cat(inputs, axis)


def _split(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", 0) or 0
    written, count = ints(node, "split", []), len(node.outputs)

    def run(inputs: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
        even = -(-inputs.shape[axis] // count)
        return torch.split(inputs, numbers(given) if given is not None else written or even, axis)

    return run


def _slice(node: ir.Node) -> Function:
    def run(
        inputs: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        firsts, lasts = numbers(starts), numbers(ends)
        along = numbers(axes) if axes is not None else range(len(firsts))
        strides = numbers(steps) if steps is not None else [1] * len(firsts)
        for axis, first, last, stride in zip(along, firsts, lasts, strides, strict=True):
            size = inputs.shape[axis]
            chosen = range(size)[slice(first, None if stride < 0 and last < -size else last, stride)]
            if stride == 1:
                inputs = inputs.narrow(axis, chosen.start if len(chosen) else 0, len(chosen))
            else:
                inputs = inputs.index_select(axis, torch.tensor(list(chosen), device=inputs.device))
        return inputs

    return run


def _gather(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", 0) or 0

    def run(inputs: Tensor, places: Tensor) -> Tensor:
        before: tuple[Any, ...] = (slice(None),) * (axis % inputs.ndim)
        return inputs[(*before, places.long())]

    return run


def _gather_elements(node: ir.Node) -> Function:
    axis = node.attributes.get_int("axis", 0) or 0

    def run(inputs: Tensor, places: Tensor) -> Tensor:
        wanted = places.long()
        return torch.gather(inputs, axis, torch.where(wanted < 0, wanted + inputs.shape[axis], wanted))

    return run


def _expand(inputs: Tensor, shape: Tensor) -> Tensor:
    return inputs.expand(np.broadcast_shapes(inputs.shape, numbers(shape)))


def _pad(node: ir.Node) -> Function:
    mode, given = node.attributes.get_string("mode", "constant"), pads_of(node)
    if given is None:
        raise UnsupportedError("its pads are computed")
    pads, written = given, node.attributes.get_float("value", 0.0)

    def constant(inputs: Tensor, filler: Tensor | None) -> Tensor:
        rank = inputs.ndim
        pairs = [size for axis in reversed(range(rank)) for size in (pads[axis], pads[axis + rank])]
        return torch.nn.functional.pad(inputs, pairs, value=float(filler) if filler is not None else written or 0.0)

    def run(
        inputs: Tensor, sizes: Tensor | None = None, filler: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        if mode == "constant":
            return constant(inputs, filler)
        rank = inputs.ndim
        for axis in range(rank):
            width = (pads[axis], pads[axis + rank])
            if any(width):
                places = np.pad(np.arange(inputs.shape[axis]), width, mode)  # type: ignore[call-overload]
                inputs = inputs.index_select(axis, torch.from_numpy(places).to(inputs.device))
        return inputs

    return run


def _depth_to_space(node: ir.Node) -> Function:
    block, in_columns = node.attributes.get_int("blocksize"), node.attributes.get_string("mode", "DCR") == "CRD"

    def run(inputs: Tensor) -> Tensor:
        count, channels, height, width = inputs.shape
        depth = channels // block**2
        if in_columns:
            parts = inputs.reshape(count, depth, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
        else:
            parts = inputs.reshape(count, block, block, depth, height, width).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(count, depth, height * block, width * block)

    return run


def _space_to_depth(node: ir.Node) -> Function:
    block = node.attributes.get_int("blocksize")

    def run(inputs: Tensor) -> Tensor:
        count, channels, height, width = inputs.shape
        parts = inputs.reshape(count, channels, height // block, block, width // block, block)
        return parts.permute(0, 3, 5, 1, 2, 4).reshape(count, -1, height // block, width // block)

    return run


def _shape(node: ir.Node) -> Function:
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
    return lambda inputs: torch.tensor(inputs.shape[start:end], dtype=torch.int64)


def _constant_of_shape(node: ir.Node) -> Function:
    attribute = node.attributes.get("value")
    value = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
    return lambda shape: torch.full(numbers(shape), value.item(), dtype=torch.from_numpy(np.array(value)).dtype)


def _triangle(node: ir.Node) -> Function:
    function = torch.triu if node.attributes.get_int("upper", 1) else torch.tril
    return lambda inputs, diagonal=None: function(inputs, 0 if diagonal is None else int(diagonal))


MOVERS: dict[str, Build] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": plain(_expand),
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "Range": plain(lambda start, limit, step: torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)),
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": plain(lambda inputs: torch.tensor(inputs.numel())),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": plain(lambda inputs, repeats: inputs.repeat(numbers(repeats))),
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
