"""Lowers Resize of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.arrays import Array
from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.windows import emit_image, image
from edgecomp.graph.interpolation import Positions, cubic_weight, nearest_index, source_positions
from edgecomp.graph.query import constant, input_of, shape_of

#: TFLite's flags: align corners, half-pixel centers.
_FLAGS = ((False, False), (False, True), (True, False))
#: The coordinate modes that depend only on the sizes of an axis and its scale.
_COORDINATES = frozenset(["align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"])


def resize(operation: Operation) -> None:
    """Resize of the spatial dimensions -> RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR, else GATHER and arithmetic.

    The coordinate modes of ONNX and the flags of TFLite overlap only in part. The source position of every output is
    computed by ONNX's definition, and compared with each setting of TFLite's flags. If none agrees, the elements around
    each position are gathered and weighted.
    """
    before, after = operation.shape(0), shape_of(operation.node.outputs[0])
    attributes = operation.node.attributes
    if len(before) not in {3, 4} or before[:2] != after[:2]:
        raise Unsuited("TFLite resizes the spatial dimensions of an image only")
    if attributes.get_int("antialias", 0):
        raise Unsuited("TFLite's resizing has no antialiasing")
    if attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsuited("TFLite's resizing does not keep the aspect ratio")
    axes = [*([None] if len(before) == 3 else []), *range(2, len(before))]
    wanted = [np.zeros(1) if axis is None else _positions(operation, axis) for axis in axes]
    sizes = [(1, 1) if axis is None else (before[axis], after[axis]) for axis in axes]
    match attributes.get_string("mode", "nearest"):
        case "nearest":
            _nearest(operation, wanted, sizes)
        case "linear":
            _linear(operation, wanted, sizes)
        case "cubic":
            _weigh(operation, [_cubic_taps(operation, *pair) for pair in zip(wanted, sizes, strict=True)])
        case other:
            raise Unsuited(f"TFLite has no Resize of mode {other!r}")


def _positions(operation: Operation, axis: int) -> Positions:
    """Returns the source position of each output position, by the ONNX specification of Resize."""
    attributes = operation.node.attributes
    before, after = operation.shape(0)[axis], shape_of(operation.node.outputs[0])[axis]
    old = len(operation.node.inputs) == 2  # opset 10 had input and scales, and no attributes
    scales = constant(input_of(operation.node, 1 if old else 2))
    scale = after / before
    if scales is not None and scales.size:
        resized = [int(a) for a in attributes.get_ints("axes", None) or range(scales.size)]
        places = [a % len(operation.shape(0)) for a in resized]
        scale = float(scales[places.index(axis)]) if axis in places else 1.0
    mode = "asymmetric" if old else attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if mode not in _COORDINATES:
        raise Unsuited(f"TFLite has no coordinates of the kind {mode!r}")
    return source_positions(mode, before, after, scale)


def _tflite_positions(before: int, after: int, *, align: bool, half: bool) -> Positions:
    """Returns the positions of TFLite's reference kernels, in float32 like them; half-pixel centers are not shifted."""
    scale = (
        np.float32(before - 1) / np.float32(after - 1)
        if align and after > 1
        else np.float32(before) / np.float32(after)
    )
    return ((np.arange(after, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale).astype(np.float64)


# --- nearest ------------------------------------------------------------------------------------------------------


def _nearest(operation: Operation, positions: list[Positions], sizes: list[tuple[int, int]]) -> None:
    old = len(operation.node.inputs) == 2
    mode = "floor" if old else operation.node.attributes.get_string("nearest_mode", "round_prefer_floor")
    wanted = [nearest_index(at, mode or "", before) for at, (before, _) in zip(positions, sizes, strict=True)]
    for align, half in _FLAGS:
        given = [_tflite_nearest(*size, align=align, half=half) for size in sizes]
        if all(np.array_equal(a, b) for a, b in zip(wanted, given, strict=True)):
            options = schema.ResizeNearestNeighborOptionsT()
            options.alignCorners, options.halfPixelCenters = align, half
            size = operation.lowering.integers([after for _, after in sizes], "size")
            emit_image(operation, "RESIZE_NEAREST_NEIGHBOR", [image(operation), size], options)
            return
    rows = _selected(operation, image(operation), 1, wanted[0])
    options = schema.GatherOptionsT()
    options.axis = 2
    emit_image(operation, "GATHER", [rows, operation.lowering.integers(wanted[1].tolist(), "indices")], options)


def _tflite_nearest(before: int, after: int, *, align: bool, half: bool) -> npt.NDArray[np.int32]:
    """Returns the source indices that resize_nearest_neighbor.h computes."""
    position = _tflite_positions(before, after, align=align, half=half)
    return np.clip(np.floor(position + 0.5 * align), 0, before - 1).astype(np.int32)


# --- linear and cubic: a weighted sum of neighbours -----------------------------------------------------------------

#: Source indices and weights, one pair for each neighbour.
_Taps = list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]


def _linear(operation: Operation, positions: list[Positions], sizes: list[tuple[int, int]]) -> None:
    limited = [np.clip(at, 0, before - 1) for at, (before, _) in zip(positions, sizes, strict=True)]
    for align, half in _FLAGS:
        given = [
            np.clip(_tflite_positions(*size, align=align, half=half) - 0.5 * half, 0, size[0] - 1) for size in sizes
        ]
        if all(np.allclose(a, b, rtol=0, atol=1e-4) for a, b in zip(limited, given, strict=True)):
            options = schema.ResizeBilinearOptionsT()
            options.alignCorners, options.halfPixelCenters = align, half
            size = operation.lowering.integers([after for _, after in sizes], "size")
            emit_image(operation, "RESIZE_BILINEAR", [image(operation), size], options)
            return
    _weigh(operation, [_linear_taps(at, before) for at, (before, _) in zip(limited, sizes, strict=True)])


def _linear_taps(positions: Positions, size: int) -> _Taps:
    low = np.floor(positions)
    share = (positions - low).astype(np.float32)
    high = np.minimum(low + 1, size - 1)
    return [(low.astype(np.int32), 1 - share), (high.astype(np.int32), share)]


def _cubic_taps(operation: Operation, positions: Positions, size: tuple[int, int]) -> _Taps:
    """Returns indices and weights of Keys' cubic convolution (1981), with the edge of the source repeated."""
    attributes = operation.node.attributes
    if attributes.get_int("exclude_outside", 0):
        raise Unsuited("its weights outside of the image are left out")
    a = attributes.get_float("cubic_coeff_a", -0.75) or 0.0
    low = np.floor(positions)
    taps = []
    for offset in range(-1, 3):
        distance = np.abs(positions - low - offset)
        index = np.clip(low + offset, 0, size[0] - 1).astype(np.int32)
        taps.append((index, cubic_weight(distance, a).astype(np.float32)))
    return taps


def _weigh(operation: Operation, taps: list[_Taps]) -> None:
    """Sums the weighted neighbours, first over the height, then over the width."""
    if operation.integer:
        raise Unsuited("TFLite has no such coordinates for integers")
    tensor = image(operation)
    for axis, neighbours in enumerate(taps, start=1):
        total: Tensor | None = None
        for index, weight in neighbours:
            if not weight.any():
                continue
            part = _selected(operation, tensor, axis, index)
            wide = [1] * 4
            wide[axis] = -1
            weighted = operation.temporary(part, suffix="weighted")
            factor = operation.real_constant(weight.reshape(wide), "weight")
            operation.emit("MUL", [part, factor], [weighted], schema.MulOptionsT())
            if total is None:
                total = weighted
                continue
            result = operation.temporary(part, suffix="sum")
            operation.emit("ADD", [total, weighted], [result], schema.AddOptionsT())
            total = result
        assert total is not None  # the weights of a position sum to 1
        tensor = total
    shape = operation.lowering.integers(tensor.shape, "shape")
    emit_image(operation, "RESHAPE", [tensor, shape], schema.ReshapeOptionsT())


def _selected(operation: Operation, tensor: Tensor, axis: int, index: Array) -> Tensor:
    if np.array_equal(index, np.arange(tensor.shape[axis])):
        return tensor
    return operation.gathered(tensor, axis, index, "gathered")


LOWERINGS: dict[str, LoweringFunction] = {"Resize": resize}
