"""Messages without their weights: what was read, put together again, is the file."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecomp.frontends.external_data import all_tensors
from edgecomp.graph.message import read_message, write_message
from edgecomp.graph.saving import save_beside, save_graph
from edgecomp.graph.stored_weights import LARGE, StoredWeights

LARGE_ARRAY = np.arange(LARGE, dtype=np.float32)


def model():
    """Large tensors wherever one can be: a weight, a branch, a Constant, a function; and small ones beside them."""

    def constant(name, array):
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))

    result = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [LARGE])]
    branches = {
        name: helper.make_graph([constant("r", LARGE_ARRAY + offset)], name, [], result)
        for offset, name in enumerate(("then_branch", "else_branch"))
    }
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [constant("k", LARGE_ARRAY * 2), helper.make_node("Add", ["a", "k"], ["b"])], []
    )
    nodes = [
        constant("small", np.arange(4)),
        helper.make_node("If", ["flag"], ["c"], **branches),
        helper.make_node("F", ["c"], ["d"], domain="local"),
        helper.make_node("Add", ["d", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [LARGE])],
        [numpy_helper.from_array(LARGE_ARRAY * 3, "w"), numpy_helper.from_array(np.float32(1), "one")],
        doc_string="x" * 2000,
    )
    return helper.make_model(graph, functions=[function])


def restored(message, weights):
    """The message with everything in it again."""
    for tensor in all_tensors(message):
        if weights.holds(tensor):
            tensor.raw_data = weights.numbers(tensor).tobytes()
    return message


def test_large_tensors_are_taken_out_wherever_they_are(tmp_path):
    path, weights = tmp_path / "model.onnx", StoredWeights()
    onnx.save(model(), path)
    message = read_message(path, weights)
    held = {tensor.name for tensor in all_tensors(message) if weights.holds(tensor)}
    assert held == {"w", "r", "k"}
    assert message.ByteSize() < 2000 + 1500 < path.stat().st_size / 4
    assert restored(message, weights) == model()


def test_small_models_are_read_as_they_are(tmp_path):
    path = tmp_path / "model.onnx"
    small = model()
    del small.functions[:], small.graph.node[1:3], small.graph.initializer[:]
    onnx.save(small, path)
    assert read_message(path, StoredWeights()) == small


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_as_protobuf_does(tmp_path_factory, data):
    """Cut off, or with a byte changed: never another message, and never another kind of error."""
    content = bytearray(model().SerializeToString())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    expected, weights = onnx.ModelProto(), StoredWeights()
    try:
        expected.ParseFromString(bytes(content))
    except DecodeError:
        with pytest.raises(DecodeError):
            read_message(path, weights)
    else:
        message = read_message(path, weights)
        held = [tensor for tensor in all_tensors(message) if weights.holds(tensor)]
        for tensor in held:
            tensor.raw_data = weights.claimed(tensor.raw_data).tobytes()
        assert message.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_what_numpy_does_not_hold_goes_back(tmp_path):
    path, weights = tmp_path / "model.onnx", StoredWeights()
    one = model()
    one.graph.initializer.append(helper.make_tensor("half", TensorProto.BFLOAT16, [LARGE], np.zeros(LARGE)))
    one.graph.initializer[-1].ClearField("int32_data")
    one.graph.initializer[-1].raw_data = bytes(range(256)) * (LARGE * 2 // 256)
    onnx.save(one, path)
    message = read_message(path, weights)
    weights.return_unusual(all_tensors(message))
    assert message.graph.initializer[-1] == one.graph.initializer[-1]
    assert weights.holds(message.graph.initializer[0])


@pytest.mark.parametrize("dims", [[LARGE + 1], [-1], [LARGE, 2]])
def test_a_shape_that_does_not_go_with_the_data(tmp_path, dims):
    path, weights = tmp_path / "model.onnx", StoredWeights()
    one = model()
    one.graph.initializer[0].dims[:] = dims
    onnx.save(one, path)
    with pytest.raises(ValueError, match=f"{LARGE} numbers"):
        weights.numbers(read_message(path, weights).graph.initializer[0])


def test_the_checker_sees_claim_checks(tmp_path):
    path, weights = tmp_path / "model.onnx", StoredWeights()
    onnx.save(model(), path)
    message = read_message(path, weights)
    tensor = message.graph.initializer[0]
    with weights.checkable(all_tensors(message)):
        assert (tensor.data_type, list(tensor.dims)) == (TensorProto.UINT8, [len(tensor.raw_data)])
    assert (tensor.data_type, list(tensor.dims)) == (TensorProto.FLOAT, [LARGE])


def test_what_was_read_is_written_as_it_was(tmp_path):
    path, copy, weights = tmp_path / "model.onnx", tmp_path / "copy.onnx", StoredWeights()
    path.write_bytes(model().SerializeToString(deterministic=True))
    write_message(read_message(path, weights), weights, copy)
    assert copy.read_bytes() == path.read_bytes()


def test_a_graph_is_saved_as_protobuf_would(tmp_path):
    graph, path = ir.from_proto(model()), tmp_path / "model.onnx"
    save_graph(graph, path)
    assert path.read_bytes() == ir.to_proto(graph).SerializeToString(deterministic=True)
    save_graph(graph, path, lambda proto: setattr(proto, "producer_name", "edgecomp"))
    assert onnx.load(path).producer_name == "edgecomp"


def test_huge_weights_are_saved_beside_a_graph(tmp_path):
    path, rng = tmp_path / "model.onnx", np.random.default_rng(0)
    weights = {name: rng.standard_normal((600, 500), np.float32) for name in ("v", "w")}
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        net (float[600, 500] x) => (float[600, 500] y) <float[1] one = {1}>
        { a = Add(x, v) b = Add(a, one) y = Mul(b, w) }""")
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    graph = ir.from_proto(proto)
    save_beside(graph, path)
    assert path.stat().st_size < 1000
    assert (tmp_path / "model.onnx.data").stat().st_size == 2 * weights["v"].nbytes
    loaded = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(graph.graph.initializers[name].const_value.numpy(), array)
