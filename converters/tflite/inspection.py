"""Reads what is inside a `.tflite` file, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecomp.converter import Inspection, count_operators
from edgecomp.converters.tflite.seal import SEAL_KEY, is_intact
from edgecomp.errors import SourceError
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface


def _names(enumeration: type) -> dict[int, str]:
    return {code: name for name, code in vars(enumeration).items() if isinstance(code, int)}


OPERATOR_NAMES = _names(schema.BuiltinOperator)
TYPE_NAMES = {code: name.lower() for code, name in _names(schema.TensorType).items()}


def read(path: Path) -> Any:
    """The file as the schema's ModelT.

    Raises:
        SourceError: It is not a complete TFLite flatbuffer.
    """
    try:
        content = path.read_bytes()
        if content[4:8] != b"TFL3":
            raise ValueError("the identifier TFL3 is missing")
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except Exception as error:
        # flatbuffers' reader raises struct.error, IndexError, TypeError and more, as the damage happens to be.
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> SourceError:
    """The error for a file that is damaged, or something else altogether."""
    lines = str(error).splitlines()
    return SourceError(
        str(path),
        expected="a complete TFLite model",
        actual=lines[0] if lines else type(error).__name__,
        cure="check that the file is complete; write it again if it is not",
    )


def is_sealed(model: Any, path: Path) -> bool:
    """Whether the file is one of ours, unchanged since it was written (see `seal`)."""
    checksum = _metadata(model).get(SEAL_KEY, b"")
    return is_intact(path.read_bytes(), checksum)


def interface_of(model: Any, path: Path) -> Interface:
    """What the file says about its inputs and outputs; of a file from another tool, what can be seen.

    Raises:
        SourceError: It contradicts itself.
    """
    try:
        content = _metadata(model).get(METADATA_KEY)
        if content is not None:
            return Interface.from_json(content.decode("utf-8", "replace"), subject=str(path))
        graph = model.subgraphs[0]
        return Interface(
            tuple(_plain(graph.tensors[index]) for index in graph.inputs),
            tuple(_plain(graph.tensors[index]) for index in graph.outputs),
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
        return {}  # damaged; what else is wrong shows elsewhere


def _plain(tensor: Any) -> TensorInterface:
    dtype = TYPE_NAMES[tensor.type]
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    shape = tuple(int(size) if size >= 0 else None for size in (signature if signature is not None else ()))
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    if scales is None or len(scales) != 1:
        return TensorInterface(tensor.name.decode("utf-8", "replace"), dtype, shape, source_dtype=dtype)
    return TensorInterface(
        tensor.name.decode("utf-8", "replace"),
        dtype,
        shape,
        scale=float(scales[0]),
        zero_point=int(quantization.zeroPoint[0]),
    )


def inspect(path: Path) -> Inspection:
    """Counts operators by what the kernel computes in."""
    model = read(path)
    found = interface_of(model, path)
    try:
        operators, weight_bytes = _read(model)
    except Exception as error:
        raise unreadable(path, error) from None
    metadata = {
        name: content.decode("utf-8", "replace") for name, content in _metadata(model).items() if name != SEAL_KEY
    }
    return Inspection(
        format="tflite",
        size=path.stat().st_size,
        inputs=found.inputs,
        outputs=found.outputs,
        operators=count_operators(operators),
        weight_bytes=weight_bytes,
        metadata=metadata,
        precision=found.precision,
    )


def _read(model: Any) -> tuple[list[tuple[str, str]], int]:
    """The name and type of every operator, and the bytes of all constants."""
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators if graph.operators is not None else ():
        code = model.operatorCodes[operator.opcodeIndex]
        name = OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        operators.append(
            (
                name,
                _precision(
                    name, [graph.tensors[index].type for index in (operator.outputs[0], *operator.inputs) if index >= 0]
                ),
            )
        )
    return operators, sum(_bytes(model.buffers[tensor.buffer]) for tensor in graph.tensors)


def _precision(name: str, types: list[int]) -> str:
    """The type of the output, or that of the weight where a hybrid kernel quantizes activations at run time.

    Args:
        name: Of the operator.
        types: Of its first output and of all its inputs.
    """
    result, *given = (TYPE_NAMES[code] for code in types)
    integers = [name for name in given if name in {"int4", "int8"}]
    return integers[0] if integers and result == "float32" and name in _HYBRID else result


_HYBRID = frozenset({"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def _bytes(buffer: Any) -> int:
    return 0 if buffer.data is None else int(np.asarray(buffer.data).nbytes)
