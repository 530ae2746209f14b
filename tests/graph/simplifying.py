"""Makes small ONNX models, simplifies them, and compares what they compute."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx_sources import run

from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel


def model_of(nodes, inputs, outputs, constants=None, opset=20):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
        for group in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *values, tensors),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=9 if opset > 8 else 4,
    )
    onnx.checker.check_model(model)
    return model


def simplified(model):
    return simplify(CompressedModel(ir.from_proto(model)))


def feed_for(model, seed=0):
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: rng.normal(size=[size.dim_value for size in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in model.graph.input
        if value.name not in constants
    }


def assert_same(model, graph, tolerance=1e-5):
    feed = feed_for(model)
    before, after = run(model, feed), run(ir.to_proto(graph), feed)
    assert list(before) == list(after)
    for name, expected in before.items():
        actual = after[name]
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max()))


def operators(model):
    return [node.op_type for node in model.graph.graph]
