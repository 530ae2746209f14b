"""Operators that move or select data. Transposes and most reshapes only change the layout (see `layout`)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import channels_last, identity, regrouped, reshaped, stored_shape, transposed
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import common_layout
from edgecomp.graph.query import constant, input_of, is_constant, pads_of, shape_of


def reshape(operation: Operation) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze -> RESHAPE, without moving data if possible."""
    before, after = operation.shape(0), shape_of(operation.node.outputs[0])
    layout = operation.layout(0)
    target = reshaped(before, after, layout)
    if target is None and _only_weights_see(operation):
        # A flattened image that only feeds linear layers: reorder their weights at conversion time instead.
        order = np.transpose(np.arange(int(np.prod(before[1:]))).reshape(before[1:]), [d - 1 for d in layout[1:]])
        operation.lowering.shuffle(operation.node.outputs[0], order.reshape(-1))
        target = identity(2)
    elif target is None:
        outlook, result = operation.lowering.outlook, operation.node.outputs[0]
        ways = [regrouped(before, after, layout), *(reshaped(after, before, each) for each in outlook.wanted(result))]
        ends = {way: reshaped(before, after, way) or identity(len(after)) for way in ways if way is not None}
        layout = min(ends, key=lambda way: outlook.cost(result, ends[way]))
        target = ends[layout]
    source = operation.input(0, layout)
    name = operation.node.outputs[0].name or ""
    operation.alias(operation.lowering.reshape(source, stored_shape(after, target), name), target)


def _only_weights_see(operation: Operation) -> bool:
    """Tells whether (N, C, ...) becomes (N, K) and is only multiplied by constant matrices."""
    before, result = operation.shape(0), operation.node.outputs[0]
    after = shape_of(result)
    uses = tuple(result.uses())
    return (
        len(after) == 2
        and after[0] == before[0]
        and operation.layout(0)[0] == 0
        and not result.is_graph_output()
        and all(
            use.node.op_type in {"Gemm", "MatMul"}
            and use.idx == 0
            and is_constant(use.node.inputs[1])
            and not use.node.attributes.get_int("transA", 0)
            for use in uses
        )
    )


def transpose(operation: Operation) -> None:
    """Transpose -> only another layout, or one transpose of the whole value if several readers need it."""
    rank = len(operation.shape(0))
    permutation = operation.node.attributes.get_ints("perm", None) or tuple(reversed(range(rank)))
    result, outlook = operation.node.outputs[0], operation.lowering.outlook
    layout = operation.layout(0)
    target = transposed(layout, permutation)
    if len(tuple(result.uses())) > 1 and outlook.cost(result, target) >= math.prod(operation.shape(0)):
        # Each of its readers would transpose its part: transpose the whole value once.
        target = min(outlook.wanted(result), key=lambda wanted: outlook.cost(result, wanted))
        layout = tuple(permutation[dimension] for dimension in target)
    operation.alias(operation.input(0, layout), target)


def concat(operation: Operation) -> None:
    """Concat -> CONCATENATION."""
    indices = range(len(operation.node.inputs))
    layout = common_layout(operation, indices)
    options = schema.ConcatenationOptionsT()
    options.axis = layout.index((operation.node.attributes.get_int("axis", 0) or 0) % len(layout))
    tensors = [operation.input(index, layout) for index in indices]
    operation.emit("CONCATENATION", tensors, [operation.output(layout)], options)


def split(operation: Operation) -> None:
    """Split -> SPLIT for equal parts in types that XNNPACK splits, else SPLIT_V, which takes all types."""
    layout = operation.layout(0)
    axis = (operation.node.attributes.get_int("axis", 0) or 0) % len(layout)
    sizes = [shape_of(value)[axis] for value in operation.node.outputs]
    source = operation.input(0)
    position = operation.builder.constant("axis", np.array(layout.index(axis), np.int32))
    outputs = [operation.output(layout, index) for index in range(len(sizes))]
    if len(set(sizes)) == 1 and source.dtype in {"float32", "int8"}:
        equal = schema.SplitOptionsT()
        equal.numSplits = len(sizes)
        operation.emit("SPLIT", [position, source], outputs, equal)
        return
    options = schema.SplitVOptionsT()
    options.numSplits = len(sizes)
    operation.emit("SPLIT_V", [source, operation.lowering.integers(sizes, "sizes"), position], outputs, options)


