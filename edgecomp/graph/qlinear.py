"""Operators on integers (QLinearConv and its kind) written as the float operator between conversions.

The form with QuantizeLinear and DequantizeLinear says the same, and everything else needs to know that form only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecomp.errors import SourceError
from edgecomp.graph.query import constant, describe, input_of
from edgecomp.graph.values import add_constant, take_place


@dataclass(frozen=True)
class _Signature:
    """Where an operator on integers keeps its operands.

    Attributes:
        op_type: The float operator.
        inputs: Position of each input's integers; its scale and zero point follow.
        output: Position of the output's scale; its zero point follows.
        bias: Position of an int32 bias, whose scale is the product of the first two inputs' scales.
        drops: Attributes that the float operator does not have.
    """

    op_type: str
    inputs: tuple[int, ...]
    output: int
    bias: int | None = None
    drops: frozenset[str] = frozenset({"channels_last", "opset"})


QLINEAR: dict[str, _Signature] = {
    "QGemm": _Signature("Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": _Signature("Add", (0, 3), 6),
    "QLinearAveragePool": _Signature("AveragePool", (0,), 3),
    "QLinearConcat": _Signature("Concat", (), 0),
    "QLinearConv": _Signature("Conv", (0, 3), 6, bias=8),
    "QLinearGlobalAveragePool": _Signature("GlobalAveragePool", (0,), 3),
    "QLinearLeakyRelu": _Signature("LeakyRelu", (0,), 3),
    "QLinearMatMul": _Signature("MatMul", (0, 3), 6),
    "QLinearMul": _Signature("Mul", (0, 3), 6),
    "QLinearSigmoid": _Signature("Sigmoid", (0,), 3),
    "QLinearSoftmax": _Signature("Softmax", (0,), 3),
}


def expand_integer_operators(graph: ir.Graph) -> None:
    """Replaces every operator of `QLINEAR`, in place.

    Raises:
        SourceError: One uses a layout that ONNX's own operator does not have.
    """
    for node in tuple(graph):
        if node.op_type in QLINEAR:
            _Expansion(graph, node).run(QLINEAR[node.op_type])


class _Expansion:
    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node = graph, node

    def run(self, signature: _Signature) -> None:
        node = self._node
        if node.attributes.get_int("channels_last", 0):
            raise SourceError(
                describe(node),
                expected="ONNX's layout, channels second",
                actual="channels last, as ONNX Runtime's optimizer writes for itself",
                cure="give the model as it was before ONNX Runtime optimized it",
            )
        concat = node.op_type == "QLinearConcat"
        positions = range(2, len(node.inputs), 3) if concat else signature.inputs
        inputs = [self._dequantize(position) for position in positions]
        if signature.bias is not None and (bias := input_of(node, signature.bias)) is not None:
            inputs.append(self._bias(bias))
        attributes = [each for name, each in node.attributes.items() if name not in signature.drops]
        real = ir.Node("", signature.op_type, inputs, attributes, name=node.name)
        self._insert(real, "real")
        result, scale = real.outputs[0], input_of(node, signature.output)
        result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), node.outputs[0].shape
        old = node.outputs[0]
        if scale is not None:
            zero_point = input_of(node, signature.output + 1)
            written = ir.node("QuantizeLinear", [result, scale, zero_point], name=f"{node.name}/quantize")
            self._insert(written, "quantized")
            result = written.outputs[0]
            result.type, result.shape = old.type, old.shape
        take_place(result, old)
        self._graph.remove(node, safe=True)

    def _dequantize(self, position: int) -> ir.Value:
        value, scale, zero_point = (input_of(self._node, position + offset) for offset in range(3))
        # The only operand that may have a scale per channel is a weight: Conv's along 0, a matrix's along its columns.
        transposed = self._node.attributes.get_int("transB", 0)
        column = 0 if self._node.op_type == "QLinearConv" or transposed else 1
        return self._conversion([value, scale, zero_point], column, f"input_{position}")

    def _bias(self, bias: ir.Value) -> ir.Value:
        scales = [constant(input_of(self._node, position)) for position in (1, 4)]
        if scales[0] is None or scales[1] is None:
            raise SourceError(
                describe(self._node),
                expected="constant scales",
                actual="scales that the graph computes",
                cure="give the float model that it was made from",
            )
        alpha = np.float32(self._node.attributes.get_float("alpha", 1.0) or 1.0)
        name = f"{self._node.outputs[0].name}/bias_scale"
        product = (scales[0] * scales[1] * alpha).astype(np.float32)
        scale = add_constant(self._graph, name, product.reshape(-1) if product.size > 1 else product.reshape(()))
        return self._conversion([bias, scale], 0, "bias")

    def _conversion(self, inputs: Sequence[Any], axis: int, name: str) -> ir.Value:
        # ir.node(...): optional trailing inputs may be None.
        node = ir.node("DequantizeLinear", list(inputs), {"axis": axis}, name=f"{self._node.name}/dequantize_{name}")
        self._insert(node, name)
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return node.outputs[0]

    def _insert(self, node: ir.Node, name: str) -> None:
        node.outputs[0].name = f"{self._node.outputs[0].name}/{name}"
        self._graph.insert_before(self._node, node)
