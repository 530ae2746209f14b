"""Recurrent layers and operators with subgraphs: in float as the graph says, in int8 as the simulation does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from case import Case, Precision
from net import Net
from recurrent import CASES, recurrent
from running import refer, run_artifact

from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.weights import WeightInt4, WeightInt8, WeightQuantization, quantize_weights


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("precision", ["float", "int8"])
@pytest.mark.parametrize("format_name", ["tflite", "mnn"])
def test_a_recurrent_layer_computes_what_the_graph_says(
    format_name: str, case: Case, precision: Precision, tmp_path: Path
) -> None:
    net = Net(opset=case.opset)
    case.build(net)
    reference = refer(net.model(), net.feeds)
    exact = precision == "float"
    model = reference.float_model if exact else reference.int8_model
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    predictor = converter.open(path)
    for _ in range(2):  # a second run starts from the same state
        outputs = run_artifact(predictor, reference.inputs)
        for output, expected, step in zip(
            outputs, reference.expected if exact else reference.simulated, reference.steps, strict=True
        ):
            assert np.abs(output - expected).max() <= (1e-5 * np.abs(expected).max() if exact else case.steps * step)


#: Layers whose weights are cut, turned over and shared by the steps of loops.
_STORED = ("lstm-bidirectional", "lstm-peepholes", "gru-torch", "gru-loop-of-loops", "rnn")


@pytest.mark.parametrize("case", [case for case in CASES if case.name in _STORED], ids=lambda case: case.name)
@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
@pytest.mark.parametrize("settings", [WeightInt8(), WeightInt4()], ids=lambda settings: settings.kind)
def test_weights_of_recurrent_layers_have_the_same_integers_everywhere(
    settings: WeightQuantization, format_name: str, case: Case, tmp_path: Path
) -> None:
    net = Net(opset=case.opset)
    case.build(net)
    reference = refer(net.model(), net.feeds)
    model = quantize_weights(reference.float_model, settings)
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(model, path, ConversionOptions())
    given = run_artifact(converter.open(path), reference.inputs)
    for output, expected, exact in zip(given, Simulation(model).run(reference.inputs), reference.expected, strict=True):
        largest = np.abs(expected).max()
        assert np.abs(output - expected).max() <= 1e-5 * largest
        assert np.abs(exact - expected).max() > 1e-4 * largest  # weights are rounded, and it shows


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime"])
@pytest.mark.parametrize("op_type", ["LSTM", "GRU"])
def test_static_int8_stores_the_weights_of_recurrent_layers_in_a_quarter(
    op_type: str, format_name: str, tmp_path: Path
) -> None:
    net = Net(opset=17)
    recurrent(op_type, steps=20, batch=1, hidden=128, results=1)(net)
    reference = refer(net.model(), net.feeds)
    converter, sizes = load_converter(format_name), []
    for model in (reference.float_model, reference.int8_model):
        path = tmp_path / f"model{len(sizes)}{converter.suffixes[0]}"
        conversion = converter.convert(model, path, ConversionOptions())
        sizes.append(path.stat().st_size)
    weights = 4 * sum(
        value.size
        for name, value in ((value.name, value.const_value) for value in model.graph.graph.initializers.values())
        if value is not None and name in model.quantization
    )
    assert weights > 150_000
    assert sizes[1] < sizes[0] - 0.7 * weights
    assert [(island.op_type, island.reason) for island in conversion.islands] == [
        (op_type, "the portable scheme keeps it in float; its constant weights are int8")
    ]
    (given,), (expected,) = run_artifact(converter.open(path), reference.inputs), reference.simulated
    # The Relu in front may be a step off.
    assert np.abs(given - expected).max() <= 0.02 * np.abs(expected).max()
