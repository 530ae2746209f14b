"""Operators with weights, and normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir
import torch
from torch.nn import functional

from edgecomp.graph.query import shape_of
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, ints, plain

Tensor = torch.Tensor

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


#: The spatial dimensions of an input -> the padding at the start and end of each.
Padding = Callable[[Sequence[int]], tuple[list[int], list[int]]]


def window(node: ir.Node, kernel: Sequence[int]) -> tuple[list[int], list[int], Padding]:
    """Returns strides, dilations and padding of a convolution or pool.

    Args:
        node: A node with `auto_pad`, `pads`, `strides` and `dilations`.
        kernel: The size of its window.
    """
    rank = len(kernel)
    strides, dilations = ints(node, "strides", [1] * rank), ints(node, "dilations", [1] * rank)
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode in {"SAME_UPPER", "SAME_LOWER"}:

        def same(given: Sequence[int]) -> tuple[list[int], list[int]]:
            totals = [
                max((math.ceil(size / stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
                for size, stride, width, dilation in zip(given, strides, kernel, dilations, strict=True)
            ]
            smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
            return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)

        return strides, dilations, same
    pads = [0] * 2 * rank if mode == "VALID" else ints(node, "pads", [0] * 2 * rank)
    return strides, dilations, lambda given: (pads[:rank], pads[rank:])


def padded(inputs: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0) -> Tensor:
    """Pads as many of the last dimensions as there are numbers; torch counts dimensions from the last."""
    pairs = [size for pair in zip(reversed(begins), reversed(ends), strict=True) for size in pair]
    return functional.pad(inputs, pairs, value=value) if any(pairs) else inputs


def _conv(node: ir.Node) -> Function:
    assert node.inputs[1] is not None
    kernel = shape_of(node.inputs[1])[2:]
    if len(kernel) not in _CONVOLUTIONS:
        raise UnsupportedError(f"it has {len(kernel)} spatial dimensions")
    strides, dilations, padding = window(node, kernel)
    group, function = node.attributes.get_int("group", 1) or 1, _CONVOLUTIONS[len(kernel)]

    def run(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        begins, ends = padding(inputs.shape[2:])
        own = begins if begins == ends else [0] * len(kernel)  # torch's own padding is symmetric, and needs no copy
        source = inputs if begins == ends else padded(inputs, begins, ends)
        result: Tensor = function(source, weight, bias, strides, own, dilations, group)
        return result

    return run


def _conv_transpose(node: ir.Node) -> Function:
    assert node.inputs[1] is not None
    kernel = shape_of(node.inputs[1])[2:]
    if len(kernel) not in _TRANSPOSED:
        raise UnsupportedError(f"it has {len(kernel)} spatial dimensions")
    rank = len(kernel)
    strides, dilations = ints(node, "strides", [1] * rank), ints(node, "dilations", [1] * rank)
    extra, pads = ints(node, "output_padding", [0] * rank), ints(node, "pads", [0] * 2 * rank)
    written = ints(node, "output_shape", [])[-rank:]
    mode = node.attributes.get_string("auto_pad", "NOTSET") or "NOTSET"
    group, function = node.attributes.get_int("group", 1) or 1, _TRANSPOSED[rank]

    def kept(given: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yields the start of the result in each dimension of the full one, and its size."""
        for axis, (size, stride, width, dilation) in enumerate(zip(given, strides, kernel, dilations, strict=True)):
            full = (size - 1) * stride + (width - 1) * dilation + 1
            if written or mode.startswith("SAME"):
                wanted = written[axis] if written else size * stride
                cut = full - wanted
                yield (cut // 2 if mode == "SAME_UPPER" else cut - cut // 2), wanted
            else:
                yield pads[axis], full + extra[axis] - pads[axis] - pads[axis + rank]

    def run(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        result: Tensor = function(inputs, weight, None, strides, 0, 0, group, dilations)
        result = padded(result, [0] * rank, extra)
        for axis, (begin, size) in enumerate(kept(inputs.shape[2:]), start=2):
            result = result.narrow(axis, begin, size)
        return result if bias is None else result + bias.reshape(-1, *[1] * rank)

    return run


def _gemm(node: ir.Node) -> Function:
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    turn_left, turn_right = (bool(node.attributes.get_int(name, 0)) for name in ("transA", "transB"))

    def run(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
        product = (left.T if turn_left else left) @ (right.T if turn_right else right)
        product = product if alpha == 1 else alpha * product
        if bias is None:
            return product
        return product + (bias if beta == 1 else beta * bias)

    return run


def _layer_norm(node: ir.Node) -> Function:
    if len(node.outputs) > 1:
        raise UnsupportedError("it gives mean and variance too")
    axis, epsilon = node.attributes.get_int("axis", -1), node.attributes.get_float("epsilon", 1e-5)

    def run(inputs: Tensor, scale: Tensor | None, bias: Tensor | None = None) -> Tensor:
        result = functional.layer_norm(inputs, inputs.shape[axis:], None, None, epsilon)
        result = result if scale is None else result * scale
        return result if bias is None else result + bias

    return run


def _rms_norm(node: ir.Node) -> Function:
    axis, epsilon = node.attributes.get_int("axis", -1), node.attributes.get_float("epsilon", 1e-5)
    return lambda inputs, scale: functional.rms_norm(inputs, inputs.shape[axis:], None, epsilon) * scale


def _instance_norm(node: ir.Node) -> Function:
    epsilon = node.attributes.get_float("epsilon", 1e-5)

    def run(inputs: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        places = tuple(range(2, inputs.ndim))
        variance, mean = torch.var_mean(inputs, places, correction=0, keepdim=True)
        shape = (-1, *[1] * len(places))
        return (inputs - mean) * torch.rsqrt(variance + epsilon) * scale.reshape(shape) + bias.reshape(shape)

    return run


def _batch_norm(node: ir.Node) -> Function:
    epsilon = node.attributes.get_float("epsilon", 1e-5)

    def run(inputs: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        shape = (-1, *[1] * (inputs.ndim - 2))
        factor = scale * torch.rsqrt(variance + epsilon)
        return inputs * factor.reshape(shape) + (bias - mean * factor).reshape(shape)

    return run


LAYERS: dict[str, Build] = {
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": plain(torch.matmul),
    "RMSNormalization": _rms_norm,
}
