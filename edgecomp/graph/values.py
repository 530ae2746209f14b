"""What passes do to values again and again: a new constant, and one value in the place of another."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecomp.arrays import Array


def add_constant(graph: ir.Graph, name: str, array: Array | np.generic) -> ir.Value:
    """A new constant of the graph, under this name or one like it."""
    array = np.asarray(array)  # what numpy computes from arrays of no dimensions is none itself
    while name in graph.initializers:
        name += "_"
    # Not ir.tensor(): it tries every protocol that an array could have, which takes longer than all the rest.
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


def take_place(new: ir.Value, old: ir.Value) -> None:
    """Gives the readers of `old`, and the graph's outputs, `new` instead, under the old name."""
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name, old.name = old.name, None
