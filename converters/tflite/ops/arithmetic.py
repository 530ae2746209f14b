"""Elementwise operators on two or more tensors, with broadcasting."""

from __future__ import annotations

from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import broadcastable, common_layout


def binary(operation: Operation, name: str, options: type | None = None) -> None:
    """Lowers any operator with two inputs."""
    layout = common_layout(operation, (0, 1))
    tensors = [broadcastable(operation, index, layout) for index in (0, 1)]
    filled = options() if options is not None else None
    if filled is not None and hasattr(filled, "fusedActivationFunction"):
        filled.fusedActivationFunction = operation.fuse_activation()
    operation.emit(name, tensors, [operation.output(layout)], filled)


def variadic(operation: Operation, name: str, options: type) -> None:
    """Lowers Sum, Max and Min of any number of inputs, from the left."""
    indices = range(len(operation.node.inputs))
    layout = common_layout(operation, indices)
    first, *others = [broadcastable(operation, index, layout) for index in indices]
    if not others:
        operation.alias(first, layout)
        return
    output = operation.output(layout)
    for index, other in enumerate(others, start=1):
        shape = np.broadcast_shapes(first.shape, other.shape)
        result = output if index == len(others) else operation.temporary(output, shape)
        operation.emit(name, [first, other], [result], options())
        first = result


LOWERINGS: dict[str, LoweringFunction] = {
    "Add": partial(binary, name="ADD", options=schema.AddOptionsT),
    "Sub": partial(binary, name="SUB", options=schema.SubOptionsT),
    "Mul": partial(binary, name="MUL", options=schema.MulOptionsT),
    "Div": partial(binary, name="DIV", options=schema.DivOptionsT),
    "Max": partial(variadic, name="MAXIMUM", options=schema.MaximumMinimumOptionsT),
    "Min": partial(variadic, name="MINIMUM", options=schema.MaximumMinimumOptionsT),
    "Sum": partial(variadic, name="ADD", options=schema.AddOptionsT),
}
