"""Functions of one tensor in int8: every integer of the input gives the integer that the simulation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecomp.artifact import load
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.frontends import load_source
from edgecomp.preparation import prepare
from edgecomp.quantization.simulation import Simulation
from edgecomp.quantization.static import StaticQuantization, quantize_static

SHAPE = (1, 4, 8, 8)


@pytest.mark.parametrize("format_name", ["tflite", "onnxruntime"])
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-4.0, 12.0), (-0.5, 40.0)])
@pytest.mark.parametrize(
    ("op_type", "attributes"), [("HardSwish", {}), ("HardSigmoid", {"alpha": 1 / 6}), ("LeakyRelu", {"alpha": 0.1})]
)
def test_every_integer_is_the_simulations(
    op_type: str, attributes: dict[str, Any], low: float, high: float, format_name: str, tmp_path: Path
) -> None:
    eye = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
    nodes = [
        helper.make_node("Conv", ["input", "eye"], ["x"]),
        helper.make_node(op_type, ["x"], ["y"], **attributes),
        helper.make_node("Conv", ["y", "eye"], ["output"]),
    ]
    model = prepare(load_source(_saved(nodes, eye, tmp_path)))
    drawn = np.linspace(low, high, 256, dtype=np.float32).reshape(SHAPE)
    quantized = quantize_static(model, [(drawn,)], StaticQuantization("minmax"), threads=1)
    x = quantized.quantization["input"].dequantize(np.arange(-128, 128)).reshape(SHAPE)
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(quantized, path, ConversionOptions())
    np.testing.assert_array_equal(load(path).predict(x)["output"], Simulation(quantized).run([x])[0])


def _saved(nodes: list[onnx.NodeProto], eye: np.ndarray, folder: Path) -> Path:
    border = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, SHAPE) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "function", border[:1], border[1:], [numpy_helper.from_array(eye, "eye")])
    path = folder / "function.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path
