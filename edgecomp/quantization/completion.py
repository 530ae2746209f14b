"""Makes a quantization table that came with a source obey the scheme.

Quantizers leave gaps where their runtime needs no parameters (between a Conv and its Relu, behind a Reshape), and
differ where the portable scheme shares parameters. Gaps are filled where that changes no number; where the source
contradicts a rule, an Identity changes the parameters. Rules are the scheme's, cited by number.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, describe, input_of, is_constant, only_consumer, required_constant
from edgecomp.graph.values import add_constant
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters

Table = dict[ir.Value, QuantizationParameters]


def complete(graph: ir.Graph, table: Table) -> list[str]:
    """Fills gaps and settles contradictions.

    Args:
        graph: Gets Identity nodes where parameters change; changed in place.
        table: Parameters by value; changed in place.

    Returns:
        A sentence for everything that the scheme holds differently from the source.
    """
    notes = _drop_foreign_weights(graph, table)
    while _share_forwards(graph, table) or _share_backwards(graph, table):
        pass
    notes += _settle(graph, table)
    notes += _complete_biases(graph, table)
    return notes


def passes_integers_through(node: ir.Node) -> bool:
    """Whether quantizing before `node` and after it gives the same integers: it moves or selects data only."""
    if node.op_type not in scheme.OPERATORS or scheme.OPERATORS[node.op_type].output != "input":
        return False
    match node.op_type:
        case "AveragePool":
            return False
        case "Resize":
            return node.attributes.get_string("mode", "nearest") == "nearest"
        case "Pad":
            # Zero is exact in every parameters (rule 2); another number may not be.
            filler = constant(input_of(node, 2))
            written = node.attributes.get_float("value", 0.0)
            computed = filler is None and input_of(node, 2) is not None
            return not computed and not written and (filler is None or not filler.any())
        case _:
            return True


def _drop_foreign_weights(graph: ir.Graph, table: Table) -> list[str]:
    """Rule 1: weights with a zero point, or with scales along another dimension, stay in float."""
    notes = []
    for node in graph:
        if not scheme.has_constant_weight(node):
            continue
        weight = node.inputs[1]
        assert weight is not None
        entry = table.get(weight)
        if entry is None:
            continue
        if entry.zero_point.any():
            reason = "its weight has a zero point"
        elif entry.dtype != "int8":
            reason = f"its weight is {entry.dtype}"
        elif entry.per_channel and entry.axis != scheme.weight_axis(node):
            reason = f"its weight has a scale for each slice of dimension {entry.axis}"
        else:
            continue
        del table[weight]
        notes.append(f"{describe(node)} stays in float: {reason}")
    return notes


def _inputs(node: ir.Node) -> list[ir.Value]:
    return [value for value in scheme.data_inputs(node) if not is_constant(value)]


def _share_forwards(graph: ir.Graph, table: Table) -> bool:
    """Rule 5: what a mover gives lies on its inputs' grid."""
    changed = False
    for node in graph:
        if not (scheme.is_quantizable(node) and passes_integers_through(node)):
            continue
        sources = [table.get(value) for value in scheme.data_inputs(node)]
        if sources[0] is None or any(entry != sources[0] for entry in sources):
            continue
        for value in node.outputs:
            if value not in table:
                table[value] = sources[0]
                changed = True
    return changed


def _share_backwards(graph: ir.Graph, table: Table) -> bool:
    """Rules 5 and 6: rounding before a mover, or before a clip that is fused, equals rounding behind it."""
    changed = False
    for node in reversed(graph):
        if not scheme.is_quantizable(node):
            continue
        activation = scheme.fused_activation(node)
        if activation is not None and node.outputs[0] not in table and activation.outputs[0] in table:
            table[node.outputs[0]] = table[activation.outputs[0]]
            changed = True
        if not passes_integers_through(node):
            continue
        results = [table.get(value) for value in node.outputs]
        if results[0] is None or any(entry != results[0] for entry in results):
            continue
        for value in _inputs(node):
            if value not in table and only_consumer(value) is node:
                table[value] = results[0]
                changed = True
    return changed


