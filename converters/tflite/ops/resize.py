"""Resize."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import channels_last
from edgecomp.converters.tflite.lowering import LoweringFunction, Operation, Unsuited
from edgecomp.converters.tflite.ops.windows import image
from edgecomp.graph.query import constant, input_of, shape_of


def resize(operation: Operation) -> None:
    """Resize of the spatial dimensions -> RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR, else GATHER.

    ONNX and TFLite name their coordinate rules differently and overlap in part. For nearest, the source index of every
    output is computed by ONNX's definition and TFLite's flags are chosen so that they agree; when none do, the indices
    themselves are gathered.
    """
    before, after = operation.shape(0), shape_of(operation.node.outputs[0])
    if len(before) != 4 or before[:2] != after[:2]:
        raise Unsuited("TFLite resizes the two spatial dimensions of an image only")
    mode = operation.node.attributes.get_string("mode", "nearest")
    source, size = image(operation), operation.lowering.integers(after[2:], "size")
    if mode == "linear":
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners, options.halfPixelCenters = _linear_flags(operation, after[2:])
        operation.emit("RESIZE_BILINEAR", [source, size], [operation.output(channels_last(4))], options)
        return
    if mode != "nearest":
        raise Unsuited(f"TFLite has no Resize of mode {mode!r}")
    wanted = [_nearest_indices(operation, axis) for axis in (2, 3)]
    for align, half in ((False, False), (False, True), (True, False)):
        given = [_tflite_indices(before[axis], after[axis], align=align, half=half) for axis in (2, 3)]
        if all(np.array_equal(a, b) for a, b in zip(wanted, given, strict=True)):
            options = schema.ResizeNearestNeighborOptionsT()
            options.alignCorners, options.halfPixelCenters = align, half
            operation.emit("RESIZE_NEAREST_NEIGHBOR", [source, size], [operation.output(channels_last(4))], options)
            return
    _gather(operation, source, wanted)


def _linear_flags(operation: Operation, size: tuple[int, ...]) -> tuple[bool, bool]:
    attributes = operation.node.attributes
    if attributes.get_int("antialias", 0):
        raise Unsuited("RESIZE_BILINEAR has no antialiasing")
    match attributes.get_string("coordinate_transformation_mode", "half_pixel"):
        case "half_pixel":
            return False, True
        case "pytorch_half_pixel" if min(size) > 1:
            return False, True
        case "align_corners":
            return True, False
        case "asymmetric":
            return False, False
        case other:
            raise Unsuited(f"RESIZE_BILINEAR has no coordinates of the kind {other!r}")


def _nearest_indices(operation: Operation, axis: int) -> npt.NDArray[np.int32]:
    """The source index of every output position, by the ONNX specification of Resize."""
    attributes = operation.node.attributes
    before, after = operation.shape(0)[axis], shape_of(operation.node.outputs[0])[axis]
    scales = constant(input_of(operation.node, 2))
    scale = float(scales[axis if scales.size == 4 else axis - 2]) if scales is not None and scales.size else after / before
    position = np.arange(after, dtype=np.float64)
    match attributes.get_string("coordinate_transformation_mode", "half_pixel"):
        case "asymmetric":
            real = position / scale
        case "align_corners":
            real = position * (before - 1) / max(after - 1, 1)
        case "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric":
            real = (position + 0.5) / scale - 0.5
        case other:
            raise Unsuited(f"TFLite has no coordinates of the kind {other!r}")
    match attributes.get_string("nearest_mode", "round_prefer_floor"):
        case "floor":
            index = np.floor(real)
        case "ceil":
            index = np.ceil(real)
        case "round_prefer_ceil":
            index = np.floor(real + 0.5)
        case _:
            index = np.ceil(real - 0.5)
    return np.clip(index, 0, before - 1).astype(np.int32)


def _tflite_indices(before: int, after: int, *, align: bool, half: bool) -> npt.NDArray[np.int32]:
    """The same by TFLite's reference kernel (resize_nearest_neighbor.h), in float32 as it computes."""
    scale = np.float32(before - 1) / np.float32(after - 1) if align and after > 1 else np.float32(before) / np.float32(after)
    position = (np.arange(after, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale
    index = np.floor(position + 0.5) if align else np.floor(position)
    return np.clip(index, 0, before - 1).astype(np.int32)


def _gather(operation: Operation, source: Tensor, indices: list[npt.NDArray[np.int32]]) -> None:
    result = operation.output(channels_last(4))
    rows = operation.temporary(source, (source.shape[0], result.shape[1], *source.shape[2:]), "rows")
    for axis, (tensor, target, index) in enumerate(((source, rows, indices[0]), (rows, result, indices[1])), start=1):
        options = schema.GatherOptionsT()
        options.axis = axis
        operation.emit("GATHER", [tensor, operation.builder.constant("indices", index)], [target], options)


LOWERINGS: dict[str, LoweringFunction] = {"Resize": resize}
