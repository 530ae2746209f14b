"""Products and sums with constants: taken into the weights before or behind them, into each other, or dropped.

Exporters leave them everywhere: a bias that is added behind its convolution, a learned scale and shift around an
activation, the division by 255 in front. Rules, cited by number where they are applied:

1. A factor 1 or an offset 0 goes.
2. Two factors, or two offsets, in a row become one.
3. Behind an operator with weights, a factor or offset per channel becomes part of weight and bias.
4. In front of operators with weights only, a factor per channel becomes part of the weights, and an offset part of the
   biases unless zeros are padded in between.
5. x * a + b in front of weights is (x + b / a) * a where this lets rule 4 take the factor.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, is_float, only_consumer
from edgecomp.graph.weights import (
    along_channels,
    has_weight,
    keeps_weight,
    register,
    scale_inputs,
    scale_outputs,
    shift_inputs,
    takes_offset,
)

_NEUTRAL = {"Mul": 1.0, "Add": 0.0}


def put_constants_last(model: ir.Model) -> bool:
    """Makes a constant the second operand of each Mul and Add, so that every pattern has to look there only."""
    changed = False
    for node in model.graph:
        if node.op_type not in _NEUTRAL or node.domain != "":
            continue
        first, second = node.inputs
        if constant(first) is not None and constant(second) is None:
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)
            changed = True
    return changed


def fold_affine(model: ir.Model) -> bool:
    """Applies the rules to every Mul and Add of a graph, in place; returns whether one applied."""
    graph, changed = model.graph, False
    for node in graph:
        if node.op_type in _NEUTRAL and node.domain == "" and is_float(node.outputs[0]):
            operand = constant(node.inputs[1])
            if operand is not None and _keeps_shape(node):
                changed |= any(rule(graph, node, operand) for rule in _RULES)
    return changed


def _keeps_shape(node: ir.Node) -> bool:
    source, result = node.inputs[0], node.outputs[0]
    return (
        source is not None and source.const_value is None and source.shape is not None and source.shape == result.shape
    )


def _drop_neutral(graph: ir.Graph, node: ir.Node, operand: Array) -> bool:
    """Rule 1."""
    if (operand != _NEUTRAL[node.op_type]).any() or node.outputs[0].is_graph_output():
        return False
    _bypass(graph, node)
    return True


def _join(graph: ir.Graph, node: ir.Node, operand: Array) -> bool:
    """Rule 2."""
    source = node.inputs[0]
    before = source.producer() if source is not None else None
    if before is None or before.op_type != node.op_type or before.domain != "" or only_consumer(source) is not node:  # type: ignore[arg-type]
        return False
    other = constant(before.inputs[1])
    if other is None or not _keeps_shape(before):
        return False
    joint = other * operand if node.op_type == "Mul" else other + operand
    node.replace_input_with(1, register(graph, f"{node.outputs[0].name}/joint", joint))
    _bypass(graph, before)
    return True


def _fold_back(graph: ir.Graph, node: ir.Node, operand: Array) -> bool:
    """Rule 3."""
    source, result = node.inputs[0], node.outputs[0]
    before = source.producer() if source is not None else None
    if source is None or before is None or not has_weight(before) or only_consumer(source) is not node:
        return False
    numbers = along_channels(operand, len(source.shape or ()), before, output=True)
    if numbers is None:
        return False
    neutral = np.zeros(1) if node.op_type == "Mul" else np.ones(1)
    pair = (numbers, neutral) if node.op_type == "Mul" else (neutral, numbers)
    if not scale_outputs(graph, before, *(each.astype(np.float64) for each in pair)):
        return False
    name, result.name = result.name, None
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    source.name = name
    return True


def _fold_forward(graph: ir.Graph, node: ir.Node, operand: Array) -> bool:
    """Rule 4."""
    numbers = _numbers_per_channel(node, operand)
    readers = [use.node for use in node.outputs[0].uses()]
    if numbers is None or (node.op_type == "Add" and not all(takes_offset(reader) for reader in readers)):
        return False
    if node.op_type == "Mul" and any(map(keeps_weight, readers)):
        return False
    change = scale_inputs if node.op_type == "Mul" else shift_inputs
    for reader in readers:
        change(graph, reader, numbers.astype(np.float64))
    _bypass(graph, node)
    return True


def _swap(graph: ir.Graph, node: ir.Node, operand: Array) -> bool:
    """Rule 5; rule 4 takes the factor when it comes by next."""
    source = node.inputs[0]
    before = source.producer() if source is not None else None
    if node.op_type != "Add" or before is None or before.op_type != "Mul" or only_consumer(source) is not node:  # type: ignore[arg-type]
        return False
    factor = constant(before.inputs[1])
    if factor is None or not factor.all() or not _keeps_shape(before):
        return False
    if any(_numbers_per_channel(node, array) is None for array in (operand, factor)):
        return False
    offset = register(graph, f"{node.outputs[0].name}/offset", operand / factor)
    node.op_type, before.op_type = "Mul", "Add"
    node.replace_input_with(1, before.inputs[1])
    before.replace_input_with(1, offset)
    return True


def _numbers_per_channel(node: ir.Node, operand: Array) -> Array | None:
    """`operand` as one number for each channel of all the operators with weights that alone read `node`, or None."""
    result = node.outputs[0]
    uses = tuple(result.uses())
    if not uses or result.is_graph_output() or any(use.idx != 0 or not has_weight(use.node) for use in uses):
        return None
    every = [along_channels(operand, len(result.shape or ()), use.node, output=False) for use in uses]
    return every[0] if all(numbers is not None for numbers in every) else None


def _bypass(graph: ir.Graph, node: ir.Node) -> None:
    source = node.inputs[0]
    assert source is not None
    node.outputs[0].replace_all_uses_with(source)
    graph.remove(node, safe=True)


_RULES = (_drop_neutral, _join, _fold_back, _fold_forward, _swap)
