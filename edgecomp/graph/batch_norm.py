"""BatchNormalization with frozen statistics is a product and a sum per channel; no runtime needs the operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import constant, input_of, is_float, only_consumer

_Array = npt.NDArray[Any]


def fold_batch_norms(model: ir.Model) -> bool:
    """Folds every BatchNormalization into the convolution or Gemm before it, or else writes it as Mul and Add.

    Returns:
        Whether there was one.
    """
    graph, changed = model.graph, False
    for node in tuple(graph):
        if node.op_type != "BatchNormalization" or not is_float(node.outputs[0]) or len(node.outputs) > 1:
            continue
        source, numbers = node.inputs[0], [constant(value) for value in node.inputs[1:5]]
        if source is None or source.shape is None or any(number is None for number in numbers):
            continue
        gamma, beta, mean, variance = (np.asarray(number, np.float64) for number in numbers)
        factor = gamma / np.sqrt(variance + (node.attributes.get_float("epsilon", 1e-5) or 0.0))
        offset = beta - mean * factor
        before = source.producer()
        if before is None or only_consumer(source) is not node or not _fold(graph, before, factor, offset):
            _spell_out(graph, node, source, factor, offset)
        else:
            name, node.outputs[0].name = node.outputs[0].name, None
            node.outputs[0].replace_all_uses_with(source, replace_graph_outputs=True)
            graph.remove(node, safe=True)
            source.name = name
        changed = True
    return changed


def _fold(graph: ir.Graph, node: ir.Node, factor: _Array, offset: _Array) -> bool:
    """Scales the output channels of `node`'s weight and bias; False when it has no constant ones."""
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm"} or node.domain not in {"", "ai.onnx"}:
        return False
    weight, bias = constant(node.inputs[1]), constant(input_of(node, 2))
    if weight is None or (bias is None and input_of(node, 2) is not None):
        return False
    if node.op_type == "Gemm":
        axis = 0 if node.attributes.get_int("transB", 0) else 1
        bias = None if bias is None else bias * node.attributes.get_float("beta", 1.0)
        node.attributes.pop("beta", None)
    else:
        axis = 0 if node.op_type == "Conv" else 1
    if bias is not None and bias.size not in {1, factor.size}:
        return False
    if node.op_type == "ConvTranspose":
        # (in, out / group, ...): the channels of group g lie in the g-th part of the input channels.
        group = node.attributes.get_int("group", 1) or 1
        parts = weight.reshape(group, -1, *weight.shape[1:]) * factor.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
        scaled = parts.reshape(weight.shape)
    else:
        scaled = weight * factor.reshape([-1 if index == axis else 1 for index in range(weight.ndim)])
    shifted = offset if bias is None else bias.reshape(-1) * factor + offset
    _replace_input(graph, node, 1, scaled)
    _replace_input(graph, node, 2, shifted)
    return True


def _replace_input(graph: ir.Graph, node: ir.Node, index: int, array: _Array) -> None:
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, _register(graph, f"{node.outputs[0].name}/folded_{index}", array))


def _spell_out(graph: ir.Graph, node: ir.Node, source: ir.Value, factor: _Array, offset: _Array) -> None:
    result = node.outputs[0]
    assert source.shape is not None
    along = (-1, *[1] * (len(source.shape) - 2))
    product = ir.node("Mul", [source, _register(graph, f"{result.name}/factor", factor.reshape(along))])
    product.outputs[0].name = f"{result.name}/scaled"
    total = ir.node("Add", [product.outputs[0], _register(graph, f"{result.name}/offset", offset.reshape(along))])
    for new in (product, total):
        new.name = f"{node.name or result.name}/{new.op_type.lower()}"
        new.metadata_props.update(node.metadata_props)
        new.outputs[0].shape, new.outputs[0].type = result.shape, result.type
    graph.insert_before(node, [product, total])
    name, result.name = result.name, None
    result.replace_all_uses_with(total.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)
    total.outputs[0].name = name


def _register(graph: ir.Graph, name: str, array: _Array) -> ir.Value:
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(array.astype(np.float32), name=name), shape=ir.Shape(array.shape))
    value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.register_initializer(value)
    return value
