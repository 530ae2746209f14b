"""Which outputs are certain to lie between 0 and 1."""

import onnx
import onnx_ir as ir

from edgecomp.graph.shares import share_outputs

TEXT = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[2,3] x, bool[1] c, bool yes) => (float[3,2] moved, float[2,3] chosen, float[2,3] other, float[2,3] branch,
        float[2,3] branches, float[2,3] sum, float[2,3] x2) {
        s = Sigmoid (x)
        p = Softmax (x)
        moved = Transpose (s)
        chosen = Where (c, s, p)
        other = Where (c, s, x)
        branch = If (yes) <
            then_branch = a () => (float[2,3] a1) { a1 = Sigmoid (x) },
            else_branch = b () => (float[2,3] b1) { b1 = Neg (x) }
        >
        branches = If (yes) <
            then_branch = a () => (float[2,3] a2) { a2 = Sigmoid (x) },
            else_branch = b () => (float[2,3] b2) { b2 = Identity (p) }
        >
        sum = Add (s, p)
        x2 = Identity (x)
    }"""


def test_shares_are_followed_through_what_moves_and_chooses() -> None:
    graph = ir.from_proto(onnx.parser.parse_model(TEXT)).graph
    assert share_outputs(graph) == {"moved", "chosen", "branches"}