def slice_(operation: Operation) -> None:
    """Slice -> STRIDED_SLICE."""
    shape, layout = operation.shape(0), operation.layout(0)
    starts, ends, axes, steps = _slice_arguments(operation)
    begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
    end_mask = 0
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        size, place = shape[axis], layout.index(axis)
        first, last, step = slice(start, stop, step).indices(size)
        begin[place], stride[place] = first, step
        end[place] = last
        if last < 0:  # a negative step that includes element 0; an end of -1 would mean the last element
            end_mask |= 1 << place
            end[place] = 0
    touched = {layout.index(axis) for axis in axes}
    for place, dimension in enumerate(layout):
        if place not in touched:
            begin[place], end[place] = 0, shape[dimension]
    options = schema.StridedSliceOptionsT()
    options.endMask = end_mask
    integers = operation.lowering.integers
    tensors = [operation.input(0), *(integers(numbers, "bounds") for numbers in (begin, end, stride))]
    operation.emit("STRIDED_SLICE", tensors, [operation.output(layout)], options)


def _slice_arguments(operation: Operation) -> tuple[list[int], list[int], list[int], list[int]]:
    rank = len(operation.shape(0))
    attributes = operation.node.attributes
    if "starts" in attributes:  # before opset 10
        starts, ends = (list(attributes[name].as_ints()) for name in ("starts", "ends"))
        axes = list(attributes.get_ints("axes", range(len(starts))) or range(len(starts)))
        return starts, ends, [axis % rank for axis in axes], [1] * len(starts)
    starts, ends = (operation.constant(index).tolist() for index in (1, 2))
    given = [constant(input_of(operation.node, index)) for index in (3, 4)]
    axes = list(range(len(starts))) if given[0] is None else [int(axis) % rank for axis in given[0]]
    steps = [1] * len(starts) if given[1] is None else given[1].tolist()
    return starts, ends, axes, steps


def pad(operation: Operation) -> None:
    """Pad -> PAD, PADV2 or MIRROR_PAD; other modes GATHER repeated elements, and negative pads are cut off first."""
    mode = operation.node.attributes.get_string("mode", "constant")
    pads = pads_of(operation.node)
    if pads is None:
        raise Unsuited("its pads are computed, and TFLite needs constants")
    layout, rank = operation.layout(0), len(operation.shape(0))
    pairs = np.array([(pads[dimension], pads[dimension + rank]) for dimension in layout], np.int32)
    source = _cropped(operation, np.maximum(-pairs, 0))
    pairs = np.maximum(pairs, 0)
    if mode == "edge":
        _repeat(operation, source, pairs, "edge")
        return
    if mode == "wrap":
        _repeat(operation, source, pairs, "wrap")
        return
    result = operation.output(layout)
    paddings = operation.builder.constant("paddings", pairs)
    if mode == "reflect":
        options = schema.MirrorPadOptionsT()
        options.mode = schema.MirrorPadMode.REFLECT
        operation.emit("MIRROR_PAD", [source, paddings], [result], options)
        return
    if mode != "constant":
        raise Unsuited(f"TFLite has no Pad of mode {mode!r}")
    fill = (
        operation.constant(2).reshape(-1)[0]
        if operation.has_input(2)
        else operation.node.attributes.get_float("value", 0.0)
    )
    if not fill:
        operation.emit("PAD", [source, paddings], [result], schema.PadOptionsT())
        return
    parameters = source.quantization
    stored = np.array(fill, source.dtype) if parameters is None else parameters.quantize(np.array(fill))
    value = operation.builder.constant("pad_value", stored.reshape(1), parameters)
    operation.emit("PADV2", [source, paddings, value], [result], schema.PadV2OptionsT())


