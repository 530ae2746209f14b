"""Which outputs have rows that a TopK has put into an order, and along which dimension."""

import onnx
import onnx_ir as ir

from edgecomp.graph.rankings import rankings

TEXT = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,50] likely, float[1,50,4] boxes, float[1,9] classes, float[1,20] other)
        => (float[1,20] scores, float[1,20,4] chosen, int64[20] numbers, float[1,50,4] all, float[1,3] best,
            float[1,20] same, float[1,1] first)
        <int64[1] twenty = {20}, int64[1] three = {3}, int64[1] one = {1}, int64[1] flat = {20}> {
        scores, places = TopK <axis = 1> (likely, twenty)
        numbers = Reshape (places, flat)
        chosen = Gather <axis = 1> (boxes, numbers)
        all = Relu (boxes)
        best, which = TopK (classes, three)
        same = Relu (other)
        first, place = TopK (classes, one)
    }"""


def graph(text: str) -> ir.Graph:
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))).graph


def test_rows_are_what_a_top_k_chose() -> None:
    # Gather by a flat list of places gives (1, 20, 4): the batch stays in front.
    assert [dict(each.axes) for each in rankings(graph(TEXT))] == [
        {"scores": 1, "chosen": 1, "numbers": 0},
        {"best": 1},
    ]


def test_no_ranking_without_a_top_k() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,20] x) => (float[1,20] y) { y = Relu (x) }'
    assert rankings(graph(text)) == ()
