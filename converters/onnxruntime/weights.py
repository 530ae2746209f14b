"""Integer weights with float activations: replaces nodes by the operators that ONNX Runtime has for them.

1. An int4 matrix -> MatMulNBits (com.microsoft), whose kernel multiplies with packed weights.
2. dynamic-int8: an int8 matrix -> DynamicQuantizeLinear and MatMulInteger, fused into one kernel at loading.
3. Everything else -> Cast and Mul, which ONNX Runtime computes once, at loading. It would execute a DequantizeLinear on
   every run, or fuse it into a product that also rounds activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.border import loosen
from edgecomp.graph.query import input_of, required_constant
from edgecomp.graph.values import add_constant, take_place
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.packing import pack_int4
from edgecomp.quantization.parameters import QuantizationParameters

#: The block size of MatMulNBits for weights with one scale per output channel; the scale is repeated.
_BLOCK = 32


def with_integer_weights(model: CompressedModel) -> ir.Model:
    """Returns the model's graph with its weights in integers.

    Args:
        model: A model with `weights_only`.
    """
    graph = model.graph.clone()
    writer = _Writer(graph.graph, model)
    for node in tuple(graph.graph):
        writer.write_product(node)
    writer.unpack_others()
    graph.graph.sort()
    loosen(graph, model.dynamic)
    return graph


def multiplies_integers(node: ir.Node, model: CompressedModel) -> bool:
    """Tells whether a node with integer weights becomes one that computes with the integers."""
    parameters = model.quantization.get(_name(node.inputs[1])) if scheme.has_constant_weight(node) else None
    if parameters is None or not scheme.is_plain_product(node):
        return False
    return parameters.dtype == "int4" or model.precision == "dynamic-int8"


class _Writer:
    def __init__(self, graph: ir.Graph, model: CompressedModel) -> None:
        self._graph = graph
        self._model = model
        self._table = model.quantization
        self._rounded: dict[ir.Value, list[ir.Value]] = {}

    def write_product(self, node: ir.Node) -> None:
        """Applies rules 1 and 2."""
        if not multiplies_integers(node, self._model):
            return
        weight = node.inputs[1]
        parameters = self._table[_name(weight)]
        integers = parameters.quantize(required_constant(weight))
        rows = integers if parameters.axis == 0 else integers.T
        write = self._write_blocks if parameters.dtype == "int4" else self._write_dynamic
        result = write(node, rows, parameters)
        bias = input_of(node, 2)
        if bias is not None:
            result = self._node("Add", [result, bias], f"{node.name}/biased")
        old = node.outputs[0]
        result.shape, result.type = old.shape, old.type
        take_place(result, old)
        self._graph.remove(node, safe=True)

    def _write_blocks(
        self, node: ir.Node, rows: npt.NDArray[np.signedinteger], parameters: QuantizationParameters
    ) -> ir.Value:
        """Writes MatMulNBits for int4 weights; `rows` has the shape (out, in)."""
        block = parameters.block or _BLOCK
        channels, depth = rows.shape
        blocks = -(-depth // block)
        padded = np.zeros((channels, blocks * block), np.int8)
        padded[:, :depth] = rows
        # Unsigned values with the default zero point of 8.
        packed = pack_int4(padded + 8).reshape(channels, blocks, block // 2)
        scale = np.broadcast_to(parameters.scale.reshape(channels, -1), (channels, blocks))
        name = _name(node.inputs[1])
        inputs = [
            node.inputs[0],
            self._constant(f"{name}/int4", packed),
            self._constant(f"{name}/scale", np.ascontiguousarray(scale).reshape(-1)),
        ]
        # Level 1: activations stay float32.
        attributes = {"K": depth, "N": channels, "bits": 4, "block_size": block, "accuracy_level": 1}
        self._graph.opset_imports.setdefault("com.microsoft", 1)
        return self._node("MatMulNBits", inputs, f"{node.name}/product", "com.microsoft", **attributes)

    def _write_dynamic(
        self, node: ir.Node, rows: npt.NDArray[np.signedinteger], parameters: QuantizationParameters
    ) -> ir.Value:
        """Writes MatMulInteger for activations that are quantized at run time; `rows` has the shape (out, in)."""
        name = _name(node.inputs[1])
        integers, scale, zero_point = self._rounded_input(node.inputs[0])
        # Unsigned: x86 kernels without VNNI add pairs of products with signed weights in saturating 16-bit arithmetic.
        unsigned = (np.ascontiguousarray(rows.T).astype(np.int16) + 128).astype(np.uint8)
        weight = self._constant(f"{name}/uint8", unsigned)
        zeros = self._constant(f"{name}/zero_point", (parameters.zero_point + 128).astype(np.uint8))
        total = self._node("MatMulInteger", [integers, weight, zero_point, zeros], f"{node.name}/sums")
        real = self._node("Cast", [total], f"{node.name}/real_sums", to=int(ir.DataType.FLOAT))
        step = self._node("Mul", [scale, self._constant(f"{name}/scale", parameters.scale)], f"{node.name}/step")
        return self._node("Mul", [real, step], f"{node.name}/product")

    def _rounded_input(self, value: ir.Value | None) -> list[ir.Value]:
        """Returns integers, scale and zero point of an activation, computed once for all its readers."""
        assert value is not None
        if value not in self._rounded:
            name = _name(value)
            node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=f"{name}/dynamic")
            for output, suffix in zip(node.outputs, ("integers", "scale", "zero_point"), strict=True):
                output.name = f"{name}/dynamic/{suffix}"
            self._graph.append(node)
            self._rounded[value] = list(node.outputs)
        return self._rounded[value]

    def unpack_others(self) -> None:
        """Applies rule 3."""
        for value in tuple(self._graph.initializers.values()):
            parameters = self._table.get(_name(value))
            if parameters is None:
                continue
            if tuple(value.uses()):
                self._unpack(value, parameters)
            del self._graph.initializers[_name(value)]

    def _unpack(self, value: ir.Value, parameters: QuantizationParameters) -> None:
        array = required_constant(value)
        shape = [1] * array.ndim
        if parameters.axis is not None:
            shape[parameters.axis] = -1
        name = _name(value)
        stored = self._constant(f"{name}/int8", parameters.quantize(array))
        scale = self._constant(f"{name}/scale", parameters.scale.reshape(shape))
        wide = self._node("Cast", [stored], f"{name}/wide", to=int(ir.DataType.FLOAT))
        if parameters.zero_point.any():
            zeros = self._constant(f"{name}/zero_point", parameters.zero_point.reshape(shape).astype(np.float32))
            wide = self._node("Sub", [wide, zeros], f"{name}/above_zero_point")
        real = self._node("Mul", [wide, scale], f"{name}/real")
        real.shape, real.type = value.shape, value.type
        for use in tuple(value.uses()):
            use.node.replace_input_with(use.idx, real)

    def _node(self, op_type: str, inputs: list[Any], name: str, domain: str = "", **attributes: Any) -> ir.Value:
        node = ir.node(op_type, inputs, attributes or None, domain=domain, name=name)
        node.outputs[0].name = name
        self._graph.append(node)
        return node.outputs[0]

    def _constant(self, name: str, array: Array) -> ir.Value:
        known = self._graph.initializers.get(name)
        return add_constant(self._graph, name, array) if known is None else known


def _name(value: ir.Value | None) -> str:
    return "" if value is None or value.name is None else value.name
