"""Collects tensors and operators and writes them as a TFLite flatbuffer.

The schema's own object API (it ships with ai-edge-litert) does the packing; nothing here needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.versions import operator_version
from edgecomp.quantization.parameters import QuantizationParameters

#: TFLite's type of each numpy dtype.
TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "uint16": schema.TensorType.UINT16,
    "int16": schema.TensorType.INT16,
    "uint32": schema.TensorType.UINT32,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file being written; compared by identity.

    Attributes:
        name: Unique in the file.
        shape: In stored order.
        dtype: numpy dtype name.
        quantization: Parameters of an integer tensor that stands for real numbers; `axis` counts stored dimensions.
        data: The array of a constant, None for an activation.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: QuantizationParameters | None = None
    data: npt.NDArray[Any] | None = None


#: A name and the tensor that goes by it.
Border = tuple[str, Tensor]


@dataclass(frozen=True)
class Operator:
    """One node of the file being written."""

    code: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = None
    version: int = 1


class Builder:
    """A model in the making."""

    def __init__(self) -> None:
        self.operators: list[Operator] = []
        self._makers: dict[Tensor, Operator] = {}
        self._names: dict[str, int] = {}
        self._constants: dict[tuple[Any, ...], Tensor] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quantization: QuantizationParameters | None = None
    ) -> Tensor:
        """A new activation tensor; its name gets a number when it is taken."""
        return Tensor(self._unique(name), tuple(shape), dtype, quantization)

    def constant(self, name: str, data: npt.NDArray[Any], quantization: QuantizationParameters | None = None) -> Tensor:
        """A constant tensor; small equal ones are stored once."""
        data = np.ascontiguousarray(data).reshape(data.shape)
        key = (data.tobytes(), data.dtype.name, data.shape, quantization) if data.nbytes <= 64 else (object(),)
        if key not in self._constants:
            self._constants[key] = Tensor(self._unique(name), data.shape, data.dtype.name, quantization, data)
        return self._constants[key]

    def operator(
        self, name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Any = None
    ) -> None:
        """Appends an operator.

        Args:
            name: As in the schema: "CONV_2D".
            inputs: None for an optional one that is left out.
            outputs: New tensors.
            options: The schema's options object, or None.
        """
        version = operator_version(name, inputs, outputs, options)
        operator = Operator(getattr(schema.BuiltinOperator, name), tuple(inputs), tuple(outputs), options, version)
        self.operators.append(operator)
        self._makers.update(dict.fromkeys(outputs, operator))

    def maker(self, tensor: Tensor) -> Operator | None:
        """The operator that gives a tensor; None for inputs and constants."""
        return self._makers.get(tensor)

    def finish(self, inputs: Sequence[Border], outputs: Sequence[Border], metadata: Mapping[str, bytes]) -> bytes:
        """The file's bytes.

        Args:
            inputs: The model's inputs, each with the name that the signature gives it.
            outputs: The model's outputs likewise; one tensor may be given out more than once.
            metadata: Named buffers.
        """
        alive = self._alive([tensor for _, tensor in outputs])
        return _Writer(alive, inputs, outputs, metadata).write()

    def _alive(self, outputs: Any) -> list[Operator]:
        """The operators that something reads."""
        needed = set(outputs)
        alive = []
        for operator in reversed(self.operators):
            if needed.intersection(operator.outputs):
                needed.update(tensor for tensor in operator.inputs if tensor is not None)
                alive.append(operator)
        return alive[::-1]

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return self._unique(f"{name}_{count}") if count else name


class _Writer:
    def __init__(
        self,
        operators: list[Operator],
        inputs: Sequence[Border],
        outputs: Sequence[Border],
        metadata: Mapping[str, bytes],
    ) -> None:
        self._operators = operators
        self._inputs, self._outputs = inputs, outputs
        # Buffer 0 is the empty buffer of every activation.
        self._buffers: list[Any] = [schema.BufferT()]
        self._tensors: dict[Tensor, int] = {}
        self._packed: list[Any] = []
        self._metadata = metadata

    def write(self) -> bytes:
        inputs = [self._index(tensor) for _, tensor in self._inputs]
        codes = sorted({(operator.code, operator.version) for operator in self._operators})
        places = {code: index for index, code in enumerate(codes)}
        graph = schema.SubGraphT()
        graph.name = b"main"
        graph.operators = [self._operator(operator, places) for operator in self._operators]
        graph.inputs = inputs
        graph.outputs = [self._index(tensor) for _, tensor in self._outputs]
        graph.tensors = self._packed
        model = schema.ModelT()
        model.version = 3
        model.description = b"edgecomp"
        model.operatorCodes = [self._code(*code) for code in codes]
        model.subgraphs = [graph]
        model.signatureDefs = [self._signature()]
        model.metadata = [self._metadata_entry(*item) for item in self._metadata.items()]
        model.buffers = self._buffers
        size = sum(tensor.data.nbytes for tensor in self._tensors if tensor.data is not None)
        packer = flatbuffers.Builder(size + (1 << 16))
        packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
        return bytes(packer.Output())

    def _index(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return -1
        if tensor not in self._tensors:
            self._tensors[tensor] = len(self._packed)
            self._packed.append(self._tensor(tensor))
        return self._tensors[tensor]

    def _tensor(self, tensor: Tensor) -> Any:
        packed = schema.TensorT()
        packed.name = tensor.name.encode()
        packed.shape = list(tensor.shape)
        packed.type = TENSOR_TYPES[tensor.dtype]
        packed.hasRank = True
        packed.buffer = 0 if tensor.data is None else self._buffer(tensor.data)
        if tensor.quantization is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(tensor.quantization.scale)
            quantization.zeroPoint = np.atleast_1d(tensor.quantization.zero_point).astype(np.int64)
            quantization.quantizedDimension = tensor.quantization.axis or 0
            packed.quantization = quantization
        return packed

    def _buffer(self, data: npt.NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def _operator(self, operator: Operator, codes: Mapping[tuple[int, int], int]) -> Any:
        packed = schema.OperatorT()
        packed.opcodeIndex = codes[operator.code, operator.version]
        packed.inputs = [self._index(tensor) for tensor in operator.inputs]
        packed.outputs = [self._index(tensor) for tensor in operator.outputs]
        if operator.options is not None:
            name = type(operator.options).__name__.removesuffix("T")
            packed.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            packed.builtinOptions = operator.options
        return packed

    def _code(self, code: int, version: int) -> Any:
        packed = schema.OperatorCodeT()
        # Readers from before 2020 look at the first field only, an int8.
        packed.deprecatedBuiltinCode = min(code, 127)
        packed.builtinCode = code
        packed.version = version
        return packed

    def _signature(self) -> Any:
        signature = schema.SignatureDefT()
        signature.signatureKey = b"serving_default"
        signature.subgraphIndex = 0
        for tensors, field in ((self._inputs, "inputs"), (self._outputs, "outputs")):
            maps = []
            for name, tensor in dict(tensors).items():
                entry = schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode(), self._index(tensor)
                maps.append(entry)
            setattr(signature, field, maps)
        return signature

    def _metadata_entry(self, name: str, content: bytes) -> Any:
        entry = schema.MetadataT()
        entry.name = name.encode()
        entry.buffer = self._buffer(np.frombuffer(content, np.uint8))
        return entry
