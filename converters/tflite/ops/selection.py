"""Operators that find the largest values and their indices."""

from __future__ import annotations

from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, stored_shape
from edgecomp.converters.tflite.lowering import type_of
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import computed, number
from edgecomp.converters.tflite.ops.reduction import without
from edgecomp.graph.query import shape_of


def _last(layout: Layout, axis: int) -> Layout:
    """Moves a dimension of a layout to the end."""
    return (*(dimension for dimension in layout if dimension != axis), axis)


def arg_extreme(operation: Operation, name: str) -> None:
    """ArgMax and ArgMin -> ARG_MAX and ARG_MIN; the last of equal values is the first in the reversed dimension."""
    attributes = operation.node.attributes
    shape, layout, source = operation.shape(0), operation.layout(0), operation.input(0)
    axis = (attributes.get_int("axis", 0) or 0) % len(shape)
    place = layout.index(axis)
    last = bool(attributes.get_int("select_last_index", 0))
    if last:
        backwards = operation.temporary(source, suffix="backwards")
        axes = operation.lowering.integers([place], "axes")
        operation.emit("REVERSE_V2", [source, axes], [backwards], schema.ReverseV2OptionsT())
        source = backwards
    options = schema.ArgMaxOptionsT() if name == "ARG_MAX" else schema.ArgMinOptionsT()
    options.outputType = schema.TensorType.INT32
    found = operation.builder.tensor(
        f"{operation.node.name}/indices", (*source.shape[:place], *source.shape[place + 1 :]), "int32"
    )
    dimension = operation.builder.constant("axis", np.array(place, np.int32))
    operation.emit(name, [source, dimension], [found], options)
    if last:
        found = computed(operation, "SUB", number(operation, found, shape[axis] - 1), found)
    keep = attributes.get_int("keepdims", 1) == 1
    _give(operation, found, layout if keep else without(layout, (axis,)), 0)


def _give(operation: Operation, found: Tensor, layout: Layout, index: int) -> None:
    """Reshapes and casts int32 indices to an output of the node."""
    value = operation.node.outputs[index]
    shaped = operation.lowering.reshape(found, stored_shape(shape_of(value), layout), f"{value.name}/indices")
    operation.alias(operation.cast(shaped, type_of(value)), layout, index)


def top_k(operation: Operation) -> None:
    """TopK -> TOPK_V2 over the last dimension; the smallest values are the largest of the negated ones."""
    attributes = operation.node.attributes
    shape, layout = operation.shape(0), operation.layout(0)
    count = operation.builder.constant("k", np.array(operation.constant(1).reshape(-1)[0], np.int32))
    layout = _last(layout, (attributes.get_int("axis", -1) or 0) % len(shape))
    source = operation.input(0, layout)
    largest = bool(attributes.get_int("largest", 1))
    if not largest:
        source = _reversed(operation, source)
    sizes = stored_shape(shape_of(operation.node.outputs[0]), layout)
    numbers = operation.temporary(source, sizes, "values")
    indices = operation.builder.tensor(f"{operation.node.name}/indices", sizes, "int32")
    operation.emit("TOPK_V2", [source, count], [numbers, indices], schema.TopKV2OptionsT())
    operation.alias(numbers if largest else _reversed(operation, numbers), layout)
    _give(operation, indices, layout, 1)


def _reversed(operation: Operation, tensor: Tensor) -> Tensor:
    """Reverses the order of values; for integers by -1 - x, because the lowest one has no negative."""
    if tensor.dtype.startswith("float"):
        return computed(operation, "NEG", tensor)
    ones = operation.builder.constant("ones", np.invert(np.zeros((), tensor.dtype)))
    return computed(operation, "SUB", ones, tensor)


LOWERINGS: dict[str, LoweringFunction] = {
    "ArgMax": partial(arg_extreme, name="ARG_MAX"),
    "ArgMin": partial(arg_extreme, name="ARG_MIN"),
    "TopK": top_k,
}
