"""Splits of constants, which onnxscript does not fold: it folds what has one output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import constant, input_of
from edgecomp.graph.values import add_constant


def fold_splits(model: ir.Model) -> bool:
    """Replaces every Split of a constant by its parts, in place; returns whether there was one."""
    splits = [node for node in model.graph.all_nodes() if node.op_type == "Split" and node.domain in {"", "ai.onnx"}]
    return sum(map(_fold, splits)) > 0


def _fold(node: ir.Node) -> bool:
    array, sizes = constant(input_of(node, 0)), constant(input_of(node, 1))
    graph = node.graph
    if array is None or graph is None:
        return False
    if (sizes is None and input_of(node, 1) is not None) or any(value.is_graph_output() for value in node.outputs):
        return False
    axis, count = node.attributes.get_int("axis", 0) or 0, len(node.outputs)
    largest = -(-array.shape[axis] // count)
    borders = np.cumsum(sizes[:-1]) if sizes is not None else [largest * index for index in range(1, count)]
    for value, part in zip(node.outputs, np.split(array, borders, axis), strict=True):
        value.replace_all_uses_with(add_constant(graph, f"{value.name}/part", np.ascontiguousarray(part)))
    graph.remove(node, safe=True)
    return True
