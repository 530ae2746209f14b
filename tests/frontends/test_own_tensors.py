"""A graph that was read lets go of the message that it was read from."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgecomp.frontends.own_tensors import own_tensors
from edgecomp.graph.stored_weights import StoredWeights


def proto():
    """Weights in raw data and in number fields, in a branch, and in a Constant node."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.arange(3, dtype=np.int64)))],
        "branch",
        [],
        [helper.make_tensor_value_info("c", TensorProto.INT64, [3])],
    )
    weights = [
        numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "raw"),
        helper.make_tensor("fields", TensorProto.FLOAT16, [2], [0.5, -2.0]),
        helper.make_tensor("nibbles", TensorProto.INT4, [3], [-8, 0, 7]),
        helper.make_tensor("half", TensorProto.BFLOAT16, [1], [1.5]),
        helper.make_tensor("scalar", TensorProto.INT32, [], [7]),
    ]
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    result = helper.make_tensor_value_info("y", TensorProto.INT64, [3])
    return helper.make_model(helper.make_graph([node], "g", [flag], [result], weights))


def test_numbers_and_types_are_kept():
    message = proto()
    before = ir.from_proto(message)
    after = own_tensors(ir.from_proto(message), StoredWeights())
    for name, value in before.graph.initializers.items():
        kept = after.graph.initializers[name].const_value
        assert (kept.dtype, kept.shape, kept.name) == (value.const_value.dtype, value.const_value.shape, name)
        np.testing.assert_array_equal(kept.numpy(), value.const_value.numpy())


def test_the_message_goes():
    message = proto()
    model = own_tensors(ir.from_proto(message), StoredWeights())
    tensors = [value.const_value for value in model.graph.initializers.values()]
    tensors += [
        attribute.as_tensor()
        for node in model.graph.all_nodes()
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.TENSOR
    ]
    assert len(tensors) == 7
    assert all(type(tensor) is ir.Tensor for tensor in tensors)
