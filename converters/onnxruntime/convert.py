"""Writes graph and quantization table as an `.onnx` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.converter import Conversion, ConversionOptions, FloatIsland, Unsupported
from edgecomp.converters.onnxruntime.half import to_half
from edgecomp.converters.onnxruntime.metadata import IMAGE, properties
from edgecomp.converters.onnxruntime.weights import multiplies_integers, with_integer_weights
from edgecomp.graph.border import border_shape, restricted
from edgecomp.graph.modules import modules_beyond_names
from edgecomp.graph.query import constant, is_float
from edgecomp.graph.saving import save_graph
from edgecomp.interface import METADATA_KEY, Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.processing import Processing
from edgecomp.quantization import scheme
from edgecomp.quantization.float_share import reason_in_float
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import is_redundant_clip, to_qdq
from edgecomp.quantization.tables import look_up_integers

#: Operators of the portable scheme without an integer kernel in ONNX Runtime's CPU provider, which executes them in
#: float between a DequantizeLinear and a QuantizeLinear. Taken from the optimized graphs of ONNX Runtime 1.31;
#: tests/converters/test_onnxruntime.py checks it.
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


#: In bytes. Smaller constants are stored for each reader.
_WORTH_SHARING = 1024
#: Number of first elements by which most constants can be told apart.
_TELLING = 64


def check(model: CompressedModel) -> list[Unsupported]:
    """Returns the nodes of domains for which ONNX Runtime has no operators."""
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


def convert(model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
    """Writes a model to `path`."""
    write(model, path, options)
    return Conversion(path, float_islands(model))


def write(model: CompressedModel, path: Path, options: ConversionOptions) -> None:
    """Writes the `.onnx` file; the same model always gives the same bytes."""
    model = look_up_integers(model)
    if model.precision == "fp16":
        graph = to_half(model)
    elif model.weights_only:
        graph = with_integer_weights(model)
    else:
        graph = to_qdq(model, integer_io=options.io_dtype == "int8", activations=options.activations)
    _drop_unread(graph.graph)
    _share_equal(graph.graph)
    graph.producer_name, graph.producer_version = "edgecomp", None
    processing = options.processing or Processing()
    graph.metadata_props.update({METADATA_KEY: interface(model, graph).to_json(), **properties(processing)})

    def denote(proto: onnx.ModelProto) -> None:
        if processing.preprocessing is not None and processing.preprocessing.layout == "nchw":
            proto.graph.input[0].type.denotation = IMAGE

    save_graph(graph, path, denote)


def _drop_unread(graph: ir.Graph) -> None:
    """Removes unused constants, such as weights that were replaced by folded ones."""
    for name, value in tuple(graph.initializers.items()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            del graph.initializers[name]


def _share_equal(graph: ir.Graph) -> None:
    """Stores equal constants once: a layer that is used twice comes with a copy of its weight for each use."""
    alike: dict[tuple[object, ...], list[ir.Value]] = {}
    for name, value in tuple(graph.initializers.items()):
        array = constant(value)
        if array is None or array.nbytes < _WORTH_SHARING or value.is_graph_input() or value.is_graph_output():
            continue
        others = alike.setdefault((value.dtype, array.shape, array.reshape(-1)[:_TELLING].tobytes()), [])
        same = next((other for other in others if np.array_equal(constant(other), array)), None)  # type: ignore[arg-type]
        if same is None:
            others.append(value)
        else:
            value.replace_all_uses_with(same)
            del graph.initializers[name]


def interface(model: CompressedModel, graph: ir.Model) -> Interface:
    """Returns how the inputs and outputs of `graph` represent those of `model`."""

    def describe(stored: ir.Value, source: ir.Value) -> TensorInterface:
        assert source.name is not None
        assert stored.dtype is not None
        assert source.dtype is not None
        unsigned = stored.dtype == ir.DataType.UINT8
        parameters = model.quantization.get(source.name) if stored.dtype != source.dtype else None
        return TensorInterface(
            source.name,
            stored.dtype.numpy().name,
            border_shape(source, model.dynamic),
            scale=None if parameters is None else float(parameters.scale),
            zero_point=None if parameters is None else int(parameters.zero_point) + (128 if unsigned else 0),
            source_dtype=source.dtype.numpy().name,
        )

    source = model.graph.graph
    found = Interface(
        tuple(describe(*pair) for pair in zip(graph.graph.inputs, source.inputs, strict=True)),
        tuple(describe(*pair) for pair in zip(graph.graph.outputs, source.outputs, strict=True)),
        modules_beyond_names(source),
        model.precision,
    )
    return restricted(found, model.dynamic)


def float_islands(model: CompressedModel) -> tuple[FloatIsland, ...]:
    """Returns the nodes of a quantized model that ONNX Runtime computes in float."""
    if not model.quantization:
        return ()
    graph = model.graph.graph
    if model.weights_only:
        return _float_products(model) if model.precision == "dynamic-int8" else ()
    islands = []
    for node in graph:
        if not scheme.runs_in_integers(node, model.quantization):
            if any(is_float(value) for value in node.inputs) and any(is_float(value) for value in node.outputs):
                reason = reason_in_float(model, node.name or "", node.op_type)
                islands.append(FloatIsland(node.name or "", node.op_type, reason))
            continue
        if model.precision == "int16x8":
            continue  # all operators compute in float, as the table of precisions says
        parameters = model.quantization[node.outputs[0].name or ""]
        if parameters.dtype == "int16":
            islands.append(
                FloatIsland(node.name or "", node.op_type, "ONNX Runtime has no kernels of int16 activations")
            )
        elif needs_float(node, parameters):
            islands.append(FloatIsland(node.name or "", node.op_type, "ONNX Runtime has no int8 kernel for it"))
    return tuple(islands)


def _float_products(model: CompressedModel) -> tuple[FloatIsland, ...]:
    """Returns the nodes whose integer weights are not multiplied as integers."""
    return tuple(
        FloatIsland(node.name or "", node.op_type, _FLOAT_PRODUCTS.get(node.op_type, _FLOAT_RECURRENCE))
        for node in model.graph.graph
        if any(scheme.is_weight_of(node, value) and value.name in model.quantization for value in node.inputs if value)
        and not multiplies_integers(node, model)
    )


_FLOAT_RECURRENCE = "ONNX Runtime's kernel computes in float, on int8 weights that are unpacked at loading"
_FLOAT_PRODUCTS = dict.fromkeys(scheme.WEIGHTED, "ONNX Runtime's float kernel is faster than ConvInteger")


def needs_float(node: ir.Node, parameters: QuantizationParameters) -> bool:
    """Tells whether ONNX Runtime has no integer kernel for a node whose output has `parameters`."""
    match node.op_type:
        case "Relu" | "Clip":
            return not is_redundant_clip(node, parameters)  # otherwise only a change of parameters is left
        case "Resize":
            return node.attributes.get_string("mode", "nearest") != "nearest"
        case _:
            return node.op_type in FLOAT_KERNELS
