"""Writes a quantization table into an ONNX graph as QuantizeLinear / DequantizeLinear pairs.

This one graph serves twice: ONNX Runtime executes it in integers, and with ONNX Runtime's integer kernels switched off
it is the simulation that predicts every artifact.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.graph.border import loosen
from edgecomp.graph.query import clip_bounds, is_constant, required_constant
from edgecomp.graph.values import add_constant
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters

_IR_TYPE = {
    "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8,
    "int16": ir.DataType.INT16,
    "int32": ir.DataType.INT32,
}

#: Bytes. Smaller constants are stored for each reader, which costs little and makes no graph harder to optimize.
_WORTH_SHARING = 1024


def to_qdq(
    model: CompressedModel, *, integer_io: bool = False, activations: Literal["int8", "uint8"] = "int8"
) -> ir.Model:
    """The model as a self-contained QDQ graph.

    Args:
        model: A quantized model; a float one comes back as a plain copy.
        integer_io: Whether quantized graph inputs and outputs are integers themselves, or float with a conversion
            inside.
        activations: How int8 activations are stored: as they are, or as uint8 with 128 added to integer and zero point,
            which changes no value.

    Returns:
        A new graph. Clips that the saturation of their quantized output makes redundant are left out. A float node
        reads what another float node, or a float input, gives as it is, without a detour over integers.
    """
    graph = model.graph.clone()
    if model.quantization:
        writer = _Writer(graph.graph, dict(model.quantization), activations)
        writer.drop_redundant_clips()
        writer.quantize_constants()
        writer.quantize_activations(integer_io=integer_io)
    loosen(graph, model.dynamic)
    return graph


def is_redundant_clip(node: ir.Node, parameters: QuantizationParameters) -> bool:
    """Whether saturation already does what a Relu or Clip would do to a tensor stored with `parameters`.

    Quantization is monotonic, so it is enough that each bound quantizes to the end of the integer range.
    """
    low, high = clip_bounds(node)
    lowest, highest = parameters.range
    quantized_low, quantized_high = parameters.quantize(
        np.array([max(low, lowest * 2 - 1), min(high, highest * 2 + 1)])
    )
    smallest, largest = parameters.quantize(np.array([lowest * 2 - 1, highest * 2 + 1]))
    return bool(quantized_low == smallest and quantized_high == largest)


def with_stored_weights(model: CompressedModel) -> ir.Model:
    """The float graph with every constant of the quantization table as the number that its integer stands for."""
    graph = model.graph.clone()
    for value in graph.graph.initializers.values():
        parameters = model.quantization.get(value.name or "")
        if parameters is not None:
            value.const_value = ir.tensor(stored_numbers(value, parameters), name=value.name)
    loosen(graph, model.dynamic)
    return graph


def stored_numbers(value: ir.Value, parameters: QuantizationParameters) -> npt.NDArray[np.float32]:
    """The numbers that a constant's integers stand for."""
    return parameters.dequantize(parameters.quantize(required_constant(value)))


