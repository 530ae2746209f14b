"""Functions that need several TFLite operators, or different ones for integers."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.activation import simple
from edgecomp.converters.tflite.ops.elementwise import (
    broadcastable,
    common_layout,
    computed,
    number,
    options_of,
    unary,
)

#: Exponents with an operator of their own.
_POWERS = {2.0: "SQUARE", 0.5: "SQRT", -0.5: "RSQRT"}


def power(operation: Operation) -> None:
    """Pow -> SQUARE, SQRT or RSQRT for the usual constant exponents of floats, else POW, in integers or floats."""
    layout = common_layout(operation, (0, 1))
    base, exponent = (broadcastable(operation, index, layout) for index in (0, 1))
    is_float = base.dtype.startswith("float")
    name = _POWERS.get(float(exponent.data)) if exponent.data is not None and exponent.shape == () else None
    if name is not None and is_float:
        operation.emit(name, [base], [operation.output(layout)], options_of(name))
        return
    # The kernel requires both operands to have the same type.
    wide = base.dtype if is_float else "float32" if exponent.dtype.startswith("float") else "int32"
    operands = [operation.cast(each, wide) for each in (base, exponent)]
    if base.dtype == wide:
        operation.emit("POW", operands, [operation.output(layout)], options_of("POW"))
        return
    result = computed(operation, "POW", *operands)
    operation.emit("CAST", [result], [operation.output(layout)], options_of("CAST"))


def modulo(operation: Operation) -> None:
    """Mod -> FLOOR_MOD; with fmod, whose result has the sign of the dividend, FLOOR_MOD of the absolute values."""
    layout = common_layout(operation, (0, 1))
    left, right = (broadcastable(operation, index, layout) for index in (0, 1))
    if not operation.node.attributes.get_int("fmod", 0):
        operation.emit("FLOOR_MOD", [left, right], [operation.output(layout)], options_of("FLOOR_MOD"))
        return
    rest = computed(operation, "FLOOR_MOD", computed(operation, "ABS", left), computed(operation, "ABS", right))
    sign = computed(operation, "SIGN", left)
    operation.emit("MUL", [rest, sign], [operation.output(layout)], schema.MulOptionsT())


def reciprocal(operation: Operation) -> None:
    """Reciprocal -> DIV."""
    source, result = unary(operation)
    operation.emit("DIV", [number(operation, source, 1.0), source], [result], schema.DivOptionsT())


def erf(operation: Operation) -> None:
    """Computes Erf from GELU, which is half of a times 1 + erf of a over the root of 2; erf is an odd function.

    The absolute error is a few roundings of 1.
    """
    source, result = unary(operation)
    sign, size = (computed(operation, name, source) for name in ("SIGN", "ABS"))
    scaled = computed(operation, "MUL", size, number(operation, source, math.sqrt(2)))
    # For x = 0, the sign makes the result 0.
    scaled = computed(operation, "MAXIMUM", scaled, number(operation, source, 1e-20))
    half = computed(operation, "DIV", computed(operation, "GELU", scaled), scaled)
    whole = computed(operation, "MUL", half, number(operation, source, 2.0))
    positive = computed(operation, "SUB", whole, number(operation, source, 1.0))
    operation.emit("MUL", [positive, sign], [result], schema.MulOptionsT())


def arctangent(operation: Operation) -> None:
    """Atan -> ATAN2 with ones of the same shape, because its kernel does not broadcast."""
    source, result = unary(operation)
    ones = operation.temporary(source, suffix="ones")
    shape = operation.lowering.integers(source.shape, "shape")
    one = operation.builder.constant("number", np.ones((), source.dtype))
    operation.emit("BROADCAST_TO", [one, shape], [ones], options_of("BROADCAST_TO"))
    operation.emit("ATAN2", [source, ones], [result])


LOWERINGS: dict[str, LoweringFunction] = {
    "Atan": arctangent,
    "Ceil": partial(simple, name="CEIL"),
    "Cos": partial(simple, name="COS", options=schema.CosOptionsT),
    "Erf": erf,
    "Mod": modulo,
    "Pow": power,
    "Reciprocal": reciprocal,
    # Rounds ties to even, as ONNX does.
    "Round": partial(simple, name="ROUND"),
    "Sign": partial(simple, name="SIGN", options=schema.SignOptionsT),
    "Sin": partial(simple, name="SIN"),
}
