"""Cuts a graph into blocks with one input and one output tensor, such as a residual unit or layers of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from edgecomp.graph.query import is_constant, is_float


@dataclass(frozen=True)
class Block:
    """The nodes between two sets of tensors.

    Attributes:
        inputs: Names; the graph's inputs for the first block.
        outputs: Names; the graph's outputs for the last block.
        nodes: In topological order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[ir.Node, ...]


def blocks(graph: ir.Graph, least: int = 1) -> Iterator[Block]:
    """Yields the blocks of a graph, in order.

    Args:
        graph: In topological order.
        least: The smallest number of nodes with a weight in a block; only the last block may have fewer.
    """
    last = {value: index for index, node in enumerate(graph) for value in node.inputs if value is not None}
    inputs = tuple(value.name or "" for value in graph.inputs)
    alive = set(graph.inputs)
    nodes: list[ir.Node] = []
    for index, node in enumerate(graph):
        nodes.append(node)
        alive |= {value for value in node.outputs if value.uses() or value.is_graph_output()}
        alive = {value for value in alive if last.get(value, -1) > index or value.is_graph_output()}
        weighted = sum(any(is_constant(value) for value in each.inputs[1:2]) for each in nodes)
        if len(alive) == 1 and weighted >= least:
            (value,) = alive
            if is_float(value) and not value.is_graph_output():
                yield Block(inputs, (value.name or "",), tuple(nodes))
                inputs, nodes = (value.name or "",), []
    if nodes:
        yield Block(inputs, tuple(value.name or "" for value in graph.outputs), tuple(nodes))