def _cropped(operation: Operation, pairs: npt.NDArray[np.int32]) -> Tensor:
    """Removes `pairs` of elements from the start and end of each stored dimension of the input."""
    source = operation.input(0)
    if not pairs.any():
        return source
    size = np.array(source.shape) - pairs.sum(axis=1)
    result = operation.temporary(source, size.tolist(), "cropped")
    bounds = [operation.lowering.integers(numbers.tolist(), "crop") for numbers in (pairs[:, 0], size)]
    operation.emit("SLICE", [source, *bounds], [result], schema.SliceOptionsT())
    return result


def _repeat(operation: Operation, source: Tensor, pairs: npt.NDArray[np.int32], mode: Literal["edge", "wrap"]) -> None:
    """Gathers repeated elements along one dimension after the other."""
    for place, pair in enumerate(pairs):
        if not pair.any():
            continue
        index = np.pad(np.arange(source.shape[place]), tuple(pair), mode=mode)
        source = operation.gathered(source, place, index, "repeated")
    operation.alias(source, operation.layout(0))


def tile(operation: Operation) -> None:
    """Tile -> TILE."""
    layout, repeats = operation.layout(0), operation.constant(1)
    multiples = operation.lowering.integers([int(repeats[dimension]) for dimension in layout], "multiples")
    operation.emit("TILE", [operation.input(0), multiples], [operation.output(layout)], schema.TileOptionsT())


def expand(operation: Operation) -> None:
    """Expand -> BROADCAST_TO."""
    shape = shape_of(operation.node.outputs[0])
    rank = len(shape)
    missing = rank - len(operation.shape(0))
    source = operation.input(0, identity(rank - missing)) if missing else operation.input(0)
    layout = identity(rank) if missing else operation.layout(0)
    stored = operation.lowering.integers(stored_shape(shape, layout), "shape")
    operation.emit("BROADCAST_TO", [source, stored], [operation.output(layout)], schema.BroadcastToOptionsT())


def depth_to_space(operation: Operation) -> None:
    """DepthToSpace -> DEPTH_TO_SPACE; in CRD order (torch's PixelShuffle), channels are reordered first."""
    block, depth = _block(operation), operation.shape(0)[1]
    options = schema.DepthToSpaceOptionsT()
    options.blockSize = block
    source = operation.input(0, channels_last(4))
    if _by_channel(operation):
        order = np.arange(depth).reshape(-1, block, block).transpose(1, 2, 0).reshape(-1)
        source = operation.gathered(source, 3, order, "reordered")
    operation.emit("DEPTH_TO_SPACE", [source], [operation.output(channels_last(4))], options)


def space_to_depth(operation: Operation) -> None:
    """SpaceToDepth -> SPACE_TO_DEPTH; in CRD order (torch's PixelUnshuffle), channels are reordered afterwards."""
    block = _block(operation)
    options = schema.SpaceToDepthOptionsT()
    options.blockSize = block
    source, target = operation.input(0, channels_last(4)), channels_last(4)
    if not _by_channel(operation):
        operation.emit("SPACE_TO_DEPTH", [source], [operation.output(target)], options)
        return
    result = operation.node.outputs[0]
    deep = operation.temporary(source, stored_shape(shape_of(result), target), "deep")
    operation.emit("SPACE_TO_DEPTH", [source], [deep], options)
    order = np.arange(deep.shape[3]).reshape(block, block, -1).transpose(2, 0, 1).reshape(-1)
    operation.alias(operation.gathered(deep, 3, order, "reordered"), target)


def _block(operation: Operation) -> int:
    return int(operation.node.attributes.get_int("blocksize") or 1)


def _by_channel(operation: Operation) -> bool:
    """Tells whether pixels of a channel stay together (CRD order), and there are several channels."""
    channels = min(operation.shape(0)[1], shape_of(operation.node.outputs[0])[1])
    return operation.node.attributes.get_string("mode", "DCR") == "CRD" and channels > 1


LOWERINGS: dict[str, LoweringFunction] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Pad": pad,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Tile": tile,
    "Transpose": transpose,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), reshape),
}
