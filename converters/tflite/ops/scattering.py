"""Operators that write by index, built on SCATTER_ND, which adds its updates to a tensor of zeros."""

from __future__ import annotations

import numpy as np

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import identity
from edgecomp.converters.tflite.lowering import Unsuited
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import computed, options_of
from edgecomp.converters.tflite.ops.indexing import flat, flat_indices, indices

#: The operator that combines an update with the data, by ONNX's attribute "reduction".
_MEETINGS = {"add": "ADD", "mul": "MUL", "max": "MAXIMUM", "min": "MINIMUM"}


def scatter_nd(operation: Operation) -> None:
    """ScatterND -> SCATTER_ND, combined with the data."""
    shape = operation.shape(0)
    source, updates = (operation.input(index, identity(len(operation.shape(index)))) for index in (0, 2))
    where = indices(operation, 1, np.array(shape[: operation.shape(1)[-1]], np.int32))
    operation.alias(_scattered(operation, source, where, updates), identity(len(shape)))


def scatter_elements(operation: Operation) -> None:
    """ScatterElements -> the same on the flattened tensor."""
    shape = operation.shape(0)
    layout = identity(len(shape))
    axis = (operation.node.attributes.get_int("axis", 0) or 0) % len(shape)
    source, updates = (flat(operation, operation.input(index, layout)) for index in (0, 2))
    where = flat_indices(operation, 1, axis, shape)
    where = operation.lowering.reshape(where, (*where.shape, 1), f"{where.name}/column")
    result = _scattered(operation, source, where, updates)
    operation.alias(operation.lowering.reshape(result, shape, operation.node.outputs[0].name or ""), layout)


def _scattered(operation: Operation, source: Tensor, where: Tensor, updates: Tensor) -> Tensor:
    """Applies updates to `source` at the coordinates in the last dimension of `where`."""
    reduction = operation.node.attributes.get_string("reduction", "none") or "none"
    if reduction == "add":
        return computed(operation, "ADD", source, _zeros_with(operation, source, where, updates))
    _check_unique(where, reduction)
    if reduction != "none":
        present = operation.temporary(updates, suffix="present")
        operation.emit("GATHER_ND", [source, where], [present], options_of("GATHER_ND"))
        updates = computed(operation, _MEETINGS[reduction], present, updates)
    scattered = _zeros_with(operation, source, where, updates)
    if source.data is not None and not source.data.any():
        return scattered
    return computed(operation, "SELECT_V2", _touched(operation, source, where), scattered, source)


def _check_unique(where: Tensor, reduction: str) -> None:
    """Refuses repeated indices, whose updates SCATTER_ND would add up; ONNX forbids them except in reductions."""
    if where.data is None:
        if reduction != "none":
            raise Unsuited(f"its indices are computed and may repeat, and SCATTER_ND has no reduction {reduction!r}")
        return
    rows = where.data.reshape(-1, where.data.shape[-1])
    if len(np.unique(rows, axis=0)) != len(rows):
        raise Unsuited(f"its indices repeat, and SCATTER_ND has no reduction {reduction!r}")


def _zeros_with(operation: Operation, source: Tensor, where: Tensor, updates: Tensor) -> Tensor:
    result = operation.temporary(source, suffix="scattered")
    shape = operation.lowering.integers(source.shape, "shape")
    operation.emit("SCATTER_ND", [operation.cast(where, "int32"), updates, shape], [result], options_of("SCATTER_ND"))
    return result


def _touched(operation: Operation, source: Tensor, where: Tensor) -> Tensor:
    """Returns a boolean mask of the elements of `source` that get an update."""
    depth = where.shape[-1]
    updated = (*where.shape[:-1], *source.shape[depth:])
    if where.data is not None:
        mask = np.zeros(source.shape, bool)
        mask[tuple(np.moveaxis(where.data, -1, 0))] = True
        return operation.builder.constant("touched", mask)
    ones = operation.builder.constant("ones", np.ones(updated, bool))
    result = operation.builder.tensor(f"{operation.node.name}/touched", source.shape, "bool")
    shape = operation.lowering.integers(source.shape, "shape")
    operation.emit("SCATTER_ND", [operation.cast(where, "int32"), ones, shape], [result], options_of("SCATTER_ND"))
    return result


LOWERINGS: dict[str, LoweringFunction] = {
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
}
