"""ONNX Runtime: the graph as it is, with QuantizeLinear / DequantizeLinear pairs where it is quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from edgecomp.graph.query import shape_of
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.qdq import to_qdq

#: Operators of the portable scheme that ONNX Runtime's CPU provider has no integer kernel for: it executes them in
#: float between a DequantizeLinear and a QuantizeLinear. Read off the optimized graphs of ONNX Runtime 1.31
#: (tests/converters/test_onnxruntime.py does it again).
FLOAT_KERNELS = frozenset(
    "Clip ConvTranspose Gelu HardSigmoid HardSwish Identity LogSoftmax PRelu ReduceMean ReduceSum Relu Sub Tanh".split()
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
            raise _unreadable(path, error) from None
        predictor = self.open(path)
        quantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        counts = Counter(
            (node.op_type, "int8" if node.input and node.input[0] in quantized and node.op_type not in FLOAT_KERNELS else "float32")
            for node in model.graph.node
            if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}
        )
        counts |= Counter(
            (node.op_type, "int8") for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
        )
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
        assert source.name is not None and stored.dtype is not None and source.dtype is not None
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
    fused = {id(scheme.fused_activation(node)) for node in graph if scheme.runs_in_integers(node, model.quantization)}
    islands = []
    for node in graph:
        if id(node) in fused:
            continue
        if not scheme.runs_in_integers(node, model.quantization):
            islands.append(FloatIsland(node.name or "", node.op_type, "the portable scheme keeps it in float"))
        elif node.op_type in FLOAT_KERNELS:
            islands.append(FloatIsland(node.name or "", node.op_type, "ONNX Runtime has no int8 kernel for it"))
    return tuple(islands)


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
        except Exception as error:
            raise _unreadable(path, error) from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY in metadata:
            found = Interface.from_json(metadata[METADATA_KEY], subject=str(path))
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


_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"}


def _plain(value: Any) -> TensorInterface:
    """The interface of an `.onnx` file that edgecomp did not write."""
    dtype = _DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInterface(value.name, dtype, shape, source_dtype=dtype)


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(
        str(path),
        expected="a model that ONNX Runtime can load",
        actual=str(error).splitlines()[0] if str(error) else type(error).__name__,
        cure="check that the file is complete; write it again if it is not",
    )


CONVERTER = OnnxRuntimeConverter()
