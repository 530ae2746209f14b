"""Streaming: a step at a time, with the state in the application's hands, gives what the whole sequence gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.preparation import prepare

STEPS, FEATURES, UNITS = 6, 5, 8


def network(path: Path, steps: int) -> Path:
    """An LSTM whose state goes in and out."""
    random = np.random.default_rng(0)
    shapes = {"W": (1, 4 * UNITS, FEATURES), "R": (1, 4 * UNITS, UNITS), "B": (1, 8 * UNITS)}
    weights = [numpy_helper.from_array(random.normal(0, 0.5, s).astype(np.float32), n) for n, s in shapes.items()]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "h_next", "c_next"], hidden_size=UNITS)
    state = (1, 1, UNITS)
    borders = (
        [("x", (steps, 1, FEATURES)), ("h", state), ("c", state)],
        [
            ("y", (steps, 1, 1, UNITS)),
            ("h_next", state),
            ("c_next", state),
        ],
    )
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in border]
        for border in borders
    )
    graph = helper.make_graph([node], "stream", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime", "mnn"])
def test_steps_with_a_state_are_the_whole_sequence(format_name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(1).random((STEPS, 1, FEATURES), np.float32)
    state = {"h": np.zeros((1, 1, UNITS), np.float32), "c": np.zeros((1, 1, UNITS), np.float32)}
    expected = load_source(network(tmp_path / "whole.onnx", STEPS)).reference([x, state["h"], state["c"]])[0]
    converter = load_converter(format_name)
    path = tmp_path / f"step{converter.suffixes[0]}"
    converter.convert(prepare(load_source(network(tmp_path / "source.onnx", 1))), path, ConversionOptions())
    model, given = edgecomp.load(path), []
    for step in x:
        outputs = model.predict({"x": step[None], **state})
        state = {"h": outputs["h_next"], "c": outputs["c_next"]}
        given.append(outputs["y"][0])
    np.testing.assert_allclose(given, expected, atol=1e-5)
