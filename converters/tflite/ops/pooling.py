"""Pools."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.lowering import LoweringFunction, Operation, Unsuited
from edgecomp.converters.tflite.ops.reduction import reduce
from edgecomp.converters.tflite.ops.windows import Window, emit_image, image, padded, window_of


def _options(operation: Operation, window: Window, padding: int) -> schema.Pool2DOptionsT:
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.kernel
    options.fusedActivationFunction = operation.fuse_activation()
    return options


def _window(operation: Operation) -> Window:
    window = window_of(operation.node, operation.node.attributes.get_ints("kernel_shape", []) or [])
    if window.dilations != (1, 1):
        raise Unsuited("TFLite's pools have no dilation")
    return window


def max_pool(operation: Operation) -> None:
    """MaxPool -> MAX_POOL_2D; padding counts as the lowest number there is."""
    if len(operation.node.outputs) > 1 and tuple(operation.node.outputs[1].uses()):
        raise Unsuited("MAX_POOL_2D does not give the indices of the maxima")
    window = _window(operation)
    source, padding = padded(operation, image(operation), window, fill=float(np.finfo(np.float32).min))
    emit_image(operation, "MAX_POOL_2D", [source], _options(operation, window, padding))


def average_pool(operation: Operation) -> None:
    """AveragePool -> AVERAGE_POOL_2D, which leaves padding out of the average."""
    window = _window(operation)
    source = image(operation)
    if operation.node.attributes.get_int("count_include_pad", 0):
        source, padding = padded(operation, source, Window(window.kernel, window.strides, (1, 1), window.begins, window.ends))
        if padding == schema.Padding.SAME:
            raise Unsuited("AVERAGE_POOL_2D leaves padding out of the average, and count_include_pad=1 counts it")
    elif not window.is_padded() or window.is_same(source.shape[1:3]):
        padding = int(schema.Padding.SAME if window.is_padded() else schema.Padding.VALID)
    else:
        raise Unsuited("AVERAGE_POOL_2D has no such padding")
    emit_image(operation, "AVERAGE_POOL_2D", [source], _options(operation, window, padding))


def global_average_pool(operation: Operation) -> None:
    """GlobalAveragePool -> MEAN over the spatial dimensions."""
    reduce(operation, "MEAN", tuple(range(2, len(operation.shape(0)))), keep=True)


def global_max_pool(operation: Operation) -> None:
    """GlobalMaxPool -> REDUCE_MAX over the spatial dimensions."""
    reduce(operation, "REDUCE_MAX", tuple(range(2, len(operation.shape(0)))), keep=True)


LOWERINGS: dict[str, LoweringFunction] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
}
