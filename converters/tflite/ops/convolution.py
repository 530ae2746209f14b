"""Convolutions: NHWC activations, OHWI weights (1HWC for depthwise)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import channels_last
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import last
from edgecomp.converters.tflite.ops.windows import emit_image, image, padded, window_of
from edgecomp.converters.tflite.outlook import is_pointwise
from edgecomp.graph.query import shape_of
from edgecomp.quantization.parameters import IntegerType, QuantizationParameters


def conv(operation: Operation) -> None:
    """Conv -> CONV_2D, or DEPTHWISE_CONV_2D if every channel is its own group."""
    weight = operation.constant(1)
    window = window_of(operation.node, weight.shape[2:])
    group = operation.node.attributes.get_int("group", 1) or 1
    channels = operation.shape(0)[1]
    depthwise = group == channels and group > 1
    # For a 1x1 window the order of pixels does not matter.
    layout = last(operation, 1) if is_pointwise(operation.node) else channels_last(weight.ndim)
    source, padding = padded(operation, image(operation, layout=layout), window)
    if weight.ndim == 3:
        weight = weight[:, :, None]
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    options.fusedActivationFunction = operation.fuse_activation()
    if depthwise:
        options.depthMultiplier = weight.shape[0] // group
        filters = weight_constant(operation, weight.transpose(1, 2, 3, 0), axis=3)
    else:
        filters = weight_constant(operation, weight.transpose(0, 2, 3, 1), axis=0)
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    emit_image(operation, name, [source, filters, bias_constant(operation, weight.shape[0])], options, layout)


def conv_transpose(operation: Operation) -> None:
    """ConvTranspose -> TRANSPOSE_CONV.

    TFLite supports only SAME and VALID padding. Any other padding is cut off from a VALID result, which is equivalent:
    padding of a transposed convolution drops the border of its output.
    """
    node = operation.node
    rank = len(operation.shape(0)) - 2
    if rank not in {1, 2}:
        raise Unsuited(f"TFLite has it in 1 and 2 spatial dimensions, and this one has {rank}")
    weight = _transposed_weight(operation)
    height, width = [1, *(node.attributes.get_ints("strides", None) or [1] * rank)][-2:]
    batch, channels, *target = shape_of(node.outputs[0])
    source = image(operation)
    target = [1, *target][-2:]
    full = [(n - 1) * step + k for n, step, k in zip(source.shape[1:3], (height, width), weight.shape[2:], strict=True)]
    begins = [0, *_transposed_begins(operation, full[-rank:], target[-rank:])][-2:]
    options = schema.TransposeConvOptionsT()
    options.strideH, options.strideW = height, width
    options.padding = int(schema.Padding.VALID)
    filters = weight_constant(operation, weight.transpose(1, 2, 3, 0), axis=0)
    bias = bias_constant(operation, channels)
    # Output padding reaches beyond the last element that a window touches; the kernel fills it with the bias.
    reach = [max(size, begin + wanted) for size, begin, wanted in zip(full, begins, target, strict=True)]
    inputs = [operation.lowering.integers((batch, *reach, channels), "output_shape"), filters, source, bias]
    if reach == target:
        options.fusedActivationFunction = operation.fuse_activation()
        emit_image(operation, "TRANSPOSE_CONV", inputs, options)
        return
    parameters = operation.parameters(node.outputs[0])
    whole = operation.builder.tensor(f"{node.name}/whole", (batch, *reach, channels), source.dtype, parameters)
    operation.emit("TRANSPOSE_CONV", inputs, [whole], options)
    bounds = [operation.lowering.integers(n, "crop") for n in ((0, *begins, 0), (batch, *target, channels))]
    emit_image(operation, "SLICE", [whole, *bounds], schema.SliceOptionsT())


def _transposed_weight(operation: Operation) -> npt.NDArray[np.float32]:
    """Returns the weight (in, out, height, width) of a plain transposed convolution that computes the same.

    TRANSPOSE_CONV has neither groups nor dilation, so zeros fill the holes of the kernel and the blocks between groups.
    """
    weight = operation.constant(1)
    attributes = operation.node.attributes
    if weight.ndim == 3:
        weight = weight[:, :, None]
    height, width = [1, *(attributes.get_ints("dilations", None) or [1] * (weight.ndim - 2))][-2:]
    if (height, width) != (1, 1):
        k = weight.shape[2:]
        spread = np.zeros((*weight.shape[:2], (k[0] - 1) * height + 1, (k[1] - 1) * width + 1), weight.dtype)
        spread[:, :, ::height, ::width] = weight
        weight = spread
    group = attributes.get_int("group", 1) or 1
    if group > 1:
        each, per_group = weight.shape[0] // group, weight.shape[1]
        dense = np.zeros((weight.shape[0], per_group * group, *weight.shape[2:]), weight.dtype)
        for index in range(group):
            rows = slice(index * each, (index + 1) * each)
            dense[rows, index * per_group : (index + 1) * per_group] = weight[rows]
        weight = dense
    return weight


def _transposed_begins(operation: Operation, full: list[int], target: list[int]) -> list[int]:
    """Returns how much of the full result is cut off at the start."""
    attributes = operation.node.attributes
    mode = attributes.get_string("auto_pad", "NOTSET")
    surplus = [max(size - wanted, 0) for size, wanted in zip(full, target, strict=True)]
    if mode == "SAME_UPPER":
        return [total // 2 for total in surplus]
    if mode == "SAME_LOWER":
        return [total - total // 2 for total in surplus]
    if attributes.get("output_shape") is not None:
        return [total - total // 2 for total in surplus]
    return [int(pad) for pad in attributes.get_ints("pads", None) or [0] * len(full)][: len(full)]


def weight_constant(operation: Operation, weight: npt.NDArray[np.float32], axis: int) -> Tensor:
    """Returns the weight of a node, quantized if the node or the weight alone is.

    Args:
        operation: The node; its weight is input 1.
        weight: The weight in TFLite's order.
        axis: The axis of the output channels in that order.
    """
    value = operation.value(1)
    parameters = operation.parameters(value)
    name = value.name or "weight"
    alone = parameters is None
    parameters = operation.weight_parameters() if parameters is None else parameters
    if parameters is None:
        return operation.builder.constant(name, weight)
    stored = replace(parameters, axis=None if parameters.axis is None else axis)
    tensor = operation.builder.constant(name, stored.quantize(weight), stored)
    return operation.lowering.unpacked(tensor) if alone and not operation.is_hybrid else tensor


def bias_constant(operation: Operation, channels: int) -> Tensor:
    """Returns the bias of a node, or zeros if it has none, because some kernels require one."""
    if operation.has_input(2):
        value = operation.value(2)
        parameters = operation.parameters(value)
        array = operation.constant(2).reshape(-1)
        data = array if parameters is None else parameters.quantize(array)
        return operation.builder.constant(value.name or "bias", data, parameters)
    name = f"{operation.node.name}/bias"
    source, weight = (operation.parameters(operation.value(index)) for index in (0, 1))
    if source is None or weight is None:
        return operation.builder.constant(name, np.zeros(channels, np.float32))
    axis = None if weight.axis is None else 0
    dtype: IntegerType = "int64" if source.dtype == "int16" else "int32"
    parameters = QuantizationParameters(source.scale * weight.scale, np.array(0, np.int32), dtype, axis)
    return operation.builder.constant(name, np.zeros(channels, dtype), parameters)


LOWERINGS: dict[str, LoweringFunction] = {"Conv": conv, "ConvTranspose": conv_transpose}
