"""Writes ONNX nodes that compute whole numbers from the shapes of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.size_vectors import Arithmetic, SizeVectors
from edgecomp.graph.sizes import Expression
from edgecomp.graph.values import add_constant


class SizeNodes(SizeVectors[ir.Value]):
    """Nodes that one graph gets, each written once.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        super().__init__()
        self._graph = graph
        self._reader: ir.Node | None = None
        self._shapes: dict[object, ir.Value] = {}
        self._names = {value.name for node in graph for value in node.outputs} | set(graph.initializers)

    def read_by(self, node: ir.Node, parts: Sequence[Expression[tuple[ir.Value, int]]], like: Array) -> ir.Value:
        """The numbers that `parts` stand for, in front of the node that reads them.

        Args:
            node: The reader.
            parts: One for each number.
            like: An array of the dtype and rank that the reader expects.
        """
        self._reader = node
        if not any(part.places for part in parts):
            return self._array(np.array([part.addend for part in parts], like.dtype).reshape(like.shape))
        result = self.vector(parts)
        if like.dtype != np.int64:
            result = self._add("Cast", [result], len(parts), to=ir.DataType.from_numpy(like.dtype))
        return result if like.ndim else self._add("Squeeze", [result, self.constant([0])], None)

    def constant(self, numbers: Sequence[int]) -> ir.Value:
        """An initializer."""
        return self._array(np.array(numbers, np.int64))

    def sizes(self, tensor: ir.Value, axes: Sequence[int]) -> ir.Value:
        """Shape and Gather."""
        rank = len(tensor.shape or ())
        if tensor not in self._shapes:
            self._shapes[tensor] = self._add("Shape", [tensor], rank)
        if list(axes) == list(range(rank)):
            return self._shapes[tensor]
        key = (tensor, *axes)
        if key not in self._shapes:
            self._shapes[key] = self._add("Gather", [self._shapes[tensor], self.constant(axes)], len(axes), axis=0)
        return self._shapes[key]

    def combine(self, name: Arithmetic, left: ir.Value, right: ir.Value) -> ir.Value:
        """Mul, Add or Div: sizes are positive, so that Div rounds down."""
        return self._add(name, [left, right], 1)

    def join(self, pieces: Sequence[ir.Value], length: int) -> ir.Value:
        """Concat."""
        return self._add("Concat", pieces, length, axis=0)

    def _add(self, op_type: str, inputs: Sequence[ir.Value], length: int | None, **attributes: Any) -> ir.Value:
        made = ir.node(op_type, list(inputs), attributes or None)
        result = made.outputs[0]
        result.name = made.name = self._name(f"{inputs[0].name}/{op_type.lower()}")
        result.shape = ir.Shape([] if length is None else [length])
        result.type = ir.TensorType(attributes.get("to") or (inputs[0].dtype if length is None else None) or _INT64)
        assert self._reader is not None, "read_by comes first"
        self._graph.insert_before(self._reader, made)
        return result

    def _array(self, array: Array) -> ir.Value:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._shapes:
            name = self._name(f"sizes/{array.dtype.name}/" + "_".join(map(str, array.reshape(-1))))
            self._shapes[key] = add_constant(self._graph, name, array)
        return self._shapes[key]

    def _name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


_INT64 = ir.DataType.INT64
