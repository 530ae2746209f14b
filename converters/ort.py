"""ORT format: the output of the ONNX Runtime converter, optimized and packed for ONNX Runtime's mobile builds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecomp.converter import Conversion, ConversionOptions, Unsupported
from edgecomp.converters.onnxruntime import CONVERTER as ONNX
from edgecomp.converters.onnxruntime.precisions import ORT_PRECISIONS
from edgecomp.converters.onnxruntime.runtime import OnnxRuntimePredictor, unreadable
from edgecomp.inspection import Contents, Inspection, Node, Tensor
from edgecomp.interface import Interface
from edgecomp.system.isolation import run_isolated

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
        """Returns the same nodes as the ONNX Runtime converter."""
        return ONNX.check(model, options)

    def convert(self, model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
        """Writes an `.ort` file, by ONNX Runtime in a separate process."""
        from edgecomp.converters.onnxruntime.convert import float_islands, write

        with tempfile.TemporaryDirectory(prefix="edgecomp-ort-") as folder:
            source = Path(folder) / "model.onnx"
            write(model, source, options)
            run_isolated(
                "edgecomp.converters.ort:write_ort", subject=str(path), source=str(source), target=str(path.absolute())
            )
        return Conversion(path, float_islands(model))

    def open(self, path: Path, threads: int = 1) -> OnnxRuntimePredictor:
        """Loads a model for running on the CPU."""
        return OnnxRuntimePredictor(path, threads)

    def inspect(self, path: Path) -> Inspection:
        """Reads the graph of an `.ort` file."""
        predictor = self.open(path)
        try:
            contents = _contents(path, predictor.interface)
        except Exception as error:
            # Damaged files make flatbuffers raise struct.error, IndexError, TypeError and more.
            raise unreadable(path, error) from None
        return Inspection(
            format=self.name,
            size=path.stat().st_size,
            inputs=predictor.inputs,
            outputs=predictor.outputs,
            contents=contents,
            metadata=predictor.metadata,
        )


def write_ort(source: str, target: str) -> None:
    """Converts a file, in the child process of `convert`.

    ONNX Runtime does not fuse operators when it loads this format, so they are fused here; otherwise QuantizeLinear and
    DequantizeLinear would stay, and run in float. Fusing does not depend on the processor up to the level "extended";
    beyond that, layouts are chosen for the current one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = target
    options.add_session_config_entry("session.save_model_format", "ORT")
    # On x86, ONNX Runtime would rewrite int8 activations to uint8; ARM kernels use them unchanged.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _contents(path: Path, interface: Interface) -> Contents:
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    from edgecomp.converters.onnxruntime.inspection import INTEGER_OPERATORS  # it loads ONNX

    graph: Any = InferenceSession.GetRootAs(path.read_bytes(), 0).Model().Graph()
    tensors: dict[bytes, Tensor] = {}
    for index in range(graph.NodeArgsLength()):
        argument = graph.NodeArgs(index)
        tensors[argument.Name()] = _argument(argument)
    for index in range(graph.InitializersLength()):
        weight = graph.Initializers(index)
        shape = tuple(int(weight.Dims(axis)) for axis in range(weight.DimsLength()))
        dtype = _dtype(weight.DataType())
        tensors[weight.Name()] = Tensor(weight.Name().decode(), dtype, shape, stored=weight.RawDataLength())
    places = {name: place for place, name in enumerate(tensors)}
    nodes = []
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        inputs = [node.Inputs(place) for place in range(node.InputsLength())]
        outputs = [node.Outputs(place) for place in range(node.OutputsLength())]
        name = (node.Name() or outputs[0]).decode()
        nodes.append(
            Node(
                op_type=node.OpType().decode(),
                name=name,
                precision=INTEGER_OPERATORS.get(node.OpType().decode(), tensors[outputs[0]].dtype),
                inputs=tuple(places.get(name) for name in inputs),
                outputs=tuple(places[name] for name in outputs if name),
                module=interface.module_of(name) or interface.module_of(outputs[0].decode()),
            )
        )
    return Contents(
        tuple(tensors.values()),
        tuple(nodes),
        tuple(places[graph.Inputs(i)] for i in range(graph.InputsLength()) if tensors[graph.Inputs(i)].stored is None),
        tuple(places[graph.Outputs(i)] for i in range(graph.OutputsLength())),
    )


def _dtype(number: int) -> str:
    import onnx

    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64", "undefined": "unknown"}.get(name, name)


def _argument(argument: Any) -> Tensor:
    """Reads a tensor with its type and shape from the file."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.TensorTypeAndShape import TensorTypeAndShape

    name = argument.Name().decode()
    if argument.Type() is None or argument.Type().Value() is None:
        return Tensor(name, "unknown")
    tensor, table = TensorTypeAndShape(), argument.Type().Value()
    tensor.Init(table.Bytes, table.Pos)
    shape = tensor.Shape()
    if shape is None:
        return Tensor(name, _dtype(tensor.ElemType()))
    sizes = [shape.Dim(index).Value() for index in range(shape.DimLength())]
    # A DimensionValueType of 1 is a number, 2 is a symbol.
    return Tensor(
        name,
        _dtype(tensor.ElemType()),
        tuple(int(size.DimValue()) if size is not None and size.DimType() == 1 else None for size in sizes),
    )


CONVERTER = OrtConverter()
