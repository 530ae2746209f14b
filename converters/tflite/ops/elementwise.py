"""Layouts and helpers of elementwise operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, stored_shape
from edgecomp.converters.tflite.operation import Operation
from edgecomp.graph.query import is_constant, shape_of


def unary(operation: Operation) -> tuple[Tensor, Tensor]:
    """Returns input and output of an operator that keeps shape and layout."""
    source = operation.input(0)
    return source, operation.output(operation.layout(0))


def options_of(name: str) -> Any:
    """Returns an operator's default options in the schema; None if it has none."""
    if name in {"MAXIMUM", "MINIMUM"}:
        return schema.MaximumMinimumOptionsT()
    options = getattr(schema, "".join(part.capitalize() for part in name.split("_")) + "OptionsT", None)
    return None if options is None else options()


def computed(operation: Operation, name: str, *tensors: Tensor, dtype: str | None = None) -> Tensor:
    """Emits an operator on real tensors that broadcast, and returns the intermediate result.

    Args:
        operation: The node that it belongs to.
        name: TFLite's operator.
        tensors: Its inputs.
        dtype: The dtype of the result, if different from that of the last input.
    """
    shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    result = operation.builder.tensor(
        f"{operation.node.name}/{name.lower()}", shape, tensors[-1].dtype if dtype is None else dtype
    )
    operation.emit(name, tensors, [result], options_of(name))
    return result


def number(operation: Operation, like: Tensor, value: float) -> Tensor:
    """Returns a scalar constant with the type of another tensor."""
    return operation.builder.constant("number", np.array(value, like.dtype))


def common_layout(operation: Operation, indices: Sequence[int]) -> Layout:
    """Returns the layout that moves the fewest elements now and later, among those of the full-rank inputs."""
    values = [operation.value(index) for index in indices]
    rank = max(len(shape_of(value)) for value in values)
    candidates = [
        operation.lowering.layout(value) for value in values if len(shape_of(value)) == rank and not is_constant(value)
    ]

    outlook, result = operation.lowering.outlook, operation.node.outputs[0]
    if len(set(candidates)) > 1:
        candidates += [layout for layout in outlook.wanted(result) if len(layout) == rank]

    def moved(layout: Layout) -> int:
        now = sum(math.prod(shape_of(value)) for value in values if not _has(operation, value, layout))
        return now + outlook.cost(result, layout)

    return min(candidates, key=moved, default=tuple(range(rank)))


def last(operation: Operation, axis: int) -> Layout:
    """Returns the cheapest layout of input 0, and of a result of the same rank, that has `axis` last."""
    layout, result = operation.layout(0), operation.node.outputs[0]
    if layout[-1] == axis:
        return layout
    moved = (*(dimension for dimension in layout if dimension != axis), axis)
    wanted = [each for each in operation.lowering.outlook.wanted(result) if len(each) == len(layout)]
    return operation.lowering.cheapest(
        operation.value(0), result, [moved, *(each for each in wanted if each[-1] == axis)]
    )


def _has(operation: Operation, value: ir.Value, layout: Layout) -> bool:
    missing = len(layout) - len(shape_of(value))
    if missing:
        wide = (1,) * missing + shape_of(value)
        source = (*range(missing), *(dimension + missing for dimension in operation.lowering.layout(value)))
        return [d for d in source if wide[d] != 1] == [d for d in layout if wide[d] != 1]
    return operation.lowering.has(value, layout)


def broadcastable(operation: Operation, index: int, layout: Layout) -> Tensor:
    """Returns an input in `layout`, with leading dimensions of size 1 if it has a lower rank."""
    value = operation.value(index)
    shape = shape_of(value)
    missing = len(layout) - len(shape)
    if missing == 0:
        return operation.input(index, layout)
    wide = (1,) * missing + shape
    array = operation.array(value)
    if array is not None:
        parameters = operation.parameters(value)
        stored = np.transpose(array.reshape(wide), layout)
        # A shape of ones would keep the kernel from its fast path for scalars.
        stored = stored.reshape(()) if stored.size == 1 else stored
        data = stored if parameters is None else parameters.quantize(stored)
        return operation.builder.constant(value.name or "operand", data, parameters)
    own = [dimension - missing for dimension in layout if dimension >= missing]
    tensor = operation.input(index, tuple(own))
    return operation.lowering.reshape(tensor, stored_shape(wide, layout), f"{tensor.name}/wide")
