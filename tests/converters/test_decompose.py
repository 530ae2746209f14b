"""Operators written with simpler ones: the same numbers, and what was said of the node is said of its pieces."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from net import Net
from running import refer, run_graph

from edgecomp.graph.decompose import decompose
from edgecomp.graph.query import WHOLE_KEY, origin
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.scheme import PRECISION_KEY


def _net() -> Net:
    """A convolution before and behind an operator that has a function body."""
    net = Net()
    x = net.node("Conv", net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3))
    x = net.node("MeanVarianceNormalization", x, axes=[0, 2, 3])
    net.nodes[-1].metadata_props["edgecomp.module"] = "body.norm"
    net.output(net.node("Conv", x, net.weight(2, 4, 1, 1)))
    return net


def test_pieces_compute_what_the_node_did_and_carry_its_metadata() -> None:
    net = _net()
    model = simplify(CompressedModel(net.model()))
    done = decompose(model, {"MeanVarianceNormalization"})
    kinds = Counter(node.op_type for node in done.graph.graph)
    assert "MeanVarianceNormalization" not in kinds
    assert "MeanVarianceNormalization" in {node.op_type for node in model.graph.graph}  # not in place
    pieces = [node for node in done.graph.graph if node.op_type != "Conv"]
    assert {node.metadata_props["edgecomp.module"] for node in pieces} == {"body.norm"}
    assert {origin(node)[1] for node in pieces} == {"MeanVarianceNormalization"}
    assert all(PRECISION_KEY not in node.metadata_props for node in pieces)
    names = [node.name for node in done.graph.graph]
    assert len(set(names)) == len(names)
    assert all(value.shape is not None for node in done.graph.graph for value in node.outputs)
    inputs = [feed.draw(np.random.default_rng(0)) for feed in net.feeds]
    np.testing.assert_allclose(run_graph(done.graph, inputs)[0], run_graph(model.graph, inputs)[0], atol=1e-5)


def test_pieces_of_a_quantized_model_stay_in_float_and_the_simulation_stays_the_same() -> None:
    net = _net()
    reference = refer(net.model(), net.feeds)
    done = decompose(reference.int8_model, {"MeanVarianceNormalization", "Conv"})
    assert [node.op_type for node in done.graph.graph if node.op_type == "Conv"] == ["Conv", "Conv"]
    pieces = [node for node in done.graph.graph if node.op_type != "Conv"]
    assert {node.metadata_props[PRECISION_KEY] for node in pieces} == {"float32"}
    assert done.quantization == reference.int8_model.quantization
    simulated = run_graph(to_qdq(done), reference.inputs)
    np.testing.assert_allclose(simulated[0], reference.simulated[0], atol=reference.steps[0])


@pytest.mark.parametrize("op_types", [set(), {"Celu"}])
def test_a_model_without_such_nodes_comes_back_as_it_is(op_types: set[str]) -> None:
    model = simplify(CompressedModel(_net().model()))
    assert decompose(model, op_types) is model


def test_a_node_that_cannot_be_decomposed_says_why() -> None:
    net = Net()
    net.output(net.node("Det", net.input(3, 3)))
    done = decompose(CompressedModel(net.model()), {"Det"})
    (node,) = done.graph.graph
    assert node.op_type == "Det"
    assert node.metadata_props[WHOLE_KEY] == "ONNX does not say what it is made of"


def test_nodes_of_subgraphs_are_decomposed_too() -> None:
    net = Net()
    source = net.input(2, 5)
    chosen = net.input(1, dtype="int32")
    condition = net.node("Reshape", net.node("Cast", chosen, to=int(ir.DataType.BOOL)), np.array([], np.int64))
    branches = []
    for op_type in ("Celu", "Mish"):
        branch = ir.node(op_type, [source], name=f"branch/{op_type}")
        branch.outputs[0].name = f"branch/{op_type}"
        branch.outputs[0].shape, branch.outputs[0].type = source.shape, source.type
        branches.append(ir.Graph([], branch.outputs, nodes=[branch], opset_imports={"": 20}, name=op_type))
    net.output(net.node("If", condition, then_branch=branches[0], else_branch=branches[1]))
    model = net.model()
    inputs = [np.linspace(-2, 2, 10, dtype=np.float32).reshape(2, 5), np.array([1], np.int32)]
    done = decompose(CompressedModel(model), {"Celu", "Mish"})
    assert not {"Celu", "Mish"} & {node.op_type for node in done.graph.graph.all_nodes()}
    for flag in (0, 1):
        inputs[1][0] = flag
        np.testing.assert_allclose(run_graph(done.graph, inputs)[0], run_graph(model, inputs)[0], atol=1e-6)
