"""Which outputs have a number for each place in their last dimension, and not for each class."""

import onnx
import onnx_ir as ir

from edgecomp.graph.places import place_outputs

TEXT = """
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,8] sound, float[1,8,4] words) => (float[1,8] pitch, float[1,8] likely, float[1,5] classes,
        float[1,8] start, float[1,5] tagged, float[1,8,5] letters, float[1,8] same)
        <float[3,2,1] filter = {1,1,1,1,1,1}, float[1,3,1] last = {1,1,1},
         float[3,5] head = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1},
         float[4,1] point = {1,1,1,1}, float[4,5] tags = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1},
         int64[1] one = {1}, int64[1] two = {2}, int64 zero = {0}, int64[2] flat = {1, 8}> {
        heard = Conv (sound, filter)
        voice = Conv (heard, last)
        loud = Sigmoid (voice)
        pitch = Squeeze (loud, one)
        likely = Softmax <axis = -1> (pitch)
        pooled = GlobalAveragePool (heard)
        row = Squeeze (pooled, two)
        classes = Gemm (row, head)
        points = MatMul (words, point)
        start = Reshape (points, flat)
        letters = MatMul (words, tags)
        tagged = Gather <axis = 1> (letters, zero)
        same = Mul (start, pitch)
    }"""


def test_places_are_followed_from_where_a_layer_slides() -> None:
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(TEXT))).graph
    # Along what an input brings nothing is certain; a softmax along places looks for one of them.
    assert place_outputs(graph) == {"pitch", "same"}
