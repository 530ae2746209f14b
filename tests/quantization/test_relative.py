"""What goes into logarithms, roots and denominators only is not quantized, nor what it is computed from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.quantization.relative import keep_ratios
from edgecomp.quantization.scheme import PRECISION_KEY

SHAPE = [1, 4, 4]


def kept(nodes: list[tuple[str, list[str], str]], outputs: list[str]) -> list[str]:
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in names] for names in (["x"], outputs)
    ]
    made = [helper.make_node(op_type, inputs, [output], output) for op_type, inputs, output in nodes]
    graph = ir.from_proto(helper.make_model(helper.make_graph(made, "g", *values, [weight]))).graph
    count = keep_ratios(graph)
    names = [node.name or "" for node in graph if PRECISION_KEY in node.metadata_props]
    assert len(names) == count
    return names


@pytest.mark.parametrize("reader", ["Log", "Sqrt", "Reciprocal"])
def test_the_way_back_ends_at_an_activation_function(reader: str) -> None:
    nodes = [("Sigmoid", ["x"], "a"), ("MatMul", ["a", "w"], "b"), ("Mul", ["b", "b"], "c"), (reader, ["c"], "y")]
    assert kept(nodes, ["y"]) == ["b", "c"]


def test_a_denominator_is_kept_and_its_numerator_is_not() -> None:
    nodes = [("MatMul", ["x", "w"], "a"), ("MatMul", ["x", "w"], "b"), ("Div", ["a", "b"], "y")]
    assert kept(nodes, ["y"]) == ["b"]


def test_what_is_read_elsewhere_too_is_not_kept() -> None:
    nodes = [("MatMul", ["x", "w"], "a"), ("Sqrt", ["a"], "y"), ("Relu", ["a"], "z")]
    assert kept(nodes, ["y", "z"]) == []


def test_an_output_is_not_kept() -> None:
    assert kept([("MatMul", ["x", "w"], "a"), ("Sqrt", ["a"], "y")], ["a", "y"]) == []
