"""Writes a compressed model as a `.mnn` file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgecomp.converter import Conversion, ConversionOptions, FloatIsland
from edgecomp.converters.mnn.lowering import lower
from edgecomp.converters.mnn.net import Net, TensorQuantization, read_net, rewrite
from edgecomp.converters.mnn.operators import unsupported_nodes
from edgecomp.converters.mnn.parameters import compression_parameters, tensor_quantization
from edgecomp.converters.mnn.precision import op_precision
from edgecomp.errors import ConversionError, UnsupportedOperatorError
from edgecomp.isolation import run_isolated
from edgecomp.model import CompressedModel
from edgecomp.quantization.scheme import fused_activation, runs_in_integers

_TIMEOUT = 600.0


def convert(model: CompressedModel, path: Path, options: ConversionOptions) -> Conversion:
    """Writes `model` to `path` through MNN's converter, with the model's own scales.

    Raises:
        UnsupportedOperatorError: MNN cannot express a node.
        ConversionError: MNN's converter failed, or left in float what it can compute in integers.
    """
    for problem in unsupported_nodes(model, options):
        raise UnsupportedOperatorError(
            f"{problem.op_type} {problem.node!r} for MNN",
            expected="an operator that MNN can express",
            actual=problem.reason,
            cure=problem.cure,
        )
    with tempfile.TemporaryDirectory(prefix="edgecomp-mnn-") as folder:
        net = _convert_in(Path(folder), model, str(path))
        artifact = rewrite(net, code=_code(model.graph.graph), quantization=net.quantization)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(artifact)
    return Conversion(path, islands=_islands(model, net))


def _convert_in(folder: Path, model: CompressedModel, subject: str) -> Net:
    lowered = lower(model)
    source, float_path = folder / "model.onnx", folder / "float.mnn"
    ir.save(lowered.model, source)
    float_net = _mnnconvert("ONNX", source, float_path, subject)
    if not model.quantization:
        return float_net
    tensors = tensor_quantization(float_net, lowered.quantization)
    parameters = compression_parameters(float_net, tensors, lowered.model.graph, lowered.quantization)
    compression = folder / "compression.json"
    compression.write_text(json.dumps(parameters))
    net = _mnnconvert("MNN", float_path, folder / "int8.mnn", subject, compression)
    described = Net(**{**vars(net), "quantization": tensors})
    _check_layers(described, parameters, subject)
    return described


def _mnnconvert(framework: str, source: Path, target: Path, subject: str, compression: Path | None = None) -> Net:
    run_isolated(
        "edgecomp.converters.mnn.toolchain:run_mnnconvert",
        subject=subject,
        timeout=_TIMEOUT,
        framework=framework,
        source=str(source),
        target=str(target),
        compression=None if compression is None else str(compression),
    )
    if not target.exists():
        raise ConversionError(
            subject,
            expected="a file from MNN's converter",
            actual="it ended without an error and wrote none",
            cure="report this with the model, or leave this format out with --formats",
        )
    return read_net(target)


def _check_layers(net: Net, parameters: Mapping[str, Any], subject: str) -> None:
    """MNN ignores what it cannot match, so what was asked for is compared with what came out."""
    wanted = {layer["opName"] for layer in parameters["algo"][0]["quantParams"]["layer"]}
    missing = sorted(op.name for op in net.ops if op.name in wanted and op_precision(net, op) != "int8")
    if missing:
        raise ConversionError(
            subject,
            expected=f"{len(wanted)} convolutions in int8",
            actual=f"MNN left {', '.join(missing)} in float",
            cure="report this with the model, or leave this format out with --formats",
        )


def _islands(model: CompressedModel, net: Net) -> tuple[FloatIsland, ...]:
    makers = {net.tensors[index]: op for op in net.ops for index in op.outputs}
    islands = []
    for node in model.graph.graph:
        if not runs_in_integers(node, model.quantization):
            continue
        op = makers.get(node.outputs[0].name or "")
        activation = fused_activation(node)
        if op is None and activation is not None:
            op = makers.get(activation.outputs[0].name or "")
        # A tensor that is not in the net was fused away, and the op that it went into is looked at under its own name.
        if op is not None and op_precision(net, op) != "int8":
            islands.append(FloatIsland(node.name or "", node.op_type, f"MNN computes {op.type} in float"))
    return tuple(islands)


def _code(graph: ir.Graph) -> str:
    """What edgecomp writes into the file about the source, as JSON."""
    facts = {
        "inputs": [_facts(value) for value in graph.inputs if value.name not in graph.initializers],
        "outputs": [_facts(value) for value in graph.outputs],
    }
    return json.dumps({"edgecomp": facts}, separators=(",", ":"))


def _facts(value: ir.Value) -> dict[str, Any]:
    shape = None
    if value.shape is not None:
        shape = [size if isinstance(size, int) else None for size in value.shape]
    dtype = "float32" if value.dtype is None else str(value.dtype.numpy())
    return {"name": value.name, "dtype": dtype, "shape": shape}


__all__ = ["TensorQuantization", "convert"]
