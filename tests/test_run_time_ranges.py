"""Files that ONNX Runtime has quantized dynamically: their ranges follow from each input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import edgecomp
from edgecomp.errors import InputError
from edgecomp.precision import Precision
from edgecomp.recipe import Recipe, default_recipe
from edgecomp.target import load_target

TARGET = "raspberry-pi-4b"
SHAPE = (1, 3, 12, 12)


def network() -> onnx.ModelProto:
    """Convolutions, then matrices."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (8, 300), "w4": (300, 5), "b4": (5,)}
    weights = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", pads=[1] * 4, group=8),
        helper.make_node("GlobalAveragePool", ["c2"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "w3"], ["m"], "hidden"),
        helper.make_node("Relu", ["m"], ["r2"], "relu2"),
        helper.make_node("Gemm", ["r2", "w4", "b4"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 5))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def dynamic(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    weights, per_channel = getattr(request, "param", (QuantType.QInt8, False))
    onnx.save(network(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx", per_channel=per_channel, weight_type=weights)
    return tmp_path / "dynamic.onnx"


def recipe(precision: Precision, *formats: str) -> Recipe:
    return replace(default_recipe(load_target(TARGET), precision), formats=formats)


@pytest.mark.parametrize(
    "dynamic",
    [(kind, per_channel) for kind in (QuantType.QInt8, QuantType.QUInt8) for per_channel in (False, True)],
    indirect=True,
)
def test_every_format_computes_what_the_specification_says(dynamic: Path, tmp_path: Path) -> None:
    result = edgecomp.compress(dynamic, TARGET, tmp_path / "out", recipe=recipe("fp32", "tflite", "onnxruntime", "mnn"))
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(dynamic))
    rng = np.random.default_rng(1)
    for size in (0.1, 1, 10):
        x = (size * rng.standard_normal(SHAPE)).astype(np.float32)
        (expected,) = evaluator.run(None, {"x": x})
        for path in result.artifacts.values():
            (given,) = edgecomp.load(path).predict(x).values()
            np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=str(path))


def test_integers_with_ranges_of_their_own_are_not_rounded_again(dynamic: Path, tmp_path: Path) -> None:
    data = [(np.ones(SHAPE, np.float32),)] * 4
    with pytest.raises(InputError, match="quantizes itself at run time"):
        edgecomp.compress(
            dynamic, TARGET, tmp_path / "out", recipe=recipe("int8", "onnxruntime"), calibration=lambda: iter(data)
        )
