"""Reads the content of any `.onnx` file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.converters.onnxruntime.convert import needs_float
from edgecomp.converters.onnxruntime.runtime import unreadable
from edgecomp.graph.modules import module_of
from edgecomp.graph.query import constant
from edgecomp.inspection import Contents, Inspection, Node, Quantization, Tensor
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.scheme import OPERATORS

_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
#: Operators that compute in integers although their types do not show it.
INTEGER_OPERATORS = {
    "DynamicQuantizeLSTM": "dynamic-int8",
    "DynamicQuantizeLinear": "dynamic-int8",
    "DynamicQuantizeMatMul": "dynamic-int8",
    "MatMulInteger": "dynamic-int8",
    "MatMulIntegerToFloat": "dynamic-int8",
    "MatMulNBits": "weight-int4",
}
#: ONNX's names for types, where numpy has others.
_NAMES = {"float": "float32", "double": "float64"}
#: Constants above this size, in bytes, do not contain shapes, so shape inference does not need them.
_LARGEST_SHAPE = 4096


def inspect(path: Path) -> Inspection:
    """Reads the graph as ONNX Runtime executes it, without loading it there.

    A node between DequantizeLinear and QuantizeLinear that has an integer kernel is shown as the one integer operator
    that ONNX Runtime makes of the three; the remaining ones are real conversions.

    Raises:
        SourceError: It is not a complete ONNX model.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        model = ir.from_proto(_with_shapes(proto))
        if not len(model.graph) and not model.graph.outputs:
            raise ValueError("an empty graph")
        plain = Interface(tuple(map(_plain, _fed(model.graph))), tuple(map(_plain, model.graph.outputs)))
        known = METADATA_KEY in metadata
        found = Interface.from_json(metadata[METADATA_KEY], subject=str(path)) if known else plain
        contents = _Reading(model.graph, found).contents()
    except Exception as error:
        raise unreadable(path, error) from None
    return Inspection(
        format="onnxruntime",
        size=path.stat().st_size,
        inputs=found.inputs,
        outputs=found.outputs,
        contents=contents,
        metadata=metadata,
    )


