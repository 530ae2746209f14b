"""Puts nodes where ONNX wants them: behind those that make what they read.

Tools that are used with ONNX Runtime, which does not mind, append Casts at the end, for instance.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator

import onnx

from edgecomp.frontends.external_data import all_nodes


def order_nodes(graph: onnx.GraphProto) -> None:
    """Sorts the nodes of a graph and of its subgraphs, in place; nodes keep their order as far as they can.

    A cycle, which has no order, is left to the checker.
    """
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                order_nodes(attribute.g)
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in _read(node) if name in makers} for node in graph.node]
    if all(max(needed, default=-1) < index for index, needed in enumerate(needs)):
        return
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for index, needed in enumerate(needs):
        for maker in needed:
            readers[maker].append(index)
    open_needs = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(open_needs) if not count]
    order = []
    while ready:
        order.append(index := heapq.heappop(ready))
        for reader in readers[index]:
            open_needs[reader] -= 1
            if not open_needs[reader]:
                heapq.heappush(ready, reader)
    if len(order) == len(graph.node):
        nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in its subgraphs too."""
    yield from node.input
    for inner in all_nodes(node):
        yield from inner.input
