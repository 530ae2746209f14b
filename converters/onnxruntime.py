"""ONNX Runtime: the graph as it is, with QuantizeLinear / DequantizeLinear pairs where it is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.converter import (
    Array,
    Conversion,
    ConversionOptions,
    FloatIsland,
    Inspection,
    OperatorCount,
    Unsupported,
)
from edgecomp.errors import SourceError
from edgecomp.graph.query import constant, is_float, shape_of
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip, to_qdq

#: Operators of the portable scheme that ONNX Runtime's CPU provider has no integer kernel for: it executes them in
#: float between a DequantizeLinear and a QuantizeLinear. Read off the optimized graphs of ONNX Runtime 1.31, as
#: tests/converters/test_onnxruntime.py does again.
FLOAT_KERNELS = frozenset(
    [
        "ConvTranspose",
        "Gelu",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "LogSoftmax",
        "PRelu",
        "Pad",
        "ReduceMean",
        "ReduceSum",
        "SpaceToDepth",
        "Sub",
        "Tanh",
    ]
)


class OnnxRuntimeConverter:
    """`.onnx` files for ONNX Runtime."""

    name = "onnxruntime"
    suffixes: tuple[str, ...] = (".onnx",)

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}"

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """ONNX Runtime executes all of standard ONNX; only operators of unknown domains stop it."""
        return [
            Unsupported(
                node.name or "",
                f"{node.domain}::{node.op_type}",
                f"ONNX Runtime has no operators of the domain {node.domain!r}",
                "replace the operator by standard ones in the model",
            )
            for node in model.graph.graph
            if node.domain not in {"", "ai.onnx", "com.microsoft", "ai.onnx.ml"}
        ]

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes a QDQ (or float) `.onnx` file."""
        path.write_bytes(serialize(model, options))
        return Conversion(path, float_islands(model))

    def open(self, path: Path, threads: int = 1) -> OnnxRuntimePredictor:
        """Loads a model for running on the CPU."""
        return OnnxRuntimePredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Counts operators as stored; a node between DequantizeLinear and QuantizeLinear counts as int8."""
        try:
            model = onnx.load(path, load_external_data=False)
        except Exception as error:
            raise unreadable(path, error) from None
        predictor = self.open(path)
        counts = Counter((node.op_type, _precision(node)) for node in ir.from_proto(model).graph)
        return Inspection(
            format=self.name,
            size=path.stat().st_size,
            inputs=predictor.inputs,
            outputs=predictor.outputs,
            operators=tuple(OperatorCount(*key, count) for key, count in counts.most_common()),
            weight_bytes=sum(len(tensor.raw_data) for tensor in model.graph.initializer),
            metadata={entry.key: entry.value for entry in model.metadata_props},
        )


def serialize(model: CompressedModel, options: ConversionOptions) -> bytes:
    """The `.onnx` file's bytes; the same model gives the same bytes."""
    graph = to_qdq(model, integer_io=options.io_dtype == "int8", activations=options.activations)
    graph.producer_name, graph.producer_version = "edgecomp", None
    graph.metadata_props[METADATA_KEY] = interface(model, graph).to_json()
    return bytes(ir.to_proto(graph).SerializeToString(deterministic=True))


def interface(model: CompressedModel, graph: ir.Model) -> Interface:
    """How the inputs and outputs of `graph` stand for those of `model`."""

    def describe(stored: ir.Value, source: ir.Value) -> TensorInterface:
        assert source.name is not None
        assert stored.dtype is not None
        assert source.dtype is not None
        unsigned = stored.dtype == ir.DataType.UINT8
        parameters = model.quantization.get(source.name) if stored.dtype != source.dtype else None
        return TensorInterface(
            source.name,
            stored.dtype.numpy().name,
            shape_of(source),
            scale=None if parameters is None else float(parameters.scale),
            zero_point=None if parameters is None else int(parameters.zero_point) + (128 if unsigned else 0),
            source_dtype=source.dtype.numpy().name,
        )

    source = model.graph.graph
    return Interface(
        tuple(describe(*pair) for pair in zip(graph.graph.inputs, source.inputs, strict=True)),
        tuple(describe(*pair) for pair in zip(graph.graph.outputs, source.outputs, strict=True)),
    )


