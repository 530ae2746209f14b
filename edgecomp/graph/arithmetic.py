"""Quantization spelled out in operators that every runtime has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.query import constant, input_of, required_constant
from edgecomp.graph.values import add_constant, take_place
from edgecomp.quantization.scheme import PRECISION_KEY

_RANGE = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


def dequantize_constant(node: ir.Node) -> npt.NDArray[np.float32]:
    """What a DequantizeLinear of constants gives: of any integer type, per tensor, per channel or in blocks."""
    integers = required_constant(node.inputs[0]).astype(np.float32)
    scale, zero_point = _aligned(node, integers.shape)
    return ((integers - zero_point) * scale).astype(np.float32)


def spell_dequantize(graph: ir.Graph, node: ir.Node) -> ir.Value:
    """Replaces a DequantizeLinear by Cast, Sub and Mul; returns what stands for its output."""
    builder = _Builder(graph, node)
    scale, zero_point = _aligned(node, _shape(node))
    real = builder.add("Cast", node.inputs[0], to=ir.DataType.FLOAT)
    if zero_point.any():
        real = builder.add("Sub", real, zero_point)
    return builder.finish(builder.add("Mul", real, scale), ir.DataType.FLOAT)


def spell_quantize(graph: ir.Graph, node: ir.Node, dtype: str) -> ir.Value:
    """Replaces a QuantizeLinear by Div, Round, Add, Clip and Cast; returns what stands for its output.

    They stay in float: what becomes whole numbers would be others if it were rounded in another place before.
    """
    builder = _Builder(graph, node, {PRECISION_KEY: "float32"})
    scale, zero_point = _aligned(node, _shape(node))
    low, high = (np.float32(bound) for bound in _RANGE[dtype])
    value = builder.add("Round", builder.add("Div", node.inputs[0], scale))
    if zero_point.any():
        value = builder.add("Add", value, zero_point)
    integer = ir.DataType[dtype.upper()]
    return builder.finish(builder.add("Cast", builder.add("Clip", value, low, high), to=integer), integer)


def _shape(node: ir.Node) -> tuple[int, ...]:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return (1,) * 4
    return tuple(size if isinstance(size, int) else 1 for size in value.shape)


def _aligned(node: ir.Node, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scale and zero point, shaped so that they broadcast against the tensor."""
    scale = required_constant(node.inputs[1]).astype(np.float32)
    zero_point = constant(input_of(node, 2))
    zero_point = np.zeros_like(scale) if zero_point is None else zero_point.astype(np.float32)
    axis, block = node.attributes.get_int("axis", 1) or 0, node.attributes.get_int("block_size", 0) or 0

    def align(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if block:
            return np.repeat(array, block, axis=axis)
        if array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))])

    return align(scale), align(zero_point)


class _Builder:
    """Puts nodes in front of another and then in its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node, metadata: Mapping[str, str] | None = None) -> None:
        self._graph, self._node, self._count = graph, node, 0
        self._metadata = metadata or {}

    def add(self, op_type: str, *inputs: ir.Value | Array | np.floating[Any] | None, **attributes: int) -> ir.Value:
        values = [each if isinstance(each, ir.Value) or each is None else self._constant(each) for each in inputs]
        name = self._name()
        node = ir.node(op_type, values, attributes, name=name)
        node.metadata_props.update(self._metadata)
        node.outputs[0].name, node.outputs[0].shape = name, self._node.outputs[0].shape
        self._graph.insert_before(self._node, node)
        return node.outputs[0]

    def finish(self, result: ir.Value, dtype: ir.DataType) -> ir.Value:
        old = self._node.outputs[0]
        result.type = ir.TensorType(dtype)
        take_place(result, old)
        self._graph.remove(self._node, safe=True)
        return result

    def _constant(self, array: Array | np.floating[Any]) -> ir.Value:
        return add_constant(self._graph, self._name(), array)

    def _name(self) -> str:
        self._count += 1
        return f"{self._node.outputs[0].name}/{self._node.op_type}/{self._count}"
