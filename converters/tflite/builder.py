"""Collects tensors and operators and writes them as a TFLite flatbuffer.

The object API of the schema, which ships with ai-edge-litert, does the packing; TensorFlow is not needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgecomp.arrays import Array
from edgecomp.converters.tflite.versions import operator_version
from edgecomp.errors import UnsupportedOperatorError
from edgecomp.quantization.packing import pack_int4
from edgecomp.quantization.parameters import QuantizationParameters

#: TFLite's type of each numpy dtype.
TENSOR_TYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "float64": schema.TensorType.FLOAT64,
    "int4": schema.TensorType.INT4,
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
        dtype: numpy dtype name, or "int4", whose data are int8 until they are written.
        quantization: Parameters of a quantized tensor; `axis` counts stored dimensions.
        data: The array of a constant, None for an activation.
        signature: The shape with -1 for dynamic dimensions, if there are any.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: QuantizationParameters | None = None
    data: Array | None = None
    signature: tuple[int, ...] | None = None


#: The key of the signature that an interpreter runs by default.
SIGNATURE = "serving_default"

#: An upper bound on the bytes that describe a tensor or an operator, except for very long names.
_ROOM = 1024

#: Bytes: TFLite's schema has `force_align: 16` for the data of a buffer.
_ALIGNMENT = 16

#: Bytes of a constant that distinguish most constants without comparing all of their content.
_SAMPLE = 64

#: A name, and the tensor with that name in the interface.
Border = tuple[str, Tensor]


@dataclass(frozen=True)
class Operator:
    """One node of the file being written."""

    code: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = None
    version: int = 1


@dataclass(frozen=True)
class Subgraph:
    """One function of the file being written: its operators, inputs and outputs."""

    name: str
    operators: Sequence[Operator]
    inputs: Sequence[Border]
    outputs: Sequence[Border]


class Builder:
    """A model or subgraph under construction; names, constants and subgraphs are shared by the whole file."""

    def __init__(self, parent: Builder | None = None) -> None:
        self.operators: list[Operator] = []
        self._makers: dict[Tensor, Operator] = {}
        self._names: dict[str, int] = {} if parent is None else parent._names
        self._constants: dict[tuple[Any, ...], list[tuple[npt.NDArray[np.uint8], Tensor]]] = (
            {} if parent is None else parent._constants
        )
        self.subgraphs: list[Subgraph] = [] if parent is None else parent.subgraphs

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quantization: QuantizationParameters | None = None
    ) -> Tensor:
        """Creates an activation tensor; a name that is taken gets a number appended."""
        return Tensor(self._unique(name), tuple(shape), dtype, quantization)

    def constant(self, name: str, data: Array, quantization: QuantizationParameters | None = None) -> Tensor:
        """Creates a constant tensor; equal constants are stored once."""
        data = np.ascontiguousarray(data).reshape(data.shape)
        content = data.reshape(-1).view(np.uint8)
        sample = content[:: content.size // _SAMPLE + 1].tobytes()
        alike = self._constants.setdefault((sample, data.dtype.name, data.shape, quantization), [])
        for known, tensor in alike:
            if np.array_equal(known, content):
                return tensor
        dtype = "int4" if quantization is not None and quantization.dtype == "int4" else data.dtype.name
        alike.append((content, Tensor(self._unique(name), data.shape, dtype, quantization, data)))
        return alike[-1][1]

    def operator(
        self, name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Any = None
    ) -> None:
        """Appends an operator.

        Args:
            name: The name in the schema, such as "CONV_2D".
            inputs: None for an optional input that is absent.
            outputs: New tensors.
            options: The schema's options object, or None.
        """
        version = operator_version(name, inputs, outputs, options)
        operator = Operator(getattr(schema.BuiltinOperator, name), tuple(inputs), tuple(outputs), options, version)
        self.operators.append(operator)
        self._makers.update(dict.fromkeys(outputs, operator))

    def maker(self, tensor: Tensor) -> Operator | None:
        """Returns the operator that produces a tensor; None for inputs and constants."""
        return self._makers.get(tensor)

    def finish_subgraph(self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        """Adds the operators collected so far to the file as a subgraph, and returns its index."""
        borders = ([(tensor.name, tensor) for tensor in tensors] for tensors in (inputs, outputs))
        self.subgraphs.append(self.finished(self._unique(name), *borders))
        return len(self.subgraphs)

    def finished(self, name: str, inputs: Sequence[Border], outputs: Sequence[Border]) -> Subgraph:
        """Returns the operators collected so far as a subgraph, without those that are not used."""
        return Subgraph(name, self._alive([tensor for _, tensor in outputs]), inputs, outputs)

    def _alive(self, outputs: Any) -> list[Operator]:
        """Returns the operators whose results are used."""
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


def write_file(mains: Mapping[str, Subgraph], others: Sequence[Subgraph], metadata: Mapping[str, bytes]) -> bytearray:
    """Returns the bytes of a file.

    Args:
        mains: Signature -> its subgraph; an interpreter runs the first one by default.
        others: Subgraphs that operators call, in the order of the indices from `finish_subgraph`.
        metadata: Named buffers.
    """
    return _Writer(mains, others, metadata).write()


class _Packer(flatbuffers.Builder):  # type: ignore[misc]  # it has no types
    """Writes arrays directly to their place; flatbuffers' own builder would copy them twice."""

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802  # flatbuffers calls it so
        """Appends the bytes of an array, such as scales or a constant."""
        self.StartVector(x.itemsize, x.size, _ALIGNMENT)
        self.head -= x.nbytes
        memoryview(self.Bytes)[self.head : self.head + x.nbytes] = x.view(np.uint8).data
        return int(self.EndVector())