def float_islands(model: CompressedModel) -> tuple[FloatIsland, ...]:
    """The nodes of a quantized model that ONNX Runtime computes in float."""
    if not model.quantization:
        return ()
    graph = model.graph.graph
    islands = []
    for node in graph:
        if not scheme.runs_in_integers(node, model.quantization):
            if any(is_float(value) for value in node.inputs) and any(is_float(value) for value in node.outputs):
                islands.append(FloatIsland(node.name or "", node.op_type, "the portable scheme keeps it in float"))
            continue
        if _needs_float(node, model.quantization[node.outputs[0].name or ""]):
            islands.append(FloatIsland(node.name or "", node.op_type, "ONNX Runtime has no int8 kernel for it"))
    return tuple(islands)


def _needs_float(node: ir.Node, parameters: QuantizationParameters) -> bool:
    """Whether ONNX Runtime has no integer kernel for a node whose output has `parameters`."""
    match node.op_type:
        case "Relu" | "Clip":
            return not is_redundant_clip(node, parameters)  # else nothing but a change of parameters is left of it
        case "Resize":
            return node.attributes.get_string("mode", "nearest") != "nearest"
        case _:
            return node.op_type in FLOAT_KERNELS


def _precision(node: ir.Node) -> str:
    """What a stored node executes in: int8 between DequantizeLinear and QuantizeLinear, if there is a kernel."""
    if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
        return "int8"
    source = next(
        (value.producer() for value in node.inputs if value is not None and value.producer() is not None), None
    )
    readers = [use.node for use in node.outputs[0].uses()]
    if source is None or source.op_type != "DequantizeLinear" or [n.op_type for n in readers] != ["QuantizeLinear"]:
        value = node.outputs[0]
        return "float32" if value.dtype is None else value.dtype.numpy().name
    scale, zero_point = (constant(value) for value in readers[0].inputs[1:3])
    if scale is None or scale.size != 1 or zero_point is None:
        return "float32"
    # uint8 numbers are int8 numbers with 128 added.
    shift = 128 if zero_point.dtype == np.uint8 else 0
    parameters = QuantizationParameters(scale.reshape(()), zero_point.reshape(()).astype(np.int32) - shift)
    return "float32" if _needs_float(node, parameters) else "int8"


class OnnxRuntimePredictor:
    """A session on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without VNNI, x86 kernels add pairs of products in saturating 16-bit; ARM's do not, and this mode does not.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise unreadable(path, error) from None
        if METADATA_KEY in self.metadata:
            found = Interface.from_json(self.metadata[METADATA_KEY], subject=str(path))
        else:
            found = Interface(
                tuple(_plain(value) for value in self._session.get_inputs()),
                tuple(_plain(value) for value in self._session.get_outputs()),
            )
        self.inputs, self.outputs = found.inputs, found.outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the session once."""
        names = [value.name for value in self._session.get_inputs()]
        results: list[Array] = self._session.run(None, dict(zip(names, inputs, strict=True)))
        return results


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
}


def _plain(value: Any) -> TensorInterface:
    """The interface of an `.onnx` file that edgecomp did not write."""
    dtype = _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInterface(value.name, dtype, shape, source_dtype=dtype)


def unreadable(path: Path, error: Exception) -> SourceError:
    """The error for a file that is damaged, or something else altogether."""
    return SourceError(
        str(path),
        expected="a model that ONNX Runtime can load",
        actual=str(error).splitlines()[0] if str(error) else type(error).__name__,
        cure="check that the file is complete; write it again if it is not",
    )


CONVERTER = OnnxRuntimeConverter()
