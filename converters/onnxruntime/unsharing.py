"""A quantized model in which no two operators read the same weight.

ONNX Runtime 1.31 cannot open a model whose operators share int8 weights, as the steps of an unrolled recurrent layer
do, in the mode that gives x86 exact sums: it makes a weight unsigned once for each reader, under one name. A file keeps
its weights shared; copies are made in memory, for that mode alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place, with a weight of its own for each operator that reads one in integers."""
    nodes = list(_Unsharing(model.graph).nodes())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


class _Unsharing:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        #: What dequantizes a weight, by what it gives.
        self._makers: dict[str, onnx.NodeProto] = {}
        self._taken: set[str] = set()
        self._copies = 0

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """The graph's nodes and the new ones, in topological order."""
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
        """Integers and a zero point that no node before has."""
        for index in (0, 2):
            name = maker.input[index] if index < len(maker.input) else ""
            if name in self._taken:
                self._copies += 1
                tensor = self._graph.initializer.add()
                tensor.CopyFrom(self._constants[name])
                tensor.name = maker.input[index] = f"{name}/{self._copies}"
            elif name in self._constants:
                self._taken.add(name)
