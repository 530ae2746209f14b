"""Operators that follow the order along one dimension."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.layout import identity
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import unary


def cumulative_sum(operation: Operation) -> None:
    """CumSum -> CUMSUM."""
    layout = operation.layout(0)
    axis = int(operation.constant(1).reshape(-1)[0]) % len(layout)
    options = schema.CumsumOptionsT()
    options.exclusive, options.reverse = (
        bool(operation.node.attributes.get_int(name, 0)) for name in ("exclusive", "reverse")
    )
    source, result = unary(operation)
    place = operation.builder.constant("axis", np.array(layout.index(axis), np.int32))
    operation.emit("CUMSUM", [source, place], [result], options)


def reverse_sequence(operation: Operation) -> None:
    """ReverseSequence -> REVERSE_SEQUENCE."""
    layout = operation.layout(0)
    attributes = operation.node.attributes
    options = schema.ReverseSequenceOptionsT()
    options.seqDim = layout.index(attributes.get_int("time_axis", 0))
    options.batchDim = layout.index(attributes.get_int("batch_axis", 1))
    tensors = [operation.input(0), operation.input(1, identity(1))]
    operation.emit("REVERSE_SEQUENCE", tensors, [operation.output(layout)], options)


LOWERINGS: dict[str, LoweringFunction] = {"CumSum": cumulative_sum, "ReverseSequence": reverse_sequence}