def _settle(graph: ir.Graph, table: Table) -> list[str]:
    """Rules 4 and 5 where the source has other parameters."""
    notes = []
    for node in tuple(graph):
        if not scheme.is_quantizable(node) or any(value not in table for value in (*_inputs(node), *node.outputs)):
            continue
        rule = scheme.OPERATORS[node.op_type]
        wanted = scheme.fixed_parameters(node)
        if rule.output == "input":
            if len(_inputs(node)) > 1:
                _convert_inputs(graph, node, table)
            wanted = table[_inputs(node)[0]] if _inputs(node) else None
        if wanted is None:
            continue
        for value in node.outputs:
            if table[value] != wanted:
                if not (rule.output == "input" and passes_integers_through(node)):
                    notes.append(f"{describe(node)} rounds twice: its output has parameters unlike the scheme's")
                _convert_output(graph, node, value, wanted, table)
    return notes


def _convert_inputs(graph: ir.Graph, node: ir.Node, table: Table) -> None:
    """Lets a Concat read its inputs with its output's parameters."""
    wanted = table[node.outputs[0]]
    for index, value in enumerate(node.inputs):
        if value is None or is_constant(value) or table.get(value, wanted) == wanted:
            continue
        name = f"{value.name}/requantized_for/{node.name}/{index}"
        copy = _identity(value, name)
        graph.insert_before(node, copy)
        node.replace_input_with(index, copy.outputs[0])
        table[copy.outputs[0]] = wanted


def _convert_output(
    graph: ir.Graph, node: ir.Node, value: ir.Value, wanted: QuantizationParameters, table: Table
) -> None:
    """Puts a change of parameters behind `node`; the name stays with what others read."""
    name = value.name or ""
    copy = _identity(value, f"{name}/requantized")
    result = copy.outputs[0]
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    copy.replace_input_with(0, value)
    graph.insert_after(node, copy)
    value.name = f"{name}/unscaled"
    result.name = name
    table[result], table[value] = table[value], wanted


def _identity(value: ir.Value, name: str) -> ir.Node:
    node = ir.node("Identity", [value], name=name)
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = name, value.shape, value.type
    return node


def _complete_biases(graph: ir.Graph, table: Table) -> list[str]:
    """Rule 3."""
    notes = []
    for node in tuple(graph):
        bias = input_of(node, 2) if scheme.has_constant_weight(node) else None
        if bias is None or not is_constant(bias):
            continue
        source, weight = (table.get(value) for value in node.inputs[:2])  # type: ignore[arg-type]
        if source is None or weight is None or node.outputs[0] not in table:
            if table.pop(bias, None) is not None:
                notes.append(f"the bias of {describe(node)} stays in float, like the node")
            continue
        array = required_constant(bias)
        scale = source.scale * weight.scale
        wanted = QuantizationParameters(scale, np.zeros_like(scale, np.int32), "int32", None if scale.ndim == 0 else 0)
        if scale.ndim and array.shape != scale.shape:
            notes.append(f"{describe(node)} stays in float: its bias has the shape {array.shape}")
            table.pop(bias, None)
            continue
        entry = table.get(bias)
        if entry is not None and _same_scale(entry, wanted):
            continue
        if entry is not None:
            notes.append(f"the bias of {describe(node)} is rounded again: its scale was not input scale x weight scale")
        if entry is not None or len(tuple(bias.uses())) > 1:
            bias = _own_bias(graph, node, bias, array)
        table[bias] = wanted
    return notes


def _same_scale(entry: QuantizationParameters, wanted: QuantizationParameters) -> bool:
    """Equal up to float32's rounding, with one scale written once or once per channel."""
    return (
        entry.dtype == "int32"
        and not entry.zero_point.any()
        and bool(np.allclose(entry.scale, wanted.scale, rtol=1e-6, atol=0))
    )


def _own_bias(graph: ir.Graph, node: ir.Node, bias: ir.Value, array: Array) -> ir.Value:
    copy = add_constant(graph, f"{bias.name}/of/{node.name}", array)
    node.replace_input_with(2, copy)
    return copy
