"""One run of MNN's converter, and of what it wrote."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgecomp.arrays import Array
from edgecomp.converters.mnn.net import Net, read_net, rewrite
from edgecomp.converters.mnn.parameters import compression_parameters, tensor_quantization, weight_parameters
from edgecomp.converters.mnn.rewriting import Rewriting
from edgecomp.converters.mnn.trial import Trial, prepare, run_trial
from edgecomp.errors import ConversionError, InputError
from edgecomp.graph.border import border_shape, restricted
from edgecomp.graph.modules import modules_beyond_names
from edgecomp.graph.saving import save_beside
from edgecomp.interface import Interface, TensorInterface
from edgecomp.model import CompressedModel
from edgecomp.processing import Processing
from edgecomp.shapes import InputShapes
from edgecomp.system.isolation import run_isolated
from edgecomp.system.memory import forget

_TIMEOUT = 600.0


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A file that MNN can run.

    Attributes:
        artifact: The file, in the folder that it was made in.
        net: What it was made of.
        interface: Its inputs and outputs.
        trial: What it ran on.
        outputs: What it made of each batch.
        integer: The names of the ops that ran in int8; None where nothing ran.
    """

    artifact: Path
    net: Net
    interface: Interface
    trial: Trial
    outputs: list[list[Array]]
    integer: frozenset[str] | None


def attempt(
    folder: Path,
    model: CompressedModel,
    lowered: Rewriting,
    shapes: InputShapes | None,
    subject: str,
    processing: Processing | None = None,
) -> Attempt:
    """Converts a model and runs the result: MNN ignores what it cannot match, and crashes on what it cannot run.

    Args:
        folder: For the files in between.
        model: To convert.
        lowered: What `lowering.lower` made of it.
        shapes: The dimensions that are dynamic in it.
        subject: For the error message.
        processing: The steps around the model, to be said in the file's code.

    Raises:
        ConversionError: MNN's converter or the runtime failed.
    """
    interface = _interface(model, shapes)
    net = _convert_in(folder, model, lowered, subject)
    around = {} if processing is None or processing.is_empty else {"processing": processing.as_dict()}
    finished = folder / "finished.mnn"
    finished.write_bytes(rewrite(net, code=interface.to_json(**around), quantization=net.quantization))
    forget(net.buffer)
    trial = prepare(model)
    try:
        outputs, integer = run_trial(finished, interface, trial, subject)
    except InputError as error:  # of the file, or of the trial's inputs: neither is the user's
        raise ConversionError(
            subject,
            expected="a file that MNN can run",
            actual=f"MNN stops: {error.actual}",
            cure="report this with the model, or leave MNN out with --formats",
        ) from None
    return Attempt(finished, net, interface, trial, outputs, integer if trial.batches else None)


def _convert_in(folder: Path, model: CompressedModel, lowered: Rewriting, subject: str) -> Net:
    """The converted net, with the parameters of all its tensors."""
    source, float_path = folder / "model.onnx", folder / "float.mnn"
    save_beside(lowered.model, source)
    float_net = _mnnconvert("ONNX", source, float_path, subject)
    if model.precision == "fp16":
        return _mnnconvert("MNN", float_path, folder / "half.mnn", subject, half=True)
    if not model.quantization:
        return float_net
    if model.weights_only:
        parameters = weight_parameters(float_net, lowered.model.graph, lowered.quantization)
        return _compressed(folder, float_path, parameters, subject)
    tensors = tensor_quantization(float_net, lowered.model.graph, lowered.quantization)
    parameters = compression_parameters(float_net, tensors, lowered.model.graph, lowered.quantization)
    net = _compressed(folder, float_path, parameters, subject)
    return dataclasses.replace(net, quantization=tensors)


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


def _interface(model: CompressedModel, shapes: InputShapes | None) -> Interface:
    graph = model.graph.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]

    def describe(value: ir.Value) -> TensorInterface:
        return _tensor_interface(value, border_shape(value, shapes))

    outputs = tuple(map(describe, graph.outputs))
    found = Interface(tuple(map(describe, inputs)), outputs, modules_beyond_names(graph), model.precision)
    return restricted(found, shapes)


def _tensor_interface(value: ir.Value, shape: tuple[int | None, ...]) -> TensorInterface:
    dtype = "float32" if value.dtype is None else str(value.dtype.numpy())
    # MNN has one float and one integer type at its border.
    stored = "int32" if (value.dtype is not None and value.dtype.is_integer()) or dtype == "bool" else "float32"
    return TensorInterface(value.name or "", stored, shape, source_dtype=dtype)
