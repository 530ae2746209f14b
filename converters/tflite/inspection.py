"""Reads the content of any `.tflite` file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converters.tflite.seal import SEAL_KEY, is_intact
from edgecomp.errors import SourceError
from edgecomp.inspection import Contents, Inspection, Node, Quantization, Signature, Tensor
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.system.memory import mapped


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


OPERATOR_NAMES = _names(schema.BuiltinOperator)
TYPE_NAMES = {code: name.lower() for code, name in _names(schema.TensorType).items()}


def read(path: Path) -> Any:
    """Reads the file into the schema's ModelT.

    Raises:
        SourceError: It is not a complete TFLite flatbuffer.
    """
    try:
        content = mapped(path)
        if bytes(content[4:8]) != b"TFL3":
            raise ValueError("the identifier TFL3 is missing")
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except Exception as error:
        # Damaged files make flatbuffers raise struct.error, IndexError, TypeError and more.
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> SourceError:
    """Returns the error for a file that is damaged, or of another kind."""
    lines = str(error).splitlines()
    return SourceError(
        str(path),
        expected="a complete TFLite model",
        actual=lines[0] if lines else type(error).__name__,
        cure="check that the file is complete; write it again if it is not",
    )


def is_sealed(model: Any, path: Path) -> bool:
    """Tells whether edgecomp wrote the file and it is unchanged (see `seal`)."""
    checksum = _metadata(model).get(SEAL_KEY, b"")
    return is_intact(mapped(path), checksum)


def interface_of(model: Any, path: Path) -> Interface:
    """Returns the stored interface of the file, or for a file from another tool what its tensors show.

    Raises:
        SourceError: The file contradicts itself.
    """
    try:
        content = _metadata(model).get(METADATA_KEY)
        if content is not None:
            return Interface.from_json(content.decode("utf-8", "replace"), subject=str(path))
        graph = model.subgraphs[0]
        return Interface(
            tuple(_plain(graph.tensors[index]) for index in graph.inputs),
            tuple(_plain(graph.tensors[index]) for index in graph.outputs),
            {name: _scope(name) for name in (_name(tensor) for tensor in graph.tensors)},
        )
    except SourceError:
        raise
    except Exception as error:
        raise unreadable(path, error) from None


def _metadata(model: Any) -> dict[str, bytes]:
    try:
        return {
            entry.name.decode("utf-8", "replace"): bytes(model.buffers[entry.buffer].data)
            for entry in model.metadata or ()
        }
    except (AttributeError, IndexError, TypeError):
        return {}  # damaged; other errors will show elsewhere


def _name(tensor: Any) -> str:
    """Returns the name of a tensor, or of anything else with a name."""
    return (tensor.name or b"").decode("utf-8", "replace")


def _scope(name: str) -> str:
    """Returns the scope of a tensor in TensorFlow's naming; semicolons join the names of fused operators."""
    return name.partition(";")[0].rpartition("/")[0]


def _plain(tensor: Any) -> TensorInterface:
    dtype = TYPE_NAMES[tensor.type]
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple(int(size) if size >= 0 else None for size in (signature if signature is not None else ()))
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    if scales is None or len(scales) != 1:
        return TensorInterface(_name(tensor), dtype, shape, source_dtype=dtype)
    return TensorInterface(
        _name(tensor),
        dtype,
        shape,
        scale=float(scales[0]),
        zero_point=int(quantization.zeroPoint[0]),
    )


def inspect(path: Path) -> Inspection:
    """Reads the file's graph, without loading it into the runtime.

    Raises:
        SourceError: It is not a complete TFLite flatbuffer, or contradicts itself.
    """
    model = read(path)
    found = interface_of(model, path)
    try:
        contents = _contents(model, found)
        signatures = tuple(_signature(entry) for entry in model.signatureDefs or ())
    except Exception as error:
        raise unreadable(path, error) from None
    metadata = {name: _text(content) for name, content in _metadata(model).items() if name != SEAL_KEY}
    return Inspection(
        format="tflite",
        size=path.stat().st_size,
        inputs=found.inputs,
        outputs=found.outputs,
        contents=contents,
        metadata=metadata,
        signatures=signatures,
    )


