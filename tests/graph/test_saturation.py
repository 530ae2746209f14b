"""A rounding between operators in float saturates like any other."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgecomp

#: int8 with a zero point at the low end: no number below 0 passes.
CONSTANTS = {
    "w": np.diag([1, -1, 1, -1]).astype(np.float32),
    "scale": np.float32(0.01),
    "zero": np.int8(-128),
}
X = np.array([[4.0, 2.0, 1.21, -1.44]], np.float32)


def roots(path: Path) -> Path:
    """The roots of a product, whose negative numbers a rounding removes: ONNX Runtime's tools leave out such a Relu."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Sqrt", ["d"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> edgecomp.Result:
    folder = tmp_path_factory.mktemp("roots")
    return edgecomp.compress(roots(folder / "roots.onnx"), "generic-arm64", folder / "out", precision="fp32")


@pytest.mark.parametrize("name", ["tflite", "onnxruntime", "mnn"])
def test_no_artifact_takes_the_root_of_a_negative_number(name: str, result: edgecomp.Result) -> None:
    (found,) = edgecomp.load(result.artifacts[name]).predict([X]).values()
    np.testing.assert_allclose(found, [[np.sqrt(2.55), 0, 1.1, 1.2]], rtol=1e-3, atol=1e-6)


def test_that_is_what_the_source_gives_but_for_its_rounding(tmp_path: Path) -> None:
    (expected,) = onnxruntime.InferenceSession(roots(tmp_path / "roots.onnx")).run(None, {"x": X})
    np.testing.assert_allclose(expected, [[np.sqrt(2.55), 0, 1.1, 1.2]], atol=0.01)
