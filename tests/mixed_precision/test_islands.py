"""Which nodes an island takes in."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecomp.errors import SourceError
from edgecomp.graph.simplify import simplify
from edgecomp.mixed_precision.islands import keep_in_float
from edgecomp.model import CompressedModel

SHAPE = (1, 8, 4, 4)


def chain(*nodes: tuple[str, str, str]) -> ir.Graph:
    """A graph of (operator, inputs, output); an output names its node, and w is a 1x1 convolution's weight."""
    graph = helper.make_graph(
        [helper.make_node(kind, given.split(), [name], name, domain="") for kind, given, name in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.random.default_rng(0).normal(size=(8, 8, 1, 1)).astype(np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))
    return simplify(CompressedModel(model)).graph.graph


STRAIGHT = (("Conv", "x w", "a"), ("Relu", "a", "b"), ("Conv", "b w", "c"), ("Conv", "c w", "d"), ("Conv", "d w", "e"))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["a"], ["a", "b", "c"]),  # its activation, and what reads it
        (["b"], ["a", "b", "c"]),
        (["c"], ["c", "d"]),
        (["e"], ["e"]),
        (["x"], ["a", "b"]),  # an input has readers only, with their activations
        (["c", "e"], ["c", "d", "e"]),
        ([], []),
    ],
)
def test_an_island_holds_a_layer_and_what_reads_it(layers: list[str], expected: list[str]) -> None:
    assert keep_in_float(chain(*STRAIGHT), layers) == expected


def test_what_only_moves_data_is_passed_through() -> None:
    graph = chain(("Conv", "x w", "a"), ("GlobalMaxPool", "a", "p"), ("Conv", "p w", "c"))
    assert keep_in_float(graph, ["a"]) == ["a", "p", "c"]


def test_an_operator_between_islands_joins_them() -> None:
    curves = (("Tanh", "a", "t"), ("Sigmoid", "t", "s"), ("Tanh", "s", "u"))
    graph = chain(("Conv", "x w", "a"), *curves, ("Conv", "u w", "c"))
    # a with t, and u with c: s alone would be in integers.
    assert keep_in_float(graph, ["a", "u"]) == ["a", "t", "s", "u", "c"]


def test_a_convolution_between_islands_stays_in_integers() -> None:
    nodes = (*STRAIGHT, ("Conv", "e w", "f"), ("Conv", "f w", "g"))
    assert keep_in_float(chain(*nodes), ["a", "f"]) == ["a", "b", "c", "f", "g"]


def test_a_module_stands_for_its_nodes() -> None:
    graph = chain(*STRAIGHT)
    for node in graph:
        node.metadata_props["edgecomp.module"] = "neck.0" if node.name in {"c", "d"} else "neck.01"
    assert keep_in_float(graph, ["neck.0"]) == ["c", "d", "e"]
    assert len(keep_in_float(graph, ["neck"])) == 5


def test_an_unknown_layer_is_refused_with_what_comes_near() -> None:
    graph = chain(("Conv", "x w", "backbone"), ("Conv", "backbone w", "head"))
    with pytest.raises(SourceError, match=r"--keep-float backbones\n.*\n.*none of that name\n.*write one of backbone"):
        keep_in_float(graph, ["backbones"])
