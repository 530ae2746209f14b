"""Operators on the bits of integers."""

from __future__ import annotations

import numpy as np

from edgecomp.converters.tflite.builder import Tensor
from edgecomp.converters.tflite.layout import Layout, stored_shape
from edgecomp.converters.tflite.lowering import Unsuited, type_of
from edgecomp.converters.tflite.operation import LoweringFunction, Operation
from edgecomp.converters.tflite.ops.elementwise import broadcastable, common_layout, computed, options_of, unary
from edgecomp.graph.query import constant, shape_of


def _operands(operation: Operation) -> tuple[Layout, Tensor, Tensor]:
    """Returns both inputs in the output's shape, because kernels of StableHLO operators do not broadcast."""
    layout = common_layout(operation, (0, 1))
    left, right = (_spread(operation, broadcastable(operation, index, layout), layout) for index in (0, 1))
    return layout, left, right


def _spread(operation: Operation, tensor: Tensor, layout: Layout) -> Tensor:
    shape = stored_shape(shape_of(operation.node.outputs[0]), layout)
    if tensor.shape == shape:
        return tensor
    if tensor.data is not None:
        return operation.builder.constant(tensor.name, np.broadcast_to(tensor.data, shape))
    result = operation.temporary(tensor, shape, "spread")
    sizes = operation.lowering.integers(shape, "shape")
    operation.emit("BROADCAST_TO", [tensor, sizes], [result], options_of("BROADCAST_TO"))
    return result


def bitwise_and(operation: Operation) -> None:
    """BitwiseAnd -> STABLEHLO_AND."""
    layout, left, right = _operands(operation)
    operation.emit("STABLEHLO_AND", [left, right], [operation.output(layout)])


def bitwise_or(operation: Operation) -> None:
    """BitwiseOr -> XOR of the bits that differ and those that both have."""
    layout, left, right = _operands(operation)
    differing, both = (computed(operation, name, left, right) for name in ("BITWISE_XOR", "STABLEHLO_AND"))
    operation.emit("BITWISE_XOR", [differing, both], [operation.output(layout)], options_of("BITWISE_XOR"))


def bitwise_xor(operation: Operation) -> None:
    """BitwiseXor -> BITWISE_XOR."""
    layout, left, right = _operands(operation)
    operation.emit("BITWISE_XOR", [left, right], [operation.output(layout)], options_of("BITWISE_XOR"))


def bitwise_not(operation: Operation) -> None:
    """BitwiseNot -> BITWISE_XOR with ones."""
    source, result = unary(operation)
    ones = operation.builder.constant("ones", np.invert(np.zeros((), source.dtype)))
    operation.emit("BITWISE_XOR", [source, ones], [result], options_of("BITWISE_XOR"))


def bit_shift(operation: Operation) -> None:
    """BitShift -> RIGHT_SHIFT or STABLEHLO_SHIFT_LEFT."""
    distances, width = constant(operation.value(1)), 8 * np.dtype(type_of(operation.value(0))).itemsize
    if type_of(operation.value(0)).startswith("i") and (
        distances is None or not ((distances >= 0) & (distances < width)).all()
    ):
        raise Unsuited("signed numbers can be shifted by 0 and more, less than their width, that are constant")
    left = operation.node.attributes.get_string("direction") == "LEFT"
    layout, bits, distance = _operands(operation)
    operation.emit("STABLEHLO_SHIFT_LEFT" if left else "RIGHT_SHIFT", [bits, distance], [operation.output(layout)])


LOWERINGS: dict[str, LoweringFunction] = {
    "BitShift": bit_shift,
    "BitwiseAnd": bitwise_and,
    "BitwiseNot": bitwise_not,
    "BitwiseOr": bitwise_or,
    "BitwiseXor": bitwise_xor,
}
