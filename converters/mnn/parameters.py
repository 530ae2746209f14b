"""Finds the quantization of each tensor of an MNN net, and writes it as MNN's compression parameters."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.converters.mnn.integer_kernels import MOVERS, moved_inputs
from edgecomp.converters.mnn.net import Net, TensorQuantization, convolution
from edgecomp.graph.query import clip_bounds, constant, required_constant
from edgecomp.quantization.parameters import QuantizationParameters


def tensor_quantization(
    net: Net, graph: ir.Graph, quantization: Mapping[str, QuantizationParameters]
) -> dict[int, TensorQuantization]:
    """The parameters of each tensor of a net that is to hold int8.

    MNN keeps ONNX's names for what it takes over. Tensors of its own lie next to those, behind or in front of an op
    that only moves data, and have the same parameters. Behind a join they have some only if all that is joined has
    the same: MNN would squeeze one tensor into the range of another.
    """
    makers = {value.name: node for node in graph for value in node.outputs}
    known: dict[int, TensorQuantization] = {}
    for index, name in enumerate(net.tensors):
        parameters = quantization.get(name)
        if parameters is not None and parameters.dtype == "int8" and not parameters.per_channel:
            known[index] = _of_activation(makers.get(name), parameters)
    movers = [op for op in net.ops if op.type in MOVERS]
    for op in movers:
        sources = [known.get(index) for index in moved_inputs(op)]
        if sources and sources[0] is not None and sources.count(sources[0]) == len(sources):
            for output in op.outputs:
                known.setdefault(output, sources[0])
    for op in reversed(movers):
        if op.outputs[0] in known:
            for index in moved_inputs(op):
                known.setdefault(index, known[op.outputs[0]])
    return known


def _of_activation(maker: ir.Node | None, parameters: QuantizationParameters) -> TensorQuantization:
    """The parameters of a tensor, with the bounds of the Relu or Clip that made it.

    MNN fuses such a node into the convolution before, which then clamps to these bounds and to nothing else.
    """
    low, high = -128, 127
    if maker is not None and maker.op_type in {"Relu", "Clip"}:
        low, high = (int(bound) for bound in parameters.quantize(np.clip(clip_bounds(maker), *parameters.range)))
    return TensorQuantization(float(parameters.scale), int(parameters.zero_point), low, high)


def source_names(net: Net, known: Container[str | None]) -> dict[int, str]:
    """The ONNX name of each tensor, also of those that MNN gave a name of its own in front of a mover."""
    names = {index: name for index, name in enumerate(net.tensors) if name in known}
    for op in reversed(net.ops):
        if op.type in MOVERS and op.outputs[0] in names and op.inputs:
            names.setdefault(op.inputs[0], names[op.outputs[0]])
    return names


def compression_parameters(
    net: Net,
    tensors: Mapping[int, TensorQuantization],
    graph: ir.Graph,
    quantization: Mapping[str, QuantizationParameters],
) -> dict[str, Any]:
    """MNN's compression parameters for the convolutions of a float net.

    Args:
        net: What MNN made of `graph`, in float.
        tensors: From `tensor_quantization`.
        graph: The graph that MNN read.
        quantization: By name of `graph`.

    Returns:
        A `MNN.Compression.Pipeline`, as JSON data.
    """
    makers = {value.name: node for node in graph for value in node.outputs}
    names = source_names(net, makers)
    layers = []
    for op in net.ops:
        if op.type not in {"Convolution", "ConvolutionDepthwise"} or len(op.inputs) != 1:
            continue
        source, target = tensors.get(op.inputs[0]), tensors.get(op.outputs[0])
        scales = _weight_scales(makers.get(names.get(op.outputs[0])), quantization)
        if source is None or target is None or scales is None or len(convolution(op).bias) != len(scales):
            continue
        layers.append(
            {
                "opName": op.name,
                "input": [_activation(net.tensors[op.inputs[0]], source)],
                "weight": [
                    {
                        "name": f"{op.name}/weight",
                        "bits": 8,
                        "scales": scales.tolist(),
                        "asymmetric": False,
                        "blockSize": -1,
                        "clampMin": -127,
                        "clampMax": 127,
                    }
                ],
                "output": [_activation(net.tensors[op.outputs[0]], target)],
                "method": "QAT",
            }
        )
    return _pipeline(layers)


def weight_parameters(net: Net, graph: ir.Graph, quantization: Mapping[str, QuantizationParameters]) -> dict[str, Any]:
    """MNN's compression parameters for the weights of a float net that lie on their integer grids already.

    MNN takes the largest weight of a channel, or of a block, for the largest integer, as edgecomp does, so that it
    finds the same scales and the same integers. A source's own integers may be of other scales: these it would round a
    second time, so they are stored in float.

    Args:
        net: What MNN made of `graph`, in float.
        graph: The graph that MNN read.
        quantization: Parameters of weights, by name of `graph`.

    Returns:
        A `MNN.Compression.Pipeline`, as JSON data.
    """
    makers = {value.name: node for node in graph for value in node.outputs}
    names = source_names(net, makers)
    layers = []
    for op in net.ops:
        if op.type not in _CONVOLUTIONS or not op.outputs:
            continue
        # MNN may put an activation in front of the reshape behind a product, and call the product's output after that.
        source = op.name.removesuffix("__matmul_converted")
        node = _weighted(makers.get(source if source in makers else names.get(op.outputs[0])))
        parameters = None if node is None else quantization.get(node.inputs[1].name or "")  # type: ignore[union-attr]
        if node is None or parameters is None or not parameters.per_channel or not _is_filled(node, parameters):
            continue
        weight = {
            "name": f"{op.name}/weight",
            "bits": 4 if parameters.dtype == "int4" else 8,
            "asymmetric": False,
            "blockSize": parameters.block or -1,
        }
        layers.append({"opName": op.name, "weight": [weight]})
    return _pipeline(layers)


def _is_filled(node: ir.Node, parameters: QuantizationParameters) -> bool:
    """Whether the largest weight of every channel has the largest integer, on either side of 0."""
    if parameters.dtype != "int8" or parameters.axis is None:
        return True
    integers = np.moveaxis(parameters.quantize(required_constant(node.inputs[1])), parameters.axis, 0)
    largest = np.abs(integers.reshape(len(integers), -1).astype(np.int16)).max(axis=1)
    return not parameters.zero_point.any() and bool(np.isin(largest, (0, 127)).all())


def _pipeline(layers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": "3.6.1", "algo": [{"type": "QUANTIZE", "quantParams": {"layer": layers}}]}


_CONVOLUTIONS = frozenset({"Convolution", "ConvolutionDepthwise"})


def _weighted(node: ir.Node | None) -> ir.Node | None:
    """The node whose weight an op holds, given the maker of its output: itself, or the one that it is fused with."""
    while node is not None and node.op_type in {"Relu", "Clip", "Add"}:
        node = next(
            (value.producer() for value in node.inputs if value is not None and value.producer() is not None), None
        )
    return node if node is not None and node.op_type in {"Conv", "Gemm", "MatMul"} else None


def _activation(name: str, parameters: TensorQuantization) -> dict[str, Any]:
    return {
        "name": name,
        "bits": 8,
        "scales": [parameters.scale],
        "zeroPoint": parameters.zero_point,
        "clampMin": parameters.low,
        "clampMax": parameters.high,
    }


def _weight_scales(
    node: ir.Node | None, quantization: Mapping[str, QuantizationParameters]
) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """The weight scales of the convolution that made a tensor, itself or through an activation that MNN fused."""
    if node is not None and node.op_type in {"Relu", "Clip"}:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or node.op_type != "Conv" or node.inputs[1] is None:
        return None
    weight = node.inputs[1]
    parameters = quantization.get(weight.name or "")
    array = constant(weight)
    if parameters is None or array is None:
        return None
    return np.broadcast_to(parameters.scale, len(array)).astype(np.float32)
