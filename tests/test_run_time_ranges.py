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
from edgecomp.frontends import load_source
from edgecomp.precision import Precision
from edgecomp.preparation import prepare
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
def test_every_format_multiplies_the_same_weights(dynamic: Path, tmp_path: Path) -> None:
    result = edgecomp.compress(dynamic, TARGET, tmp_path / "out", recipe=recipe("fp32", "tflite", "onnxruntime", "mnn"))
    assert result.model.precision == "dynamic-int8"
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(dynamic))
    rng = np.random.default_rng(1)
    for size in (0.1, 1, 10):
        x = (size * rng.standard_normal(SHAPE)).astype(np.float32)
        (expected,) = evaluator.run(None, {"x": x})
        for path in result.artifacts.values():
            (given,) = edgecomp.load(path).predict(x).values()
            # Activations are rounded as each runtime does, some not at all.
            np.testing.assert_allclose(given, expected, rtol=0, atol=0.02 * np.abs(expected).max(), err_msg=str(path))


def test_weights_keep_their_integers(dynamic: Path) -> None:
    model = prepare(load_source(dynamic))
    source = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(dynamic).graph.initializer}
    kept = {
        name: entry.quantize(model.graph.graph.initializers[name].const_value.numpy())
        for name, entry in model.quantization.items()
    }
    assert len(kept) == 4
    for name, integers in kept.items():
        np.testing.assert_array_equal(integers, source[name.removesuffix("/real")])


def test_what_is_quantized_at_run_time_in_another_way_stays_arithmetic(tmp_path: Path) -> None:
    """Two activations have no weight: they are multiplied in float, as the specification says."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "round"),
        helper.make_node("MatMulInteger", ["q", "q", "z", "z"], ["sums"], "square"),
        helper.make_node("Cast", ["sums"], ["real"], "cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "s"], ["y"], "scale"),
    ]
    border = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (4, 4)) for name in "xy"]
    graph = helper.make_graph(nodes, "net", border[:1], border[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    model = prepare(load_source(tmp_path / "net.onnx"))
    assert (model.precision, dict(model.quantization)) == ("fp32", {})


def test_a_bias_that_is_rounded_at_run_time_is_real_and_products_may_follow_each_other(tmp_path: Path) -> None:
    """What ONNX Runtime wrote before 1.6: Floor(bias / (scale of x * scale of w)) is added to a convolution's sums."""
    rng = np.random.default_rng(0)
    weights = {"like_bias": np.array([1, -1, 1, 1]), "zw": np.uint8(120), "sw": np.float32(0.01)}
    nodes = []
    for index, (source, result) in enumerate((("x", "middle"), ("middle", "y"))):
        names = ("q", "s", "z", "step", "raw", "whole", "bias", "rounded", "sums", "total", "real", "product", "w", "b")
        own = {name: f"{name}{index}" for name in names}
        weights[own["w"]] = rng.integers(0, 255, (4, 4, 3, 3)).astype(np.uint8)
        weights[own["b"]] = rng.standard_normal(4).astype(np.float32)
        pairs = [
            ("DynamicQuantizeLinear", [source], ["q", "s", "z"]),
            ("Mul", ["s", "sw"], ["step"]),
            ("Div", ["b", "step"], ["raw"]),
            ("Floor", ["raw"], ["whole"]),
            ("Cast", ["whole"], ["bias"]),
            ("Reshape", ["bias", "like_bias"], ["rounded"]),
            ("ConvInteger", ["q", "w", "z", "zw"], ["sums"]),
            ("Add", ["sums", "rounded"], ["total"]),
            ("Cast", ["total"], ["real"]),
            ("Mul", ["s", "sw"], ["product"]),
            ("Mul", ["real", "product"], [result]),
        ]
        for place, (op_type, read, made) in enumerate(pairs):
            kind = {4: {"to": onnx.TensorProto.INT32}, 8: {"to": onnx.TensorProto.FLOAT}}.get(place, {})
            kind |= {"pads": [1] * 4} if op_type == "ConvInteger" else {}
            ends = [[own.get(name, name) for name in each] for each in (read, made)]
            nodes.append(helper.make_node(op_type, *ends, f"{op_type}_{index}_{place}", **kind))
    border = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 4, 6, 6)) for name in "xy"]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", border[:1], border[1:], stored)
    opset = [helper.make_opsetid("", 12)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=6), tmp_path / "old.onnx")
    source = load_source(tmp_path / "old.onnx")
    model = prepare(source)
    assert [node.op_type for node in model.graph.graph] == ["Conv", "Conv"]
    assert (model.precision, len(model.quantization)) == ("dynamic-int8", 2)
    biases = [node.inputs[2].const_value.numpy() for node in model.graph.graph]
    np.testing.assert_array_equal(biases, [weights["b0"], weights["b1"]])
    result = edgecomp.compress(
        tmp_path / "old.onnx", TARGET, tmp_path / "out", recipe=recipe("fp32", "tflite", "onnxruntime", "mnn")
    )
    x = rng.standard_normal((1, 4, 6, 6)).astype(np.float32)
    (expected,) = source.reference([x])
    for path in result.artifacts.values():
        (given,) = edgecomp.load(path).predict(x).values()
        np.testing.assert_allclose(given, expected, rtol=0, atol=0.02 * np.abs(expected).max(), err_msg=str(path))