class _Writer:
    def __init__(self, graph: ir.Graph, table: dict[str, QuantizationParameters], activations: str) -> None:
        self._graph = graph
        self._table = table
        self._activations = activations
        self._integers: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._integer = {id(node) for node in graph if scheme.runs_in_integers(node, table)}

    def drop_redundant_clips(self) -> None:
        for node in tuple(self._graph):
            activation = scheme.fused_activation(node)
            if activation is None or not scheme.runs_in_integers(activation, self._table):
                continue
            before, after = node.outputs[0], activation.outputs[0]
            assert before.name is not None
            assert after.name is not None
            if not scheme.runs_in_integers(node, self._table) or self._table[before.name] != self._table[after.name]:
                continue
            if is_redundant_clip(activation, self._table[after.name]):
                after.replace_all_uses_with(before, replace_graph_outputs=True)
                self._graph.remove(activation, safe=True)
                before.name, name = after.name, before.name
                after.name = f"{name}/clipped"

    def quantize_constants(self) -> None:
        """int8 or int32 initializers with a DequantizeLinear behind each."""
        for value in tuple(self._graph.initializers.values()):
            parameters = self._table.get(value.name or "")
            if parameters is None or not tuple(value.uses()):
                continue
            if parameters.dtype == "int64":
                # A bias that meets int16 activations: DequantizeLinear does not take its type.
                value.const_value = ir.tensor(stored_numbers(value, parameters), name=value.name)
                continue
            stored = self._stored(f"{value.name}/quantized", parameters.quantize(required_constant(value)))
            first = min((use.node for use in value.uses()), key=self._position)
            numbers = self._parameters(value.name or "", parameters, parameters.dtype)
            real = self._node("DequantizeLinear", [stored, *numbers], parameters, f"{value.name}/dequantized")
            real.shape, real.type = value.shape, value.type
            self._graph.insert_before(first, real.producer())  # type: ignore[arg-type]
            value.replace_all_uses_with(real)
            del self._graph.initializers[value.name or ""]

    def _stored(self, name: str, integers: Array) -> ir.Value:
        """The constant of these integers: the steps of an unrolled recurrent layer, say, have the same ones."""
        if integers.nbytes < _WORTH_SHARING:
            return add_constant(self._graph, name, integers)
        key = integers.dtype.str, integers.shape, hashlib.sha256(integers.tobytes()).digest()
        if key not in self._integers:
            self._integers[key] = add_constant(self._graph, name, integers)
        return self._integers[key]

    def quantize_activations(self, *, integer_io: bool) -> None:
        """A QuantizeLinear and a DequantizeLinear behind each activation that has parameters."""
        produced = [value for node in self._graph for value in node.outputs]
        for value in (*self._graph.inputs, *produced):
            parameters = self._table.get(value.name or "")
            if parameters is not None and not is_constant(value):
                self._quantize_activation(value, parameters, integer_io=integer_io)

    def _quantize_activation(self, value: ir.Value, parameters: QuantizationParameters, *, integer_io: bool) -> None:
        name, shape = value.name or "", value.shape
        dtype = self._activations if parameters.dtype == "int8" else parameters.dtype
        numbers = self._parameters(name, parameters, dtype)
        real_type, stored_type = value.type, ir.TensorType(_IR_TYPE[dtype])
        producer, uses, is_output = value.producer(), tuple(value.uses()), value.is_graph_output()
        if not (integer_io if producer is None else id(producer) in self._integer):
            # Real numbers are at hand: whoever works on real numbers reads them, and rounds nothing in between.
            uses = tuple(use for use in uses if id(use.node) in self._integer)
            is_output = is_output and integer_io
            if not uses and not is_output:
                return
        added: list[ir.Node] = []

        def convert(op_type: str, source: ir.Value, suffix: str, kind: ir.TypeProtocol | None) -> ir.Value:
            result = self._node(op_type, [source, *numbers], parameters, f"{name}/{suffix}")
            result.shape, result.type = shape, kind
            added.append(result.producer())  # type: ignore[arg-type]
            return result

        if producer is None and integer_io:
            stored, value.type = value, stored_type
        else:
            stored = convert("QuantizeLinear", value, "quantized", stored_type)
        # One DequantizeLinear for each reader: ONNX Runtime fuses an operator only with conversions of its own.
        for index, (node, position) in enumerate(uses):
            node.replace_input_with(position, convert("DequantizeLinear", stored, f"dequantized_{index}", real_type))
        if is_output:
            result = stored if integer_io else convert("DequantizeLinear", stored, "dequantized", real_type)
            for index, output in enumerate(self._graph.outputs):
                if output is value:
                    self._graph.outputs[index] = result
            value.name, result.name = f"{name}/real", name  # the name belongs to what the graph gives out
        if producer is None:
            self._graph.insert_before(self._graph[0], added)
        else:
            self._graph.insert_after(producer, added)

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {id(node): index for index, node in enumerate(self._graph)}

    def _position(self, node: ir.Node) -> int:
        return self._positions[id(node)]

    def _node(self, op_type: str, inputs: list[ir.Value], parameters: QuantizationParameters, name: str) -> ir.Value:
        attributes = {} if parameters.axis is None else {"axis": parameters.axis}
        # The standard operators take int16 since opset 21 only, ONNX Runtime's own ones always have.
        domain = "com.microsoft" if parameters.dtype == "int16" else ""
        if domain:
            self._graph.opset_imports.setdefault(domain, 1)
        node = ir.node(op_type, inputs, attributes, name=name, domain=domain)
        node.outputs[0].name = name
        return node.outputs[0]

    def _parameters(self, name: str, parameters: QuantizationParameters, dtype: str) -> list[ir.Value]:
        zero_point = (parameters.zero_point + (128 if dtype == "uint8" else 0)).astype(dtype)
        return [
            add_constant(self._graph, f"{name}/scale", parameters.scale),
            add_constant(self._graph, f"{name}/zero_point", zero_point),
        ]
