"""Writes a compressed model as a `.mnn` file."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgecomp.converter import Conversion, ConversionOptions, FloatIsland
from edgecomp.converters.mnn.net import Net, read_net, rewrite
from edgecomp.converters.mnn.operators import unsupported_nodes
from edgecomp.converters.mnn.overlay import lower_any
from edgecomp.converters.mnn.parameters import compression_parameters, tensor_quantization, weight_parameters
from edgecomp.converters.mnn.precision import is_plumbing, runs_in_int8
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.errors import ConversionError, UnsupportedOperatorError
from edgecomp.graph.border import border_shape
from edgecomp.graph.modules import modules_beyond_names
from edgecomp.graph.query import shape_of
from edgecomp.interface import Interface, TensorInterface
from edgecomp.isolation import run_isolated
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import fused_activation, runs_in_integers
from edgecomp.shapes import InputShapes

_TIMEOUT = 600.0
_ACTIVATIONS = frozenset({"ReLU", "ReLU6"})


def convert(model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
    """Writes `model` to `path` through MNN's converter, with the model's own scales.

    Raises:
        UnsupportedOperatorError: MNN cannot express a node.
        ConversionError: MNN's converter failed, or left in float what it can compute in integers.
    """
    lowered, shapes, notes = lower_any(model)
    for problem in unsupported_nodes(model, options, lowered):
        raise UnsupportedOperatorError(
            f"{problem.op_type} {problem.node!r} for MNN",
            expected="an operator that MNN can express",
            actual=problem.reason,
            cure=problem.cure,
        )
    interface = _interface(model, shapes)
    with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as name:
        folder = Path(name)
        net, layers = _convert_in(folder, model, lowered, str(path))
        artifact = rewrite(net, code=interface.to_json(), quantization=net.quantization)
        finished = folder / "finished.mnn"
        finished.write_bytes(artifact)
        examples = {value.name or "": list(shape_of(value)) for value in model.graph.graph.inputs}
        integer = _check(finished, examples, layers, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(artifact)
    return Conversion(path, _islands(model, lowered, net, integer), notes)


def _convert_in(folder: Path, model: CompressedModel, lowered: Rewriting, subject: str) -> tuple[Net, frozenset[str]]:
    """The converted net, with the parameters of all its tensors, and the names of the ops that are to run in int8."""
    source, float_path = folder / "model.onnx", folder / "float.mnn"
    ir.save(lowered.model, source)
    float_net = _mnnconvert("ONNX", source, float_path, subject)
    if model.precision == "fp16":
        return _mnnconvert("MNN", float_path, folder / "half.mnn", subject, half=True), frozenset()
    if not model.quantization:
        return float_net, frozenset()
    if model.weights_only:
        parameters = weight_parameters(float_net, lowered.model.graph, lowered.quantization)
        return _compressed(folder, float_path, parameters, subject), frozenset()
    tensors = tensor_quantization(float_net, lowered.quantization)
    parameters = compression_parameters(float_net, tensors, lowered.model.graph, lowered.quantization)
    net = _compressed(folder, float_path, parameters, subject)
    layers = frozenset(layer["opName"] for layer in parameters["algo"][0]["quantParams"]["layer"])
    wanted = [node for node in model.graph.graph if node.op_type in {"Conv", "Gemm"}]
    if not layers and any(runs_in_integers(node, model.quantization) for node in wanted):
        raise _left_in_float(subject, "all layers")
    return dataclasses.replace(net, quantization=tensors), layers


def _compressed(folder: Path, source: Path, parameters: Mapping[str, Any], subject: str) -> Net:
    compression = folder / "compression.json"
    compression.write_text(json.dumps(parameters))
    return _mnnconvert("MNN", source, folder / "compressed.mnn", subject, compression)


def _mnnconvert(
    framework: str, source: Path, target: Path, subject: str, compression: Path | None = None, *, half: bool = False
) -> Net:
    run_isolated(
        "edgecomp.converters.mnn.toolchain:run_mnnconvert",
        subject=subject,
        timeout=_TIMEOUT,
        framework=framework,
        source=str(source),
        target=str(target),
        compression=None if compression is None else str(compression),
        half=half,
    )
    if not target.exists():
        raise ConversionError(
            subject,
            expected="a file from MNN's converter",
            actual="it ended without an error and wrote none",
            cure="report this with the model, or leave this format out with --formats",
        )
    return read_net(target)


def _check(path: Path, shapes: dict[str, list[int]], layers: frozenset[str], subject: str) -> frozenset[str]:
    """Runs the file in a process of its own: MNN ignores what it cannot match, and crashes on what it cannot run.

    Args:
        path: The file.
        shapes: Of the inputs, dynamic ones at their example size.
        layers: The names of the ops that are to run in int8.
        subject: The artifact, for messages.

    Returns:
        The names of the ops that ran in int8.
    """
    integer = run_isolated(
        "edgecomp.converters.mnn.toolchain:trace", subject=subject, timeout=_TIMEOUT, path=str(path), shapes=shapes
    )
    missing = sorted(layers - set(integer))
    if missing:
        raise _left_in_float(subject, ", ".join(missing))
    return frozenset(integer)


def _left_in_float(subject: str, what: str) -> ConversionError:
    return ConversionError(
        subject,
        expected="convolutions and matrix products in int8",
        actual=f"MNN computes {what} in float",
        cure="report this with the model, or leave this format out with --formats",
    )


def _islands(
    model: CompressedModel, lowered: Rewriting, net: Net, integer: frozenset[str] | None
) -> tuple[FloatIsland, ...]:
    """The nodes of the source that some op of the net computes in float."""
    wanted = {node.name: node for node in model.graph.graph if runs_in_integers(node, model.quantization)}
    fused = {activation.name: name for name, node in wanted.items() if (activation := fused_activation(node))}
    known = {value.name: lowered.origin(node) for node in lowered.model.graph for value in node.outputs}
    makers: dict[int, str | None] = {index: known.get(name) for index, name in enumerate(net.tensors) if name in known}
    reasons: dict[str | None, str] = {}
    for op in reversed(net.ops):
        # A tensor that MNN made itself belongs to the node that it was made for.
        maker = next((makers[index] for index in op.outputs if index in makers), None)
        for index in op.inputs:
            makers.setdefault(index, maker)
        if op.type not in _ACTIVATIONS:
            # A tensor has its name from the activation that MNN fused into the op.
            maker = fused.get(maker, maker)
        if not is_plumbing(op) and op.type != "ConvertTensor" and not runs_in_int8(net, op, integer):
            reasons.setdefault(maker, f"MNN computes {op.type} in float")
    return tuple(
        FloatIsland(name or "", node.op_type, reasons[name]) for name, node in wanted.items() if name in reasons
    )


def _interface(model: CompressedModel, shapes: InputShapes | None) -> Interface:
    graph = model.graph.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]

    def describe(value: ir.Value) -> TensorInterface:
        return _tensor_interface(value, border_shape(value, shapes))

    return Interface(
        tuple(map(describe, inputs)),
        tuple(map(describe, graph.outputs)),
        modules_beyond_names(graph),
        model.precision,
    )


def _tensor_interface(value: ir.Value, shape: tuple[int | None, ...]) -> TensorInterface:
    dtype = "float32" if value.dtype is None else str(value.dtype.numpy())
    # MNN has one float and one integer type at its border.
    stored = "int32" if (value.dtype is not None and value.dtype.is_integer()) or dtype == "bool" else "float32"
    return TensorInterface(value.name or "", stored, shape, source_dtype=dtype)