def _text(content: bytes) -> str:
    """Decodes a metadata entry for people; other tools store zip files and flatbuffers there."""
    try:
        return content.decode().rstrip("\0")
    except UnicodeDecodeError:
        return f"{len(content)} bytes"


def _signature(entry: Any) -> Signature:
    def names(maps: Any) -> tuple[str, ...]:
        return tuple(_name(item) for item in maps or ())

    return Signature((entry.signatureKey or b"").decode("utf-8", "replace"), names(entry.inputs), names(entry.outputs))


def _contents(model: Any, interface: Interface) -> Contents:
    seen: set[int] = set()
    main, *others = model.subgraphs
    tensors = tuple(_tensor(model, tensor, seen) for tensor in main.tensors)
    inner: list[Node] = []
    for graph in others:
        inner += _nodes(model, graph, [_tensor(model, tensor, seen) for tensor in graph.tensors], interface)
    return Contents(
        tensors=tensors,
        nodes=tuple(_nodes(model, main, tensors, interface)),
        inputs=tuple(_indices(main.inputs, tensors)),
        outputs=tuple(_indices(main.outputs, tensors)),
        inner=tuple(inner),
    )


def _indices(given: Any, tensors: Sequence[Tensor]) -> list[int]:
    indices = [] if given is None else [int(index) for index in given]
    if any(index >= len(tensors) for index in indices):
        raise ValueError("a tensor that does not exist is referred to")
    return indices


def _tensor(model: Any, tensor: Any, seen: set[int]) -> Tensor:
    """Reads a tensor; of constants that share a buffer, only the first one counts its bytes."""
    buffer = model.buffers[tensor.buffer]
    size = int(np.asarray(buffer.data).nbytes) if buffer.data is not None else int(buffer.size or 0)
    stored = None if not size else 0 if tensor.buffer in seen else size
    seen.add(tensor.buffer)
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return Tensor(
        name=_name(tensor),
        dtype=TYPE_NAMES[tensor.type],
        shape=tuple(int(size) if size >= 0 else None for size in (sizes if sizes is not None else ())),
        stored=stored,
        quantization=_quantization(tensor.quantization),
    )


def _quantization(given: Any) -> Quantization | None:
    if given is None or given.scale is None or not len(given.scale):
        return None
    zero_point = 0 if given.zeroPoint is None or not len(given.zeroPoint) else int(given.zeroPoint[0])
    return Quantization(float(given.scale[0]), zero_point, len(given.scale))


def _nodes(model: Any, graph: Any, tensors: Sequence[Tensor], interface: Interface) -> Iterator[Node]:
    for operator in graph.operators if graph.operators is not None else ():
        code = model.operatorCodes[operator.opcodeIndex]
        name = OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        inputs, outputs = _indices(operator.inputs, tensors), _indices(operator.outputs, tensors)
        result = tensors[outputs[0]] if outputs else Tensor("", "none")
        yield Node(
            op_type=(code.customCode or b"CUSTOM").decode("utf-8", "replace") if name == "CUSTOM" else name,
            name=result.name,
            precision=_precision([tensors[index] for index in inputs if index >= 0], result.dtype),
            inputs=tuple(None if index < 0 else index for index in inputs),
            outputs=tuple(outputs),
            module=interface.module_of(result.name),
        )


def _precision(inputs: Sequence[Tensor], dtype: str) -> str:
    """Returns the precision of a kernel: the type of its first output, and that of its weights if different."""
    constants = [tensor for tensor in inputs if tensor.stored is not None]
    # The scales of int4 blocks are separate tensors.
    weights = {tensor.dtype for tensor in constants if tensor.quantization is not None or tensor.dtype == "int4"}
    if dtype == "int16" and "int8" in weights:
        return "int16x8"
    if dtype == "float32" and weights & {"int8", "int4"} and any(t.dtype == "float32" for t in inputs):
        return f"dynamic-{'int8' if 'int8' in weights else 'int4'}"
    return dtype