class _Writer:
    """Packs subgraphs, the first main one first; constants that several of them use share a buffer."""

    def __init__(
        self, mains: Mapping[str, Subgraph], others: Sequence[Subgraph], metadata: Mapping[str, bytes]
    ) -> None:
        first, *more = mains.values()
        self._mains, self._subgraphs, self._metadata = mains, [first, *others, *more], metadata
        # Buffer 0 is the empty buffer of every activation.
        self._buffers: list[Any] = [schema.BufferT()]
        self._filled: dict[Tensor, int] = {}
        self._codes: dict[tuple[int, int], int] = {}
        #: The tensors of the subgraph that is being packed.
        self._tensors: dict[Tensor, int] = {}
        self._packed: list[Any] = []

    def write(self) -> bytearray:
        operators = [operator for subgraph in self._subgraphs for operator in subgraph.operators]
        codes = sorted({(operator.code, operator.version) for operator in operators})
        self._codes = {code: index for index, code in enumerate(codes)}
        model = schema.ModelT()
        model.version = 3
        model.description = b"edgecomp"
        model.operatorCodes = [self._code(*code) for code in codes]
        model.subgraphs, model.signatureDefs = [], []
        keys = {id(main): key for key, main in self._mains.items()}
        for index, subgraph in enumerate(self._subgraphs):
            model.subgraphs.append(self._packed_subgraph(subgraph))
            if id(subgraph) in keys:
                model.signatureDefs.append(self._signature(keys[id(subgraph)], index, subgraph))
        model.metadata = [self._metadata_entry(*item) for item in self._metadata.items()]
        model.buffers = self._buffers
        # Allocate enough: a builder that runs out of space doubles its buffer and copies the content.
        size = sum(tensor.data.nbytes + _ROOM for tensor in self._filled if tensor.data is not None)
        packer = _Packer(size + _ROOM * len(operators) + (1 << 16))
        try:
            packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
        except (TypeError, struct.error) as error:  # flatbuffers' error for a number that does not fit
            raise UnsupportedOperatorError(
                "the model for TFLite",
                expected="strides, axes and sizes of 32 bits",
                actual=str(error),
                cure="look for a number of that size in the model",
            ) from error
        # The same as `packer.Output()` without a copy: only the unused space at the start is removed.
        content: bytearray = packer.Bytes
        del content[: packer.Head()]
        return content

    def _packed_subgraph(self, subgraph: Subgraph) -> Any:
        self._tensors, self._packed = {}, []
        graph = schema.SubGraphT()
        graph.name = subgraph.name.encode()
        graph.inputs = [self._index(tensor) for _, tensor in subgraph.inputs]
        graph.operators = [self._operator(operator) for operator in subgraph.operators]
        graph.outputs = [self._index(tensor) for _, tensor in subgraph.outputs]
        graph.tensors = self._packed
        return graph

    def _index(self, tensor: Tensor | None) -> int:
        if tensor is None:
            return -1
        if tensor not in self._tensors:
            place = self._tensors[tensor] = len(self._packed)
            self._packed.append(None)  # the scales of blocks are a tensor too, after this one
            self._packed[place] = self._tensor(tensor)
        return self._tensors[tensor]

    def _tensor(self, tensor: Tensor) -> Any:
        packed = schema.TensorT()
        packed.name = tensor.name.encode()
        packed.shape = list(tensor.shape)
        packed.shapeSignature = None if tensor.signature is None else list(tensor.signature)
        packed.type = TENSOR_TYPES[tensor.dtype]
        packed.hasRank = True
        packed.buffer = self._buffer_of(tensor)
        if tensor.quantization is not None and tensor.quantization.block is not None:
            packed.quantization = self._blocks(tensor.name, tensor.quantization)
        elif tensor.quantization is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(tensor.quantization.scale)
            quantization.zeroPoint = np.atleast_1d(tensor.quantization.zero_point).astype(np.int64)
            quantization.quantizedDimension = tensor.quantization.axis or 0
            packed.quantization = quantization
        return packed

    def _buffer_of(self, tensor: Tensor) -> int:
        if tensor.data is None:
            return 0
        if tensor not in self._filled:
            self._filled[tensor] = self._buffer(pack_int4(tensor.data) if tensor.dtype == "int4" else tensor.data)
        return self._filled[tensor]

    def _blocks(self, name: str, parameters: QuantizationParameters) -> Any:
        """Creates the scales for each block of the second dimension: a float16 tensor of shape (rows, blocks)."""
        scales = parameters.scale.astype(np.float16)
        blocks = schema.BlockwiseQuantizationT()
        blocks.scales = self._index(Tensor(f"{name}/scales", scales.shape, "float16", data=scales))
        blocks.zeroPoints = -1
        blocks.blockSize = parameters.block
        quantization = schema.QuantizationParametersT()
        quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        quantization.details = blocks
        return quantization

    def _buffer(self, data: Array) -> int:
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self._buffers.append(buffer)
        return len(self._buffers) - 1

    def _operator(self, operator: Operator) -> Any:
        packed = schema.OperatorT()
        packed.opcodeIndex = self._codes[operator.code, operator.version]
        packed.inputs = [self._index(tensor) for tensor in operator.inputs]
        packed.outputs = [self._index(tensor) for tensor in operator.outputs]
        if operator.options is not None:
            name = type(operator.options).__name__.removesuffix("T")
            packed.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            packed.builtinOptions = operator.options
        return packed

    def _code(self, code: int, version: int) -> Any:
        packed = schema.OperatorCodeT()
        # Readers from before 2020 use only this field, an int8.
        packed.deprecatedBuiltinCode = min(code, 127)
        packed.builtinCode = code
        packed.version = version
        return packed

    def _signature(self, key: str, index: int, main: Subgraph) -> Any:
        signature = schema.SignatureDefT()
        signature.signatureKey = key.encode()
        signature.subgraphIndex = index
        for tensors, field in ((main.inputs, "inputs"), (main.outputs, "outputs")):
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
