"""Gives each operator of a quantized model a weight of its own.

In the mode that gives x86 exact sums, ONNX Runtime 1.31 cannot open a model whose operators share int8 weights, such as
the steps of an unrolled recurrent layer: it converts the weight to unsigned once for each reader, under the same name.
In the file weights stay shared; copies are only made in memory, for that mode.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copies weights, in place, so that no two operators read the same integer weight."""
    nodes = list(_Unsharing(model.graph).nodes())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


class _Unsharing:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        #: The node that dequantizes a weight, by its output.
        self._makers: dict[str, onnx.NodeProto] = {}
        self._taken: set[str] = set()
        self._copies = 0

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yields the graph's nodes and the new ones, in topological order."""
        read: set[str] = set()
        for node in self._graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
                self._give_own_constants(node)
                self._makers[node.output[0]] = node
            for index, name in enumerate(node.input):
                if name in read and name in self._makers:
                    copy = onnx.NodeProto()
                    copy.CopyFrom(self._makers[name])
                    self._give_own_constants(copy)
                    copy.name = copy.output[0] = node.input[index] = f"{name}/{self._copies}"
                    yield copy
                read.add(name)
            yield node

    def _give_own_constants(self, maker: onnx.NodeProto) -> None:
        """Gives a node integers and a zero point that no earlier node uses."""
        for index in (0, 2):
            name = maker.input[index] if index < len(maker.input) else ""
            if name in self._taken:
                self._copies += 1
                tensor = self._graph.initializer.add()
                tensor.CopyFrom(self._constants[name])
                tensor.name = maker.input[index] = f"{name}/{self._copies}"
            elif name in self._constants:
                self._taken.add(name)
