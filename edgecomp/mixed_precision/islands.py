"""Islands: finds the nodes that must compute in float, or with int16 activations, so that a layer stays exact.

Rules, cited by number where they are applied:

1. A tensor is not rounded if its producer and all its readers compute in float. So the island around a layer contains
   its node, the activation that belongs to it, and its readers, also those behind operators that only move data.
2. An operator without weights joins the islands if all its producers and all its readers are in islands: conversions at
   its borders would cost more than integers save.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

import onnx_ir as ir

from edgecomp.errors import SourceError
from edgecomp.graph.modules import module_of
from edgecomp.graph.query import is_constant, is_float, origin
from edgecomp.quantization import scheme

#: The precision of an island.
Island = Literal["float32", "int16x8"]


def keep_in_float(graph: ir.Graph, layers: Sequence[str], precision: Island = "float32") -> list[str]:
    """Marks the islands around layers with `scheme.PRECISION_KEY`, in place.

    Args:
        graph: Float.
        layers: Names of nodes, of graph inputs or of torch modules; a module stands for all of its nodes.
        precision: The precision of the islands. Nodes that are marked already keep theirs.

    Returns:
        The names of the marked nodes, in topological order.

    Raises:
        SourceError: Nothing in the graph has one of the names.
    """
    island: set[ir.Node] = set()
    for name in layers:
        for value in _values_of(graph, name):
            island |= around(value)
    island = joined(graph, island)
    for node in island:
        node.metadata_props.setdefault(scheme.PRECISION_KEY, precision)
    return [node.name or "" for node in graph if node in island]


def around(value: ir.Value) -> set[ir.Node]:
    """Returns the island that keeps one tensor from being rounded: rule 1."""
    producer = value.producer()
    island: set[ir.Node] = set() if producer is None else {producer}
    if producer is not None and (activated := _activates(producer)) is not None:
        island.add(activated)
    waiting = [value]
    while waiting:
        for use in waiting.pop().uses():
            node = use.node
            if node in island:
                continue
            island.add(node)
            if node.op_type in scheme.OPERATORS and scheme.OPERATORS[node.op_type].output == "input":
                waiting.extend(node.outputs)
            elif (activation := scheme.fused_activation(node)) is not None:
                island.add(activation)  # otherwise its input would be rounded
    return island


def joined(graph: ir.Graph, island: set[ir.Node]) -> set[ir.Node]:
    """Adds the nodes that lie between islands only: rule 2."""
    island = set(island)
    grown = True
    while grown:
        grown = False
        for node in graph:
            if node not in island and _lies_between(node, island):
                island.add(node)
                grown = True
    return island


def _lies_between(node: ir.Node, island: set[ir.Node]) -> bool:
    if scheme.has_constant_weight(node) or any(value.is_graph_output() for value in node.outputs):
        return False
    sources = [value for value in node.inputs if is_float(value) and not is_constant(value)]
    readers = {use.node for value in node.outputs for use in value.uses()}
    givers = {value.producer() for value in sources if value is not None}
    return bool(givers and readers) and readers <= island and givers <= island


def _activates(activation: ir.Node) -> ir.Node | None:
    """Returns the node that an activation belongs to."""
    before = activation.inputs[0].producer() if activation.inputs and activation.inputs[0] is not None else None
    return before if before is not None and scheme.fused_activation(before) is activation else None


def _values_of(graph: ir.Graph, name: str) -> Iterable[ir.Value]:
    """Returns the tensors that a name stands for, each after the activation that belongs to its node."""
    nodes = [node for node in graph if name in (node.name, origin(node)[0])]
    nodes = nodes or [node for node in graph if f"{module_of(node)}.".startswith(f"{name}.")]
    values = [value for value in graph.inputs if value.name == name]
    for node in nodes:
        last = scheme.fused_activation(node) or node
        values.extend(last.outputs)
    if not values:
        known = {each for node in graph for each in (node.name or "", module_of(node)) if each}
        near = get_close_matches(name, sorted(known), n=3, cutoff=0.4)
        raise SourceError(
            f"--keep-float {name}",
            expected="the name of a node, of an input, or of a torch module",
            actual="the model has none of that name",
            cure=f"write one of {', '.join(near)}" if near else "take a name that edgecomp diagnose shows",
        )
    return values
