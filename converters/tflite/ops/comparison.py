"""Comparisons, logic, and selection between tensors."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.activation import simple
from edgecomp.converters.tflite.ops.arithmetic import binary
from edgecomp.converters.tflite.ops.elementwise import broadcastable, common_layout, number, options_of, unary


def where(operation: Operation) -> None:
    """Where -> SELECT_V2."""
    layout = common_layout(operation, (0, 1, 2))
    tensors = [broadcastable(operation, index, layout) for index in range(3)]
    operation.emit("SELECT_V2", tensors, [operation.output(layout)], options_of("SELECT_V2"))


def is_nan(operation: Operation) -> None:
    """IsNaN -> NOT_EQUAL of a tensor with itself."""
    source, result = unary(operation)
    operation.emit("NOT_EQUAL", [source, source], [result], options_of("NOT_EQUAL"))


def is_inf(operation: Operation) -> None:
    """IsInf -> EQUAL with infinity, of x or of its absolute value; with NaN, so never true, if neither sign counts."""
    positive, negative = (operation.node.attributes.get_int(f"detect_{sign}", 1) for sign in ("positive", "negative"))
    source, result = unary(operation)
    if positive and negative:
        source_size = operation.temporary(source, suffix="size")
        operation.emit("ABS", [source], [source_size], options_of("ABS"))
        source = source_size
    wanted = np.inf if positive else -np.inf if negative else np.nan
    operation.emit("EQUAL", [source, number(operation, source, wanted)], [result], options_of("EQUAL"))


def _comparison(name: str) -> LoweringFunction:
    return partial(binary, name=name, options=type(options_of(name)))


LOWERINGS: dict[str, LoweringFunction] = {
    "And": _comparison("LOGICAL_AND"),
    "Equal": _comparison("EQUAL"),
    "Greater": _comparison("GREATER"),
    "GreaterOrEqual": _comparison("GREATER_EQUAL"),
    "IsInf": is_inf,
    "IsNaN": is_nan,
    "Less": _comparison("LESS"),
    "LessOrEqual": _comparison("LESS_EQUAL"),
    "Not": partial(simple, name="LOGICAL_NOT", options=type(options_of("LOGICAL_NOT"))),
    "Or": _comparison("LOGICAL_OR"),
    "Where": where,
    # On booleans.
    "Xor": _comparison("NOT_EQUAL"),
}
