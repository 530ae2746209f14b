"""Finds which tensors of a quantized graph are rounded, and which nodes read them rounded, as `quantization.qdq`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.query import input_of, is_constant
from edgecomp.quantization import scheme
from edgecomp.quantization.completion import passes_integers_through
from edgecomp.quantization.groups import group_activations
from edgecomp.quantization.parameters import IntegerType, QuantizationParameters

Table = Mapping[str, QuantizationParameters]

DOMAIN, ROUND = "edgecomp.training", "Round"


@dataclass(frozen=True)
class Grid:
    """Tensors that share quantization parameters.

    Attributes:
        members: Their names.
        parameters: The parameters at the start of training.
        learned: Whether the scheme allows to change the parameters.
        weight: Whether it is the weight of a node.
    """

    members: tuple[str, ...]
    parameters: QuantizationParameters
    learned: bool = True
    weight: bool = False


def grids(graph: ir.Model, table: Table) -> list[Grid]:
    """Returns the groups of activations that the table was made for, and each weight."""
    found = []
    seen: set[str] = set()
    for group in group_activations(graph.clone().graph, _activation_type(graph, table)):
        members = tuple(name for name in group.members if name in table and name not in seen)
        seen.update(members)
        # The step that filled the table may have split a group on purpose.
        for parameters in dict.fromkeys(table[name] for name in members):
            same = tuple(name for name in members if table[name] == parameters)
            found.append(Grid(same, parameters, learned=group.fixed is None))
    for node in graph.graph:
        if scheme.has_constant_weight(node) and scheme.runs_in_integers(node, table):
            assert node.inputs[1] is not None
            name = node.inputs[1].name or ""
            if name not in seen:
                found.append(Grid((name,), table[name], weight=True))
                seen.add(name)
    return found


def insert_rounding(graph: ir.Model, table: Table, numbered: list[Grid]) -> None:
    """Inserts a node `Round` behind every tensor that is rounded; its attribute `grid` is the grid's number.

    Args:
        graph: Changed in place.
        table: The quantization table of its tensors.
        numbered: The grids.
    """
    number = {name: index for index, grid in enumerate(numbered) for name in grid.members}
    integer = {id(node) for node in graph.graph if scheme.runs_in_integers(node, table)}
    graph.graph.opset_imports[DOMAIN] = 1
    produced = [value for node in graph.graph for value in node.outputs]
    for value in (*graph.graph.inputs, *produced, *graph.graph.initializers.values()):
        if value.name in number and not _is_rounded_already(value, table, integer):
            _round(graph.graph, value, number[value.name], integer)


def _is_rounded_already(value: ir.Value, table: Table, integer: set[int]) -> bool:
    """Tells whether the producer only moves rounded values, or a fused activation is rounded instead."""
    producer = value.producer()
    if producer is None or id(producer) not in integer:
        return False
    if passes_integers_through(producer):
        return True
    activation = scheme.fused_activation(producer)
    result = None if activation is None else activation.outputs[0].name
    return activation is not None and id(activation) in integer and table[result or ""] == table[value.name or ""]


def _round(graph: ir.Graph, value: ir.Value, number: int, integer: set[int]) -> None:
    """Rounds a tensor: a float one only for nodes that run in integers, the result of such a node for all readers."""
    producer, uses, is_output = value.producer(), tuple(value.uses()), value.is_graph_output()
    if producer is None or id(producer) not in integer:
        uses, is_output = tuple(use for use in uses if id(use.node) in integer), False
    if not uses and not is_output:
        return
    node = ir.node(ROUND, [value], {"grid": number}, domain=DOMAIN, name=f"{value.name}/round")
    result = node.outputs[0]
    result.name, result.shape, result.type = f"{value.name}/rounded", value.shape, value.type
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    if is_output:
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
    if producer is not None:
        graph.insert_after(producer, node)
    else:
        first = next(each for each in graph if any(use.node is each for use in uses))
        graph.insert_before(first, node)


def _activation_type(graph: ir.Model, table: Table) -> IntegerType:
    """Returns the integer type of the activations."""
    produced = (value for node in graph.graph for value in node.outputs)
    names = (value.name or "" for value in (*graph.graph.inputs, *produced))
    return next((table[name].dtype for name in names if name in table), "int8")


def rounded_constants(graph: ir.Graph, table: Table, weights: set[str]) -> list[ir.Value]:
    """Returns constants that are stored as integers and are neither weights nor biases; they are not trained."""
    biases = {bias.name for node in graph if node.op_type in scheme.WEIGHTED and (bias := input_of(node, 2))}
    return [
        value
        for name, value in graph.initializers.items()
        if name in table and name not in weights and name not in biases and is_constant(value)
    ]