def _with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with all shapes that ONNX can infer, and without the content of large weights."""
    parameters = {name for node in proto.graph.node if node.op_type in _QUANTIZERS for name in node.input[1:]}
    for tensor in proto.graph.initializer:
        if tensor.name in parameters:  # quantization parameters are needed, even large ones
            continue
        if tensor.ByteSize() > _LARGEST_SHAPE and tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name)
            kept.data_location = onnx.TensorProto.EXTERNAL
            kept.external_data.add(key="location", value="left out")
            tensor.CopyFrom(kept)
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:
        # Operators of other domains, or contradictory shapes: only the shapes in the file are available.
        return proto


def _fed(graph: ir.Graph) -> list[ir.Value]:
    """Returns the inputs that are not also initializers, as they are in old files."""
    return [value for value in graph.inputs if value.name not in graph.initializers]


def _plain(value: ir.Value) -> TensorInterface:
    dtype = _dtype(value)
    return TensorInterface(value.name or "", dtype, _shape(value) or (), source_dtype=dtype)


def _dtype(value: ir.Value) -> str:
    if value.dtype is None:
        return "unknown"
    return _NAMES.get(value.dtype.name.lower(), value.dtype.name.lower())


def _stored(value: ir.Value) -> ir.TensorProtocol | None:
    """Returns a constant, from an initializer or a node."""
    maker = value.producer()
    if maker is None or maker.op_type != "Constant":
        return value.const_value if value.is_initializer() else None
    attribute = maker.attributes.get("value")
    return attribute.as_tensor() if attribute is not None else ir.tensor(next(iter(maker.attributes.values())).value)


def _shape(value: ir.Value) -> tuple[int | None, ...] | None:
    return None if value.shape is None else tuple(size if isinstance(size, int) else None for size in value.shape)


@dataclass
class _Reading:
    """A graph while it is converted to `Contents`; it is changed."""

    graph: ir.Graph
    interface: Interface
    tensors: list[Tensor] = field(default_factory=list)
    places: dict[ir.Value, int] = field(default_factory=dict)
    quantization: dict[ir.Value, Quantization] = field(default_factory=dict)

    def contents(self) -> Contents:
        precisions = {node: _precision(node) for node in self.graph}
        self._note_quantization()
        for node, precision in precisions.items():
            if precision == "int8" and node.op_type not in _QUANTIZERS:
                self._fuse(node)
        inputs = tuple(self._place(value) for value in _fed(self.graph))
        nodes = tuple(self._node(node, precisions[node]) for node in self.graph if node.op_type != "Constant")
        outputs = tuple(self._place(value) for value in self.graph.outputs)
        return Contents(tuple(self.tensors), nodes, inputs, outputs, tuple(self._inner()))

    def _note_quantization(self) -> None:
        for node in self.graph:
            if node.op_type in _QUANTIZERS:
                integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
                scale = constant(node.inputs[1])
                zero_point = constant(node.inputs[2]) if len(node.inputs) > 2 else None
                if integers is not None and scale is not None and scale.size:
                    first = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
                    self.quantization[integers] = Quantization(float(scale.reshape(-1)[0]), first, scale.size)

    def _fuse(self, node: ir.Node) -> None:
        """Merges the conversions around an integer operator into it."""
        for index, value in enumerate(node.inputs):
            maker = None if value is None else value.producer()
            if value is not None and maker is not None and maker.op_type == "DequantizeLinear":
                node.replace_input_with(index, maker.inputs[0])
                if not value.uses() and not value.is_graph_output():
                    self.graph.remove(maker, safe=True)
        for output in node.outputs:
            quantizer = next(iter(output.uses())).node
            result = quantizer.outputs[0]
            ir.convenience.replace_all_uses_with(result, output, replace_graph_outputs=True)
            self.graph.remove(quantizer, safe=True)
            output.name, output.type = result.name, result.type
            if result in self.quantization:
                self.quantization[output] = self.quantization[result]

    def _node(self, node: ir.Node, precision: str) -> Node:
        name = node.name or node.outputs[0].name or ""
        return Node(
            op_type=node.op_type,
            name=name,
            precision=precision,
            inputs=tuple(None if value is None else self._place(value) for value in node.inputs),
            outputs=tuple(self._place(value) for value in node.outputs),
            module=module_of(node) or self.interface.module_of(name),
        )

    def _place(self, value: ir.Value) -> int:
        if value not in self.places:
            self.places[value] = len(self.tensors)
            weight = _stored(value)
            made = Tensor(value.name or "", _dtype(value), _shape(value), None, self.quantization.get(value))
            if weight is not None:
                name = _NAMES.get(weight.dtype.name.lower(), weight.dtype.name.lower())
                shape = tuple(int(size) for size in weight.shape.numpy())
                made = replace(made, dtype=name, shape=shape, stored=weight.nbytes)
            self.tensors.append(made)
        return self.places[value]

    def _inner(self) -> Iterator[Node]:
        for node in ir.traversal.RecursiveGraphIterator(self.graph):
            if node.graph is not self.graph:
                yield Node(node.op_type, node.name or "", _dtype(node.outputs[0]), (), ())


def _precision(node: ir.Node) -> str:
    """Returns the precision of a node: int8 between DequantizeLinear and QuantizeLinear, if there is a kernel."""
    if node.op_type in _QUANTIZERS or node.op_type.startswith("QLinear"):
        return "int8"
    if node.op_type in INTEGER_OPERATORS:
        return INTEGER_OPERATORS[node.op_type]
    dtype = _dtype(node.outputs[0])
    makers = [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]
    readers = [use.node for value in node.outputs for use in value.uses()]
    between = (
        makers
        and makers[0].op_type == "DequantizeLinear"
        and len(readers) == len(node.outputs)
        and all(reader.op_type == "QuantizeLinear" for reader in readers)
    )
    if not between or node.op_type not in OPERATORS:
        return dtype
    scale, zero_point = (constant(value) for value in readers[0].inputs[1:3])
    if scale is None or scale.size != 1 or zero_point is None or zero_point.dtype == np.int16:
        return dtype  # there is no int16 kernel
    # uint8 values are int8 values plus 128.
    shift = 128 if zero_point.dtype == np.uint8 else 0
    parameters = QuantizationParameters(scale.reshape(()), zero_point.reshape(()).astype(np.int32) - shift)
    return dtype if needs_float(node, parameters) else "int8"
