"""Operators that create a tensor; its size may be dynamic (see `overlay`)."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.layout import identity
from edgecomp.converters.tflite.operation import LoweringFunction, Operation


def range_(operation: Operation) -> None:
    """Range -> RANGE."""
    tensors = [operation.input(index, ()) for index in range(3)]
    operation.emit("RANGE", tensors, [operation.output(identity(1))], schema.RangeOptionsT())


def constant_of_shape(operation: Operation) -> None:
    """ConstantOfShape -> FILL."""
    value = operation.node.attributes.get("value")
    filler = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
    shape = operation.lowering.integers(operation.constant(0).tolist(), "shape")
    scalar = operation.builder.constant("fill", filler.reshape(()))
    result = operation.output(identity(len(shape.data)))  # type: ignore[arg-type]
    operation.emit("FILL", [shape, scalar], [result], schema.FillOptionsT())


LOWERINGS: dict[str, LoweringFunction] = {"ConstantOfShape": constant_of_shape, "Range": range_}
