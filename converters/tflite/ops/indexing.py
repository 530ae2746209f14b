"""Operators that read by index. ONNX counts negative indices from the end; TFLite does not support them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, identity
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import computed, number, options_of
from edgecomp.graph.query import shape_of


def indices(operation: Operation, index: int, sizes: npt.ArrayLike, layout: Layout | None = None) -> Tensor:
    """Returns an input with indices, converted to count from the front.

    Args:
        operation: The node.
        index: Which input.
        sizes: The sizes of the indexed dimensions; broadcasts against the indices.
        layout: The layout of the result; by default that of the source.
    """
    array = operation.array(operation.value(index))
    layout = layout or identity(len(operation.shape(index)))
    if array is not None:
        counted = np.where(array < 0, array + sizes, array).astype(np.int32)
        return operation.builder.constant("indices", counted.transpose(layout))
    source = operation.input(index, layout)
    size = operation.builder.constant("sizes", np.asarray(sizes, source.dtype))
    negative = computed(operation, "LESS", source, number(operation, source, 0), dtype="bool")
    return computed(operation, "SELECT_V2", negative, computed(operation, "ADD", source, size), source)


def flat(operation: Operation, tensor: Tensor) -> Tensor:
    """Reshapes a tensor to a vector."""
    return operation.lowering.reshape(tensor, (int(np.prod(tensor.shape)),), f"{tensor.name}/flat")


def flat_indices(operation: Operation, index: int, axis: int, shape: Sequence[int]) -> Tensor:
    """Converts indices along one axis to indices into the flattened tensor of `shape`, as a vector."""
    where = operation.shape(index)
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    grid = np.indices(where, np.int32)
    others = sum((grid[d] * strides[d] for d in range(len(shape)) if d != axis), np.zeros(where)).astype(np.int32)
    along = indices(operation, index, shape[axis])
    if along.data is not None:
        return operation.builder.constant("indices", (along.data * strides[axis] + others).astype(np.int32).reshape(-1))
    along = operation.cast(along, "int32")
    scaled = computed(operation, "MUL", along, number(operation, along, int(strides[axis])))
    return flat(operation, computed(operation, "ADD", scaled, operation.builder.constant("offsets", others)))


def gather(operation: Operation) -> None:
    """Gather -> GATHER."""
    shape, layout = operation.shape(0), operation.layout(0)
    axis = (operation.node.attributes.get_int("axis", 0) or 0) % len(shape)
    extra = len(operation.shape(1)) - 1
    place = layout.index(axis)
    moved = [dimension + extra if dimension > axis else dimension for dimension in layout]
    target: Layout = (*moved[:place], *range(axis, axis + extra + 1), *moved[place + 1 :])
    options = schema.GatherOptionsT()
    options.axis = place
    operation.emit(
        "GATHER", [operation.input(0), indices(operation, 1, shape[axis])], [operation.output(target)], options
    )


def gather_elements(operation: Operation) -> None:
    """GatherElements -> GATHER along the last axis with all others as batch, or from the flattened tensor."""
    shape, where = operation.shape(0), operation.shape(1)
    axis = (operation.node.attributes.get_int("axis", 0) or 0) % len(shape)
    others = [each for each in range(len(shape)) if each != axis]
    if all(shape[each] == where[each] for each in others):
        layout = (*others, axis)
        options = schema.GatherOptionsT()
        options.axis = options.batchDims = len(others)
        found = [operation.input(0, layout), indices(operation, 1, shape[axis], layout)]
        operation.emit("GATHER", found, [operation.output(layout)], options)
    else:
        _gather_flat_elements(operation, axis)


def _gather_flat_elements(operation: Operation, axis: int) -> None:
    shape = operation.shape(0)
    target = identity(len(shape))
    source = flat(operation, operation.input(0, target))
    where = flat_indices(operation, 1, axis, shape)
    found = operation.temporary(source, where.shape, "gathered")
    operation.emit("GATHER", [source, where], [found], schema.GatherOptionsT())
    result = operation.node.outputs[0]
    operation.alias(operation.lowering.reshape(found, shape_of(result), result.name or ""), target)


def gather_nd(operation: Operation) -> None:
    """GatherND -> GATHER_ND; batch dimensions become coordinates."""
    shape, where = operation.shape(0), operation.shape(1)
    batch = operation.node.attributes.get_int("batch_dims", 0) or 0
    coordinates = indices(operation, 1, np.array(shape[batch : batch + where[-1]], np.int32))
    if batch:
        grid = np.moveaxis(np.indices(where[:-1], np.int32)[:batch], 0, -1)
        coordinates = _joined(operation, operation.builder.constant("batch", grid), coordinates)
    source = operation.input(0, identity(len(shape)))
    target = identity(len(shape_of(operation.node.outputs[0])))
    operation.emit("GATHER_ND", [source, coordinates], [operation.output(target)], schema.GatherNdOptionsT())


def _joined(operation: Operation, left: Tensor, right: Tensor) -> Tensor:
    if right.data is not None:
        return operation.builder.constant("indices", np.concatenate([left.data, right.data], axis=-1))
    right = operation.cast(right, "int32")
    options = schema.ConcatenationOptionsT()
    options.axis = len(left.shape) - 1
    result = operation.temporary(right, (*left.shape[:-1], left.shape[-1] + right.shape[-1]), "coordinates")
    operation.emit("CONCATENATION", [left, right], [result], options)
    return result


def one_hot(operation: Operation) -> None:
    """OneHot -> ONE_HOT; its values are (off, on)."""
    depth = int(operation.constant(1).reshape(-1)[0])
    rank = len(operation.shape(0))
    where = _whole(operation, indices(operation, 0, depth))
    values = operation.array(operation.value(2))
    if values is not None:
        off, on = (operation.builder.constant("value", value) for value in values)
    else:
        off, on = (_element(operation, operation.input(2), position) for position in range(2))
    options = schema.OneHotOptionsT()
    options.axis = (operation.node.attributes.get_int("axis", -1) or 0) % (rank + 1)
    count = operation.builder.constant("depth", np.array(depth, np.int32))
    operation.emit("ONE_HOT", [where, count, on, off], [operation.output(identity(rank + 1))], options)


def _whole(operation: Operation, tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype in {"int32", "int64"} else operation.cast(tensor, "int32")


def _element(operation: Operation, vector: Tensor, position: int) -> Tensor:
    result = operation.temporary(vector, (), "value")
    options = options_of("GATHER")
    operation.emit(
        "GATHER", [vector, operation.builder.constant("position", np.array(position, np.int32))], [result], options
    )
    return result


LOWERINGS: dict[str, LoweringFunction] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
}
