"""ORT format: what the ONNX Runtime converter writes, optimized already and packed for ONNX Runtime's mobile builds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.converter import Conversion, ConversionOptions, Inspection, Unsupported, count_operators
from edgecomp.converters.onnxruntime import CONVERTER as ONNX
from edgecomp.converters.onnxruntime.inspection import INTEGER_OPERATORS
from edgecomp.converters.onnxruntime.precisions import ORT_PRECISIONS
from edgecomp.converters.onnxruntime.runtime import OnnxRuntimePredictor, unreadable
from edgecomp.isolation import run_isolated

if TYPE_CHECKING:
    from edgecomp.model import CompressedModel


class OrtConverter:
    """`.ort` files for ONNX Runtime, reduced builds included."""

    name = "ort"
    suffixes: tuple[str, ...] = (".ort",)
    precisions = ORT_PRECISIONS

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        return ONNX.runtime

    def check(self, model: CompressedModel, options: ConversionOptions) -> list[Unsupported]:
        """What stops ONNX Runtime stops this format, and nothing else."""
        return ONNX.check(model, options)

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes an `.ort` file, through ONNX Runtime in a process of its own."""
        from edgecomp.converters.onnxruntime.convert import float_islands, serialize

        with tempfile.TemporaryDirectory(prefix="edgecomp-ort-") as folder:
            source = Path(folder) / "model.onnx"
            source.write_bytes(serialize(model, options))
            run_isolated(
                "edgecomp.converters.ort:write_ort", subject=str(path), source=str(source), target=str(path.absolute())
            )
        return Conversion(path, float_islands(model))

    def open(self, path: Path, threads: int = 1) -> OnnxRuntimePredictor:
        """Loads a model for running on the CPU."""
        return OnnxRuntimePredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Counts operators by the type of their first output: what the kernel computes in."""
        predictor = self.open(path)
        try:
            operators, weight_bytes = _read(path)
        except Exception as error:
            # flatbuffers' reader raises struct.error, IndexError, TypeError and more, as the damage happens to be.
            raise unreadable(path, error) from None
        return Inspection(
            format=self.name,
            size=path.stat().st_size,
            inputs=predictor.inputs,
            outputs=predictor.outputs,
            operators=count_operators(operators),
            weight_bytes=weight_bytes,
            metadata=predictor.metadata,
            precision=predictor.precision,
        )


def write_ort(source: str, target: str) -> None:
    """Converts a file; the child's side of `convert`.

    ONNX Runtime does not fuse operators when it loads this format, so they are fused here: left as QuantizeLinear and
    DequantizeLinear they would run in float for ever. Fusing is independent of the processor up to the level
    "extended"; beyond that, layouts are chosen for the one at hand.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = target
    options.add_session_config_entry("session.save_model_format", "ORT")
    # On x86, ONNX Runtime would rewrite int8 activations to uint8; ARM's kernels take them as they are.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _read(path: Path) -> tuple[list[tuple[str, str]], int]:
    """The type and precision of every operator, and the bytes of all constants."""
    import onnx
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph: Any = InferenceSession.GetRootAs(path.read_bytes(), 0).Model().Graph()
    types = {}
    for index in range(graph.NodeArgsLength()):
        argument = graph.NodeArgs(index)
        types[argument.Name()] = _element_type(argument)
    operators = []
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        kind = types.get(node.Outputs(0), 0)
        precision = onnx.TensorProto.DataType.Name(kind).lower().replace("float", "float32")
        name = node.OpType().decode()
        operators.append((name, INTEGER_OPERATORS.get(name, precision)))
    return operators, sum(graph.Initializers(index).RawDataLength() for index in range(graph.InitializersLength()))


def _element_type(argument: Any) -> int:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

    if argument.Type() is None or argument.Type().Value() is None:
        return 0
    tensor = TensorTypeAndShape()
    table = argument.Type().Value()
    tensor.Init(table.Bytes, table.Pos)
    return int(tensor.ElemType())


CONVERTER = OrtConverter()
