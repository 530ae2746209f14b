"""BatchNormalization with frozen statistics is a product and a sum per channel; no runtime needs the operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, is_float
from edgecomp.graph.values import take_place
from edgecomp.graph.weights import register


def spell_out_batch_norms(model: ir.Model) -> bool:
    """Writes every BatchNormalization as Mul and Add, which `affine` takes into the weights before or behind it.

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
        _spell_out(graph, node, source, factor, offset)
        changed = True
    return changed


def _spell_out(graph: ir.Graph, node: ir.Node, source: ir.Value, factor: Array, offset: Array) -> None:
    result = node.outputs[0]
    assert source.shape is not None
    along = (-1, *[1] * (len(source.shape) - 2))
    product = ir.node("Mul", [source, register(graph, f"{result.name}/factor", factor.reshape(along))])
    product.outputs[0].name = f"{result.name}/scaled"
    total = ir.node("Add", [product.outputs[0], register(graph, f"{result.name}/offset", offset.reshape(along))])
    for new in (product, total):
        new.name = f"{node.name or result.name}/{new.op_type.lower()}"
        new.metadata_props.update(node.metadata_props)
        new.outputs[0].shape, new.outputs[0].type = result.shape, result.type
    graph.insert_before(node, [product, total])
    take_place(total.outputs[0], result)
    graph.remove(node, safe=True)
