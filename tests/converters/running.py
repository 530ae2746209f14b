"""Runs graphs and artifacts on the source's own arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime
from net import Feed

from edgecomp.arrays import Array
from edgecomp.artifact import from_stored, to_stored
from edgecomp.converter import Predictor
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.static import StaticQuantization, quantize_static


def run_graph(model: ir.Model, inputs: Sequence[Array]) -> list[Array]:
    """What ONNX Runtime makes of a graph, with every optimization off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def run_artifact(predictor: Predictor, inputs: Sequence[Array]) -> list[Array]:
    """What an artifact makes of the source's arrays, in the source's layout and real numbers."""
    stored = [to_stored(array, spec) for array, spec in zip(inputs, predictor.inputs, strict=True)]
    results = predictor.run(stored)
    assert [array.dtype.name for array in results] == [spec.dtype for spec in predictor.outputs]
    assert [array.shape for array in results] == [spec.shape for spec in predictor.outputs]
    return [from_stored(array, spec) for array, spec in zip(results, predictor.outputs, strict=True)]


@dataclass(frozen=True)
class Reference:
    """A model in both precisions and what it ought to compute.

    Attributes:
        float_model: Simplified.
        int8_model: Quantized from it.
        inputs: One set of inputs.
        expected: The float graph's outputs.
        simulated: The QDQ graph's outputs.
        steps: The quantization step of each output; for one that has none, 1/255 of its largest value.
    """

    float_model: CompressedModel
    int8_model: CompressedModel
    inputs: list[Array]
    expected: list[Array]
    simulated: list[Array]
    steps: list[float]


def refer(model: ir.Model, feeds: Sequence[Feed]) -> Reference:
    rng = np.random.default_rng(3)
    batches = [tuple(feed.draw(rng) for feed in feeds) for _ in range(3)]
    float_model = simplify(CompressedModel(model))
    int8_model = quantize_static(float_model, batches, StaticQuantization("minmax"), threads=1)
    inputs = [feed.draw(rng) for feed in feeds]
    expected = run_graph(model, inputs)
    simulated = run_graph(to_qdq(int8_model), inputs)
    steps = [
        _step(int8_model.quantization, value, array)
        for value, array in zip(int8_model.graph.graph.outputs, simulated, strict=True)
    ]
    return Reference(float_model, int8_model, inputs, expected, simulated, steps)


def _step(quantization: Mapping[str, QuantizationParameters], value: ir.Value, array: Array) -> float:
    parameters = quantization.get(value.name or "")
    if parameters is not None:
        return float(parameters.scale)
    return float(np.abs(array).max(initial=0) / 255) or 1.0
