"""Models in half and double precision, and files whose nodes are out of order: tools for the first leave them so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgecomp
from edgecomp.converter import ConversionOptions, load_converter
from edgecomp.errors import SourceError
from edgecomp.frontends import load_source
from edgecomp.frontends.node_order import order_nodes
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

FORMATS = ("tflite", "onnxruntime", "mnn")
TYPES = {"float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}


def convolution(path: Path, dtype: str, *, branch: bool = False) -> None:
    """Conv, Relu and a Mul, perhaps in a branch, all in one type, borders included."""
    random = np.random.default_rng(1)
    weights = {"w": random.standard_normal((4, 3, 3, 3)), "b": random.standard_normal(4), "k": np.array(0.5)}
    constants = [numpy_helper.from_array(array.astype(dtype), name) for name, array in weights.items()]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"]), helper.make_node("Relu", ["c"], ["r"])]
    if branch:
        bodies = {
            name: helper.make_graph(
                [
                    helper.make_node("Mul", ["r", "k"], [f"{name}_y"]),
                    helper.make_node(op, [f"{name}_y"], [f"{name}_z"]),
                ],
                name,
                [],
                [helper.make_tensor_value_info(f"{name}_z", TYPES[dtype], None)],
            )
            for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))
        }
        nodes.append(helper.make_node("If", ["positive"], ["y"], **bodies))
        total = [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)]
        zero = numpy_helper.from_array(np.array(0, dtype), "zero")
        nodes = [*total, helper.make_node("Greater", ["total", "zero"], ["positive"]), *nodes]
        constants.append(zero)
    else:
        nodes.append(helper.make_node("Mul", ["r", "k"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TYPES[dtype], [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TYPES[dtype], [1, 4, 4, 4])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_model_becomes_a_float32_one_with_the_same_borders(dtype: str, tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", dtype)
    source = load_source(tmp_path / "net.onnx")
    assert any(f"computes in {dtype}" in note for note in source.notes)
    assert source.inputs[0].dtype == source.reference(source.inputs)[0].dtype == np.dtype(dtype)
    kinds = {value.dtype for node in source.graph.graph for value in node.outputs if not value.is_graph_output()}
    assert kinds == {ir.DataType.FLOAT}
    assert {value.dtype for value in source.graph.graph.initializers.values()} == {ir.DataType.FLOAT}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_every_format_takes_it(dtype: str, format_name: str, tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", dtype)
    source = load_source(tmp_path / "net.onnx")
    converter = load_converter(format_name)
    path = tmp_path / f"model{converter.suffixes[0]}"
    converter.convert(simplify(CompressedModel(source.graph)), path, ConversionOptions())
    given = edgecomp.load(path).predict(source.inputs[0])["y"]
    assert given.dtype == np.dtype(dtype)
    np.testing.assert_allclose(given, source.reference(source.inputs)[0], atol=2e-3)


def test_branches_become_float32_too(tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", "float16", branch=True)
    source = load_source(tmp_path / "net.onnx")
    for sign in (1, -1):
        x = np.full((1, 3, 6, 6), sign, np.float16)
        half = onnx.load(tmp_path / "net.onnx")
        expected = onnx.reference.ReferenceEvaluator(half).run(None, {"x": x})[0]
        np.testing.assert_allclose(source.reference([x])[0], expected, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp16", "dynamic-int8", "int8"])
def test_precisions_mean_what_they_mean_for_float32(precision: str, tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", "float16")
    data = np.random.default_rng(0).random((16, 3, 6, 6)).astype(np.float16)
    np.savez(tmp_path / "data.npz", x=data)
    result = edgecomp.compress(
        tmp_path / "net.onnx",
        target="generic-arm64",
        output=tmp_path / "out",
        precision=precision,
        calibration=tmp_path / "data.npz",
    )
    assert result.artifacts.keys() == set(FORMATS)
    assert result.model.precision == precision


def test_nodes_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", "float16", branch=True)
    model = onnx.load(tmp_path / "net.onnx")
    names = [node.op_type for node in model.graph.node]
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "turned.onnx")
    assert load_source(tmp_path / "turned.onnx").graph.graph
    order_nodes(model.graph)
    assert names.index("If") == len(names) - 1 == [node.op_type for node in model.graph.node].index("If")
    onnx.checker.check_model(model)


def test_a_cycle_has_no_order(tmp_path: Path) -> None:
    convolution(tmp_path / "net.onnx", "float16")
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[0].input[2] = "y"
    onnx.save(model, tmp_path / "cycle.onnx")
    with pytest.raises(SourceError, match="topologically sorted"):
        load_source(tmp_path / "cycle.onnx")
