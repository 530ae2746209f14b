"""Operators with constant weights, and how factors and offsets of what goes in and out become part of the weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, input_of, is_float, pads_are_zero
from edgecomp.graph.values import add_constant

#: Operator -> the dimension of its output that its output channels lie in, and the one of its input.
_CHANNELS = {"Conv": (1, 1), "ConvTranspose": (1, 1), "Gemm": (1, 1), "MatMul": (-1, -1)}


#: The metadata key of a weight whose numbers have to stay what they are: a source stores them in integers.
KEPT_KEY = "edgecomp.kept"


def keeps_weight(node: ir.Node) -> bool:
    """Whether the weight of a node may not be scaled."""
    weight = node.inputs[1]
    return weight is not None and KEPT_KEY in weight.metadata_props


def has_weight(node: ir.Node | None) -> bool:
    """Whether a node multiplies with a constant weight, adds a constant bias or none, and knows its shapes."""
    return (
        node is not None
        and node.op_type in _CHANNELS
        and node.domain in {"", "ai.onnx"}
        and is_float(node.outputs[0])
        and (weight := constant(node.inputs[1])) is not None
        and weight.ndim > 1
        and not node.attributes.get_int("transA", 0)
        and (input_of(node, 2) is None or constant(input_of(node, 2)) is not None)
    )


def channel_axes(node: ir.Node) -> tuple[int, int]:
    """The dimension of the output channels of a node that `has_weight`, and the one of its input channels."""
    return _CHANNELS[node.op_type]


def output_channels(node: ir.Node) -> int:
    """How many output channels a node has that `has_weight`."""
    weight = constant(node.inputs[1])
    assert weight is not None
    match node.op_type:
        case "Conv":
            return int(weight.shape[0])
        case "ConvTranspose":
            return int(weight.shape[1]) * (node.attributes.get_int("group", 1) or 1)
        case "MatMul":
            return int(weight.shape[-1])
        case _:
            return int(weight.shape[0 if node.attributes.get_int("transB", 0) else 1])


def scale_outputs(graph: ir.Graph, node: ir.Node, factor: Array, offset: Array) -> bool:
    """Changes weight and bias so that `node` gives its output times `factor` plus `offset`.

    Args:
        graph: The graph of the node.
        node: One that `has_weight`.
        factor: One number, or one for each output channel.
        offset: Likewise.

    Returns:
        Whether it could be done.
    """
    weight, bias = constant(node.inputs[1]), constant(input_of(node, 2))
    assert weight is not None
    if keeps_weight(node) and ((factor != 1).any() or node.attributes.get_float("alpha", 1.0) != 1.0):
        return False
    if node.op_type == "MatMul":
        if offset.any():
            return False
        _replace_input(graph, node, 1, weight * factor)
        return True
    channels = output_channels(node)
    if {factor.size, offset.size, 1 if bias is None else bias.size} - {1, channels}:
        return False
    factor = np.broadcast_to(factor.reshape(-1), (channels,))
    if node.op_type == "Gemm":
        scale = node.attributes.get_float("alpha", 1.0)
        bias = None if bias is None else bias * node.attributes.get_float("beta", 1.0)
        for name in ("alpha", "beta"):
            node.attributes.pop(name, None)
        weight = weight * scale
        scaled = weight * (factor[:, None] if node.attributes.get_int("transB", 0) else factor)
    elif node.op_type == "ConvTranspose":
        # (in, out / group, ...): the channels of group g lie in the g-th part of the input channels.
        group = node.attributes.get_int("group", 1) or 1
        parts = weight.reshape(group, -1, *weight.shape[1:]) * factor.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
        scaled = parts.reshape(weight.shape)
    else:
        scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    shifted = offset.reshape(-1) if bias is None else bias.reshape(-1) * factor + offset.reshape(-1)
    if not keeps_weight(node):
        _replace_input(graph, node, 1, scaled)
    _replace_input(graph, node, 2, np.broadcast_to(shifted, (channels,)))
    return True


def scale_inputs(graph: ir.Graph, node: ir.Node, factor: Array) -> None:
    """Changes the weight so that `node` computes with its input times `factor`.

    Args:
        graph: The graph of the node.
        node: One that `has_weight`.
        factor: One number, or one for each input channel.
    """
    _replace_input(graph, node, 1, _by_input(node, factor))


def takes_offset(node: ir.Node) -> bool:
    """Whether an offset of the input can become part of the bias: where zeros are padded they would miss it."""
    return node.op_type == "Gemm" or (node.op_type == "Conv" and pads_are_zero(node))


def shift_inputs(graph: ir.Graph, node: ir.Node, offset: Array) -> None:
    """Changes the bias so that `node` computes with its input plus `offset`.

    Args:
        graph: The graph of the node.
        node: One that `has_weight` and `takes_offset`.
        offset: One number, or one for each input channel.
    """
    products, weight = _by_input(node, offset), constant(node.inputs[1])
    assert weight is not None
    if node.op_type == "Gemm":
        total = products.sum(axis=1 if node.attributes.get_int("transB", 0) else 0)
        total = total * node.attributes.get_float("alpha", 1.0)
        scale_outputs(graph, node, np.ones(1), total)
    else:
        scale_outputs(graph, node, np.ones(1), products.sum(axis=tuple(range(1, weight.ndim))))


def along_channels(array: Array, rank: int, node: ir.Node, *, output: bool) -> Array | None:
    """A constant that is broadcast to the input or output of a node with a weight, as one number per channel.

    Returns:
        Shape (channels,), or (1,) where all channels share one number; None when it varies along other dimensions.
    """
    axis = _CHANNELS[node.op_type][0 if output else 1] % rank
    if array.ndim > rank:
        return None
    wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return wide.reshape(-1) if wide.size == wide.shape[axis] else None


def _by_input(node: ir.Node, numbers: Array) -> Array:
    """The weight times one number for each input channel."""
    weight = constant(node.inputs[1])
    assert weight is not None
    numbers = numbers.reshape(-1)
    if numbers.size == 1:
        return weight * numbers
    match node.op_type:
        case "Conv":
            # (out, in / group, ...): the output channels of group g read the g-th part of the input channels.
            group = node.attributes.get_int("group", 1) or 1
            parts = weight.reshape(group, -1, *weight.shape[1:])
            return (parts * numbers.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
        case "ConvTranspose":
            return weight * numbers.reshape(-1, *[1] * (weight.ndim - 1))
        case "Gemm" if node.attributes.get_int("transB", 0):
            return weight * numbers
        case _:
            return weight * numbers[:, None]


def _replace_input(graph: ir.Graph, node: ir.Node, index: int, array: Array) -> None:
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, register(graph, f"{node.outputs[0].name}/folded_{index}", array))


def register(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """A new float32 constant of the graph, under this name or one like it."""
    return add_constant(graph, name, np.ascontiguousarray(array, np.float32))
