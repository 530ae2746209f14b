"""Loops made plain: what they carry unchanged, and how often they turn. ONNX Runtime says what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.graph.query import turns_of
from edgecomp.graph.session import Session
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel

WEIGHT = np.arange(9, dtype=np.float32).reshape(3, 3) / 10


def tensor(name: str, kind: int, shape: list[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def while_loop(end: int, limit: int, *, ends_with_data: bool = False) -> ir.Model:
    """`while step < end and turn < limit: state = tanh(state @ weight); step += 1`, as TensorFlow writes it.

    The weight is carried, and Split into two parts in every turn.
    """
    counted = [
        helper.make_node("Split", ["kernel", "sizes"], ["first", "second"], axis=1),
        helper.make_node("Concat", ["first", "second"], ["whole"], axis=1),
        helper.make_node("MatMul", ["state", "whole"], ["product"]),
        helper.make_node("Tanh", ["product"], ["next_state"]),
        helper.make_node("Add", ["step", "one"], ["next_step"]),
        helper.make_node("Less", ["next_step", "end"], ["before_end"]),
        helper.make_node("ReduceMax", ["next_state"], ["largest"], keepdims=0),
        helper.make_node("Less", ["largest", "bound"], ["is_small"]),
        helper.make_node(
            "And", ["before_end", "is_small"] if ends_with_data else ["before_end", "running"], ["goes_on"]
        ),
        helper.make_node("Identity", ["kernel"], ["same_kernel"]),
    ]
    body = helper.make_graph(
        counted,
        "body",
        [
            tensor("turn", TensorProto.INT64, []),
            tensor("running", TensorProto.BOOL, []),
            tensor("step", TensorProto.INT64, []),
            tensor("state", TensorProto.FLOAT, None),
            tensor("kernel", TensorProto.FLOAT, [3, 3]),
        ],
        [
            tensor("goes_on", TensorProto.BOOL, []),
            tensor("next_step", TensorProto.INT64, []),
            tensor("next_state", TensorProto.FLOAT, None),
            tensor("same_kernel", TensorProto.FLOAT, [3, 3]),
            tensor("next_state", TensorProto.FLOAT, None),
        ],
    )
    constants = {"zero": np.array(0), "one": np.array(1), "end": np.array(end), "limit": np.array(limit)}
    constants |= {"yes": np.array(True), "bound": np.float32(9), "weight": WEIGHT, "sizes": np.array([1, 2])}
    graph = helper.make_graph(
        [helper.make_node("Loop", ["limit", "yes", "zero", "x", "weight"], ["steps", "y", "same", "all"], body=body)],
        "g",
        [tensor("x", TensorProto.FLOAT, [2, 3])],
        [tensor("y", TensorProto.FLOAT, None), tensor("all", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


def simplified(model: ir.Model) -> tuple[ir.Model, ir.Node]:
    """The simplified graph, which computes the same, and its Loop."""
    graph = simplify(CompressedModel(model)).graph
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    for wanted, got in zip(Session(model).run([x]), Session(graph).run([x]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    (loop,) = (node for node in graph.graph if node.op_type == "Loop")
    return graph, loop


@pytest.mark.parametrize(("end", "limit", "turns"), [(5, 100, 5), (100, 7, 7), (0, 100, 1)])
def test_a_loop_that_counts_has_a_known_number_of_turns(end: int, limit: int, turns: int) -> None:
    graph, loop = simplified(while_loop(end, limit))
    assert turns_of(loop) == turns
    assert [list(value.shape or [])[:1] for value in graph.graph.outputs] == [[2], [turns]]


def test_a_loop_that_numbers_end_is_left_alone() -> None:
    _, loop = simplified(while_loop(5, 100, ends_with_data=True))
    assert turns_of(loop) is None


def test_a_loop_that_counts_too_far_is_left_alone() -> None:
    model = while_loop(20_000, 30_000)
    (loop,) = (node for node in simplify(CompressedModel(model)).graph.graph if node.op_type == "Loop")
    assert turns_of(loop) is None


def test_what_is_carried_unchanged_is_read_from_outside_and_its_parts_are_constants() -> None:
    _, loop = simplified(while_loop(5, 100))
    body = loop.attributes["body"].as_graph()
    assert [value.name for value in body.inputs[2:]] == ["step", "state"]
    assert "Split" not in {node.op_type for node in body}