def test_rows_of_an_integer_table_are_rows_of_a_real_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "table": rng.standard_normal((20, 8)),
        "place": rng.standard_normal((5, 8)),
        "w": rng.standard_normal((8, 6)),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "embed"),
        helper.make_node("Add", ["rows", "place"], ["placed"], "add"),
        helper.make_node("MatMul", ["placed", "w"], ["y"], "project"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, (1, 5))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 5, 6))],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "f.onnx")
    quantize_dynamic(tmp_path / "f.onnx", tmp_path / "dynamic.onnx")
    source = load_source(tmp_path / "dynamic.onnx")
    model = prepare(source)
    assert {node.op_type for node in model.graph.graph} <= {"Add", "Gather", "MatMul", "Gemm", "Reshape"}
    assert model.precision == "dynamic-int8"
    assert {entry.axis for entry in model.quantization.values()} == {None, 1}
    result = edgecomp.compress(
        tmp_path / "dynamic.onnx", TARGET, tmp_path / "out", recipe=recipe("fp32", "tflite", "onnxruntime", "mnn")
    )
    ids = np.array([[0, 3, 19, 7, 7]])
    (expected,) = source.reference([ids])
    for path in result.artifacts.values():
        (given,) = edgecomp.load(path).predict(ids).values()
        np.testing.assert_allclose(given, expected, rtol=0, atol=0.02 * np.abs(expected).max(), err_msg=str(path))


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_recurrent_layer_computes_with_its_own_weights(directions: int, per_channel: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"W": (directions, 32, 6), "R": (directions, 32, 8), "B": (directions, 64), "w": (8, 3)}
    way = ["forward", "bidirectional"][directions - 1]
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "last"], "lstm", hidden_size=8, direction=way),
        helper.make_node("MatMul", ["last", "w"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (5, 1, 6))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (directions, 1, 3))],
        [
            numpy_helper.from_array((0.4 * rng.standard_normal(size)).astype(np.float32), name)
            for name, size in shapes.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "f.onnx")
    quantize_dynamic(
        tmp_path / "f.onnx",
        tmp_path / "dynamic.onnx",
        op_types_to_quantize=["LSTM", "MatMul"],
        per_channel=per_channel,
    )
    assert "DynamicQuantizeLSTM" in {node.op_type for node in onnx.load(tmp_path / "dynamic.onnx").graph.node}
    source = load_source(tmp_path / "dynamic.onnx")
    result = edgecomp.compress(
        tmp_path / "dynamic.onnx", TARGET, tmp_path / "out", recipe=recipe("fp32", "tflite", "onnxruntime", "mnn")
    )
    assert result.model.precision == "dynamic-int8"
    written = {
        each.name: numpy_helper.to_array(each) for each in onnx.load(tmp_path / "dynamic.onnx").graph.initializer
    }
    kept = {tuple(value.shape): value for value in result.model.graph.graph.initializers.values()}
    for name in "WR":
        value = kept[shapes[name]]
        entry = result.model.quantization.get(value.name)
        # A scale for each column of each of two directions has no form in the table.
        assert (entry is None) == (directions == 2 and per_channel)
        if entry is not None:
            integers = entry.quantize(value.const_value.numpy())
            np.testing.assert_array_equal(integers.transpose(0, 2, 1), written[f"{name}_quantized"])
    x = rng.standard_normal((5, 1, 6)).astype(np.float32)
    (expected,) = source.reference([x])
    for path in result.artifacts.values():
        (given,) = edgecomp.load(path).predict(x).values()
        np.testing.assert_allclose(given, expected, rtol=0, atol=0.02 * np.abs(expected).max(), err_msg=str(path))


def test_integers_with_ranges_of_their_own_are_not_rounded_again(dynamic: Path, tmp_path: Path) -> None:
    data = [(np.ones(SHAPE, np.float32),)] * 4
    with pytest.raises(InputError, match="quantized to dynamic-int8 itself"):
        edgecomp.compress(
            dynamic, TARGET, tmp_path / "out", recipe=recipe("int8", "onnxruntime"), calibration=lambda: iter(data)
        )
