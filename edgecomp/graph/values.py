"""What passes do to values again and again: a new constant, and one value in the place of another."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import onnx_ir as ir


def add_constant(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """A new constant of the graph, under this name or one like it."""
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
    value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    graph.register_initializer(value)
    return value


def take_place(new: ir.Value, old: ir.Value) -> None:
    """Gives the readers of `old`, and the graph's outputs, `new` instead, under the old name."""
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
