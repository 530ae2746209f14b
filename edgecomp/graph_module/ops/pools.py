"""Pooling operators."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
from torch.nn import functional

from edgecomp.graph_module.ops.layers import padded, window
from edgecomp.graph_module.ops.node import Build, Function, UnsupportedError, ints, plain

Tensor = torch.Tensor

_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _places(inputs: Tensor) -> tuple[int, ...]:
    return tuple(range(2, inputs.ndim))


def _max_pool(node: ir.Node) -> Function:
    kernel = ints(node, "kernel_shape", [])
    if len(node.outputs) > 1 or len(kernel) not in _MAXIMA:
        raise UnsupportedError("it gives the places of the maxima too, or has more than 3 spatial dimensions")
    strides, dilations, padding = window(node, kernel)
    ceiling, function = bool(node.attributes.get_int("ceil_mode", 0)), _MAXIMA[len(kernel)]

    def run(inputs: Tensor) -> Tensor:
        source = padded(inputs, *padding(inputs.shape[2:]), -math.inf)
        result: Tensor = function(source, kernel, strides, 0, dilations, ceiling)
        return result

    return run


def _average_pool(node: ir.Node) -> Function:
    kernel = ints(node, "kernel_shape", [])
    strides, dilations, padding = window(node, kernel)
    if len(kernel) not in _AVERAGES or any(dilation != 1 for dilation in dilations):
        raise UnsupportedError("its window has holes, or more than 3 dimensions")
    ceiling = bool(node.attributes.get_int("ceil_mode", 0))
    with_padding, function = bool(node.attributes.get_int("count_include_pad", 0)), _AVERAGES[len(kernel)]

    def run(inputs: Tensor) -> Tensor:
        begins, ends = padding(inputs.shape[2:])

        def pooled(numbers: Tensor) -> Tensor:
            result: Tensor = function(padded(numbers, begins, ends), kernel, strides, 0, ceiling, True)
            return result

        if with_padding or not any((*begins, *ends)):
            return pooled(inputs)
        return pooled(inputs) / pooled(torch.ones_like(inputs))

    return run


POOLS: dict[str, Build] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": plain(lambda inputs: inputs.mean(_places(inputs), keepdim=True)),
    "GlobalMaxPool": plain(lambda inputs: inputs.amax(_places(inputs), keepdim=True)),
    "MaxPool": _max_pool,
}
