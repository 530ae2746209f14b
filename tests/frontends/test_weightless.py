"""Calls into ONNX's C++ without the weights."""

import numpy as np
import onnx
import onnx_ir as ir

from edgecomp.frontends.weightless import without_weights
from edgecomp.graph.saving import split_message

TEXT = '<ir_version: 8, opset_import: ["": 17]> net (float[1, 64] x) => (float[1, 64] y) { y = MatMul(x, weight) }'


def test_both_models_have_the_weight_as_a_constant_and_not_in_their_message() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    proto = onnx.parser.parse_model(TEXT)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    model, seen = ir.from_proto(proto), []

    def call(given: onnx.ModelProto) -> onnx.ModelProto:
        seen.extend(value.name for value in given.graph.input)
        assert not given.graph.initializer
        return given

    result = without_weights(model, call)
    assert seen == ["x", "weight"]
    for each in (model, result):
        assert [value.name for value in each.graph.inputs] == ["x"]
        message, arrays = split_message(each)
        assert len(message) < weight.nbytes
        np.testing.assert_array_equal(arrays["weight"], weight)
