"""Reductions over dimensions, in any layout of the input."""

from __future__ import annotations

from functools import partial

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.layout import Layout
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.graph.query import normalized_axes


def reduce(operation: Operation, name: str, axes: tuple[int, ...], *, keep: bool) -> None:
    """Emits one reduction.

    Args:
        operation: The node.
        name: TFLite's operator.
        axes: The source's dimensions to reduce, counted from the front.
        keep: Whether reduced dimensions stay, with size 1.
    """
    layout = operation.layout(0)
    source = operation.input(0)
    stored = sorted(layout.index(axis) for axis in axes)
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    result = operation.output(layout if keep else without(layout, axes))
    operation.emit(name, [source, operation.lowering.integers(stored, "axes")], [result], options)


def without(layout: Layout, axes: tuple[int, ...]) -> Layout:
    """Returns the layout of the dimensions that are left after a reduction."""
    left = sorted(set(layout) - set(axes))
    return tuple(left.index(dimension) for dimension in layout if dimension not in axes)


def reduction(operation: Operation, name: str) -> None:
    """Lowers ReduceMean and similar operators."""
    if operation.has_input(1):
        operation.constant(1)  # refuses computed axes
    axes = normalized_axes(operation.node, len(operation.shape(0)))
    if not axes:
        operation.alias(operation.input(0), operation.layout(0))
        return
    if operation.value(0).dtype == ir.DataType.BOOL:
        name = _OF_TRUTH[name]
    reduce(operation, name, axes, keep=operation.node.attributes.get_int("keepdims", 1) == 1)


#: The reductions of booleans that correspond to maximum and minimum.
_OF_TRUTH = {"REDUCE_MAX": "REDUCE_ANY", "REDUCE_MIN": "REDUCE_ALL"}


LOWERINGS: dict[str, LoweringFunction] = {
    "ReduceMax": partial(reduction, name="REDUCE_MAX"),
    "ReduceMean": partial(reduction, name="MEAN"),
    "ReduceMin": partial(reduction, name="REDUCE_MIN"),
    "ReduceProd": partial(reduction, name="REDUCE_PROD"),
    "ReduceSum": partial(reduction, name="SUM"),
}
