"""Average pools."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.reduction import reduce
from edgecomp.converters.tflite.ops.windows import (
    Window,
    emit_image,
    explicitly_padded,
    image,
    pool_options,
    window_of,
)


def _window(operation: Operation) -> Window:
    window = window_of(operation.node, operation.node.attributes.get_ints("kernel_shape", []) or [])
    if window.dilations != (1, 1):
        raise Unsuited("TFLite's pools have no dilation")
    return window


def average_pool(operation: Operation) -> None:
    """AveragePool -> AVERAGE_POOL_2D, which excludes padding from the average and supports only SAME and VALID.

    Other padding becomes a PAD. Where ONNX divides by fewer elements than the window has, the result is multiplied by a
    constant map that corrects this. Only in float, because integers would be rounded twice.
    """
    window = _window(operation)
    tensor = image(operation)
    counts = _counts(operation, window, tensor)
    if not window.is_padded():
        emit_image(operation, "AVERAGE_POOL_2D", [tensor], pool_options(window, int(schema.Padding.VALID)))
        return
    if not operation.node.attributes.get_int("count_include_pad", 0) and window.is_same:
        emit_image(operation, "AVERAGE_POOL_2D", [tensor], pool_options(window, int(schema.Padding.SAME)))
        return
    source = explicitly_padded(operation, tensor, window)
    options = pool_options(window, int(schema.Padding.VALID))
    correction = math.prod(window.kernel) / np.outer(*counts)
    if (correction == 1).all():
        emit_image(operation, "AVERAGE_POOL_2D", [source], options)
        return
    if operation.integer:
        raise Unsuited("AVERAGE_POOL_2D has no such padding for integers")
    pooled = operation.temporary(tensor, (tensor.shape[0], *correction.shape, tensor.shape[3]), "pooled")
    operation.emit("AVERAGE_POOL_2D", [source], [pooled], options)
    factor = operation.real_constant(correction[None, :, :, None], "correction")
    emit_image(operation, "MUL", [pooled, factor], schema.MulOptionsT())


def _counts(operation: Operation, window: Window, tensor: Tensor) -> list[npt.NDArray[np.int64]]:
    """Returns the number of rows and columns that ONNX divides by, at every output position.

    With count_include_pad they include the padding, but never what ceil_mode adds at the end.
    """
    attributes = operation.node.attributes
    included = bool(attributes.get_int("count_include_pad", 0))
    given = attributes.get_ints("pads", None)
    ends = list(window.ends)
    if given is not None and attributes.get_string("auto_pad", "NOTSET") == "NOTSET":
        ends = [0, 0, *given[len(given) // 2 :]][-2:]
    counts = []
    for axis, size in enumerate(tensor.shape[1:3]):
        first, behind = (-window.begins[axis], size + ends[axis]) if included else (0, size)
        steps = (size + window.begins[axis] + window.ends[axis] - window.kernel[axis]) // window.strides[axis] + 1
        start = np.arange(steps) * window.strides[axis] - window.begins[axis]
        counts.append(np.minimum(start + window.kernel[axis], behind) - np.maximum(start, first))
    return counts


def global_average_pool(operation: Operation) -> None:
    """GlobalAveragePool -> MEAN over the spatial dimensions."""
    reduce(operation, "MEAN", tuple(range(2, len(operation.shape(0)))), keep=True)


LOWERINGS: dict[str, LoweringFunction] = {"AveragePool": average_pool, "GlobalAveragePool": global_average_pool}
