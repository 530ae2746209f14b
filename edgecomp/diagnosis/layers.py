"""The layers of a diagnosis: the places where a quantized model rounds values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.modules import module_of
from edgecomp.graph.query import origin
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.completion import passes_integers_through


@dataclass(frozen=True)
class Layer:
    """One place where values are rounded: a node with its weight and its fused activation, or only a tensor.

    Attributes:
        name: The name of the node, or of a tensor that is quantized on entry: a graph input, or the result of a float
            node.
        op_type: The operator of the node; "Input" for a graph input.
        module: The torch module that it came from, "" if unknown.
        tensor: The name of the value that is rounded; for weights alone, the value that they make inexact.
        nodes: The names of the nodes that compute in integers: the node and the activation that belongs to it. Empty
            for a tensor that is quantized on entry.
    """

    name: str
    op_type: str
    module: str
    tensor: str
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f", module {self.module}" if self.module else ""
        return f"{self.op_type} {self.name!r}{place}"


def layers_of(model: CompressedModel) -> list[Layer]:
    """Returns the layers of a quantized model in topological order.

    Operators that only move integers do not round, and are left out.
    """
    find = _of_weights if model.weights_only else _of_activations
    return list(find(model.graph.graph, model))


def _of_weights(graph: ir.Graph, model: CompressedModel) -> Iterator[Layer]:
    for node in graph:
        if any(value is not None and value.name in model.quantization for value in node.inputs):
            yield _layer(node, node.outputs[0], (node,))


def _of_activations(graph: ir.Graph, model: CompressedModel) -> Iterator[Layer]:
    table = model.quantization
    integer = {node for node in graph if scheme.runs_in_integers(node, table)}

    def enters(value: ir.Value) -> bool:
        return value.name in table and any(use.node in integer for use in value.uses())

    for value in graph.inputs:
        if enters(value):
            yield Layer(value.name or "", "Input", "", value.name or "")
    fused: set[ir.Node] = set()
    for node in graph:
        if node not in integer:
            yield from (_layer(node, value, ()) for value in node.outputs if enters(value))
        elif node not in fused and not passes_integers_through(node):
            activation = scheme.fused_activation(node)
            nodes = (node,) if activation is None or activation not in integer else (node, activation)
            fused.update(nodes)
            yield _layer(node, nodes[-1].outputs[0], nodes)


def _layer(node: ir.Node, value: ir.Value, nodes: tuple[ir.Node, ...]) -> Layer:
    _, op_type = origin(node)  # its name is not used, because each of several pieces of one node has its own
    return Layer(node.name or "", op_type, module_of(node), value.name or "", tuple(each.name or "" for each in nodes))
