"""Operators that only give memory another shape, joined and dropped.

Rules, cited by number where they are applied:

1. Of two in a row the second says it all.
2. One that gives its input's own shape goes.
3. A Transpose that only moves dimensions of size 1 is a Reshape.
4. A Softmax over the last dimension does not see the dimensions in front: reshapes around it that leave the last one
   alone go. Raising an old Softmax to a new opset leaves such.
5. A Slice that takes everything goes.
6. An operator on single numbers comes before a Reshape rather than behind it: what computed its input can fuse it, and
   reshapes meet.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.graph.query import only_consumer
from edgecomp.graph.values import add_constant, take_place

_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})

#: Operators on single numbers, whose other inputs, if any, are single numbers too (rule 6).
_SINGLE = frozenset(
    """
    Abs Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish Neg Reciprocal Relu Selu Sigmoid Softplus
    Softsign Sqrt Tanh ThresholdedRelu
    """.split()  # noqa: SIM905 -- one name a line would be 22 lines
)


def join_reshapes(model: ir.Model) -> bool:
    """Applies the rules to every node of known shape, in place; returns whether one applied."""
    graph, changed = model.graph, False
    for node in graph:
        if node.domain != "" or not node.inputs or not _are_static(node.inputs[0], node.outputs[0]):
            continue
        if node.op_type in _RESHAPES:
            changed |= _join(graph, node)
            changed |= _drop(graph, node) or _unwrap_softmax(graph, node) or _sink(graph, node)
        elif node.op_type == "Transpose":
            changed |= _is_reshape(node) and _write(graph, node)
        elif node.op_type == "Slice":
            changed |= _drop(graph, node)
    return changed


def _drop(graph: ir.Graph, node: ir.Node) -> bool:
    """Rules 2 and 5. (A Slice of the input's size with a negative step turns it round.)"""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape != result.shape or result.is_graph_output():
        return False
    if node.op_type == "Slice" and len(node.inputs) > 4:
        steps = node.inputs[4]
        if steps is None or steps.const_value is None or (steps.const_value.numpy() < 0).any():
            return False
    result.replace_all_uses_with(source)
    graph.remove(node, safe=True)
    return True


def _join(graph: ir.Graph, node: ir.Node) -> bool:
    """Rule 1."""
    source = node.inputs[0]
    before = source.producer() if source is not None else None
    if before is None or before.op_type not in _RESHAPES or before.domain != "" or not _are_static(before.inputs[0]):
        return False
    if source is None or source.is_graph_output():
        return False
    node.replace_input_with(0, before.inputs[0])
    return _write(graph, node)


def _unwrap_softmax(graph: ir.Graph, node: ir.Node) -> bool:
    """Rule 4."""
    wide = node.outputs[0]
    softmax = node.inputs[0].producer() if node.inputs[0] is not None else None
    if (
        softmax is None
        or softmax.op_type not in {"Softmax", "LogSoftmax"}
        or only_consumer(softmax.outputs[0]) is not node
    ):
        return False
    flat = softmax.inputs[0]
    before = flat.producer() if flat is not None else None
    if before is None or before.op_type not in _RESHAPES or flat is None or flat.shape is None or wide.shape is None:
        return False
    source, rank = before.inputs[0], len(flat.shape)
    last = (softmax.attributes.get_int("axis", -1) or 0) % rank == rank - 1
    if source is None or source.shape != wide.shape or not last or wide.shape[-1] != flat.shape[-1]:
        return False
    softmax.replace_input_with(0, source)
    softmax.attributes["axis"] = ir.AttrInt64("axis", -1)
    result = softmax.outputs[0]
    result.shape = wide.shape
    take_place(result, wide)
    graph.remove(node, safe=True)
    return True


def _sink(graph: ir.Graph, node: ir.Node) -> bool:
    """Rule 6."""
    source, shaped = node.inputs[0], node.outputs[0]
    single = only_consumer(shaped)
    if source is None or single is None or single.op_type not in _SINGLE or not _are_static(single.outputs[0]):
        return False
    result = single.outputs[0]
    if shaped.is_graph_output() or result.is_graph_output() or only_consumer(source) is not node:
        return False
    single.replace_input_with(0, source)
    result.replace_all_uses_with(shaped)
    node.replace_input_with(0, result)
    graph.remove(single)
    graph.insert_before(node, single)
    result.shape, name = source.shape, result.name
    result.name, shaped.name = shaped.name, name
    return True


def _is_reshape(node: ir.Node) -> bool:
    """Rule 3."""
    source = node.inputs[0]
    assert source is not None
    assert source.shape is not None
    permutation = node.attributes.get_ints("perm", None) or tuple(reversed(range(len(source.shape))))
    moved = [dimension for dimension in permutation if source.shape[dimension] != 1]
    return moved == sorted(moved)


def _write(graph: ir.Graph, node: ir.Node) -> bool:
    """Makes `node` a Reshape to the shape of its output."""
    result = node.outputs[0]
    assert result.shape is not None
    shape = np.array(result.shape.numpy(), np.int64)
    target = add_constant(graph, f"{result.name}/shape", shape)
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(1, target)
    return True


def _are_static(*values: ir.Value | None) -> bool:
    return all(value is not None and value.shape is not None and value.shape.is_static() for value in values)
