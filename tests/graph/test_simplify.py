import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper
from processor_time import least_seconds
from random_graphs import Builder, models
from simplifying import assert_same, model_of, operators, simplified

from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.parameters import QuantizationParameters


@settings(max_examples=60)
@given(models())
def test_a_simplified_graph_computes_the_same(model):
    result = simplified(model)
    assert_same(model, result.graph)
    assert [value.name for value in result.graph.graph.inputs] == ["x"]
    onnx.checker.check_model(ir.to_proto(result.graph), full_check=True)
    again = simplify(result)
    assert len(again.graph.graph) == len(result.graph.graph)
    names = [value.name for node in result.graph.graph for value in node.outputs]
    assert all(names)
    assert len(set(names)) == len(names)
    for node in result.graph.graph:
        assert node.name
        for value in node.outputs:
            assert value.shape is not None
            assert value.shape.is_static()


def test_what_one_way_of_saying_it_reveals_is_folded_too():
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["a"]),
        helper.make_node("Sub", ["a", "k"], ["b"]),  # becomes an addition, which a Mul in front can pass
        helper.make_node("Conv", ["b", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    rng = np.random.default_rng(0)
    constants = {"k": rng.random((3, 1, 1), np.float32) + 1, "w": rng.random((4, 3, 3, 3), np.float32)}
    model = model_of(nodes, {"x": [1, 3, 4, 5]}, {"y": [1, 4, 4, 5]}, constants)
    assert operators(simplified(model)) == ["Add", "Conv"]
    assert_same(model, simplified(model).graph)


def test_a_graph_output_may_be_a_graph_input_or_a_constant():
    relu = helper.make_node("Relu", ["x"], ["y"])
    shapes = {"x": [2, 3]}
    model = model_of([relu], shapes, {"x": [2, 3], "k": [2], "y": [2, 3]}, {"k": np.float32([1, 2])})
    assert_same(model, simplified(model).graph)


def test_two_outputs_of_one_value_keep_their_names():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["b"]),
        helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node("Identity", ["x"], ["d"]),
    ]
    model = model_of(nodes, {"x": [2, 3]}, {name: [2, 3] for name in "abcd"})
    assert_same(model, simplified(model).graph)


def test_a_weight_that_two_convolutions_share_survives_the_folding_of_one_batch_norm():
    b = Builder(0)
    weight = b.weight(3, 3, 1, 1)
    first = b.add("Conv", ["x", weight], (1, 3, 4, 4))
    norm = b.add("BatchNormalization", [first[0], *(b.constant(np.float32([1, 2, 3])) for _ in range(4))], first[1])
    second = b.add("Conv", [b.add("Relu", ["x"], (1, 3, 4, 4))[0], weight], (1, 3, 4, 4))
    total = b.add("Add", [norm[0], second[0]], (1, 3, 4, 4))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in b.constants}
    model = model_of(b.nodes, {"x": [1, 3, 4, 4]}, {total[0]: [1, 3, 4, 4]}, constants)
    result = simplified(model)
    assert_same(model, result.graph)
    assert sorted(operators(result)) == ["Add", "Conv", "Conv", "Relu"]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "Gemm", "Relu"])
def test_batch_norm_is_folded_or_spelled_out(op_type, bias, group):
    b = Builder(0)
    given, result = [1, 4, 3, 3], (1, 6, 3, 3)
    if op_type == "Relu":
        before = b.add("Relu", ["x"], (result := (1, 4, 3, 3)))
    elif op_type == "Gemm":
        given, result = [2, 4], (2, 6)
        before = b.add("Gemm", ["x", b.weight(4, 6), *([b.weight(6)] * bias)], result, beta=0.5)
    else:
        shape = (6, 4 // group) if op_type == "Conv" else (4, 6 // group)
        before = b.add(op_type, ["x", b.weight(*shape, 1, 1), *([b.weight(6)] * bias)], result, group=group)
    numbers = [b.weight(result[1]) for _ in range(3)] + [b.constant(b.rng.random(result[1]).astype(np.float32) + 0.5)]
    norm = b.add("BatchNormalization", [before[0], *numbers], result, epsilon=1e-2)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in b.constants}
    model = model_of(b.nodes, {"x": given}, {norm[0]: result}, constants)
    simple = simplified(model)
    assert_same(model, simple.graph)
    assert operators(simple) == (["Relu", "Mul", "Add"] if op_type == "Relu" else [op_type])


def node(op_type, inputs="x", output="y", **attributes):
    return helper.make_node(op_type, inputs.split(), output.split(), **attributes)


IMAGE, HALF = [1, 3, 4, 4], {"s": np.float32([1, 1, 2, 2])}
VECTORS = {name: np.float32([0.5, 1.5]) for name in ("g", "b", "m", "v")}
OLD_MODELS = {
    "clip-6": (9, [node("Clip", min=-0.5, max=0.5)], IMAGE, IMAGE, {}, ["Clip"]),
    "pad-2": (9, [node("Pad", pads=[0, 0, 1, 1, 0, 0, 2, 2], value=0.3)], IMAGE, [1, 3, 7, 7], {}, ["Pad"]),
    "pad-reflect": (9, [node("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect")], IMAGE, [1, 3, 6, 6], {}, ["Pad"]),
    "softmax-1": (11, [node("Softmax", axis=1)], [2, 3, 4], [2, 3, 4], {}, ["Reshape", "Softmax", "Reshape"]),
    "softmax-last": (9, [node("Softmax", axis=1)], [2, 3], [2, 3], {}, ["Softmax"]),
    "upsample-9": (9, [node("Upsample", "x s", mode="nearest")], IMAGE, [1, 3, 8, 8], HALF, ["Resize"]),
    "upsample-7": (
        8,
        [node("Upsample", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])],
        IMAGE,
        [1, 3, 8, 8],
        {},
        ["Resize"],
    ),
    "resize-10": (10, [node("Resize", "x s", mode="nearest")], IMAGE, [1, 3, 8, 8], HALF, ["Resize"]),
    "reduce-sum": (11, [node("ReduceSum", axes=[1], keepdims=0)], [1, 3, 4], [1, 4], {}, ["ReduceSum"]),
    "reduce-mean": (13, [node("ReduceMean", axes=[2, 3])], IMAGE, [1, 3, 1, 1], {}, ["ReduceMean"]),
    "squeeze": (11, [node("Squeeze", output="t", axes=[0]), node("Relu", "t")], [1, 3], [3], {}, ["Squeeze", "Relu"]),
    "slice-1": (9, [node("Slice", starts=[1], ends=[3], axes=[1])], [1, 3, 4], [1, 2, 4], {}, ["Slice"]),
    "dropout": (9, [node("Dropout", output="t", ratio=0.5), node("Relu", "t")], [1, 3], [1, 3], {}, ["Relu"]),
    "batch-norm": (
        9,
        [node("Conv", "x w", "c"), node("BatchNormalization", "c g b m v", epsilon=1e-3)],
        IMAGE,
        [1, 2, 4, 4],
        {"w": np.random.default_rng(0).random((2, 3, 1, 1), np.float32), **VECTORS},
        ["Conv"],
    ),
}


@pytest.mark.parametrize("name", OLD_MODELS)
def test_old_opsets_are_raised_and_simplified(name):
    opset, nodes, given_shape, result_shape, constants, expected = OLD_MODELS[name]
    old = model_of(nodes, {"x": given_shape}, {"y": result_shape}, constants, opset)
    result = simplified(onnx.version_converter.convert_version(old, 20))
    assert_same(old, result.graph)
    assert operators(result) == expected


def test_sizes_that_are_split_and_joined_become_constants():
    """As tf2onnx turns the order of pads."""
    nodes = [
        node("Split", "pads", "top left bottom right", axis=0, num_outputs=4),
        node("Concat", "zero zero top left zero zero bottom right", "turned", axis=0),
        node("Pad", "x turned", "y"),
    ]
    constants = {"pads": np.array([1, 2, 0, 1]), "zero": np.array([0])}
    model = model_of(nodes, {"x": IMAGE}, {"y": [1, 3, 5, 7]}, constants)
    result = simplified(model)
    assert operators(result) == ["Pad"]
    assert result.graph.graph[0].inputs[1].const_value.numpy().tolist() == [0, 0, 1, 2, 0, 0, 0, 1]
    assert_same(model, result.graph)


def gelu_model(form, opset=20):
    b = Builder(0)
    shape = (2, 3)

    def number(value):
        return b.constant(np.float32(value))

    def op(op_type, *inputs):
        return b.add(op_type, list(inputs), shape)[0]

    if "tanh" in form:
        cube = op("Mul", "x", op("Mul", "x", "x")) if "products" in form else op("Pow", "x", number(3))
        inner = op("Mul", number(np.sqrt(2 / np.pi)), op("Add", "x", op("Mul", cube, number(0.044715))))
        gate = op("Add", op("Tanh", inner), number(1))
    else:
        scaled = op("Div", "x", number(np.sqrt(2))) if "div" in form else op("Mul", number(np.sqrt(0.5)), "x")
        gate = op("Add", number(1), op("Erf", scaled))
    if "half-first" in form:
        result = op("Mul", op("Mul", "x", number(0.5)), gate)
    elif "half-on-gate" in form:
        result = op("Mul", op("Mul", gate, number(0.5)), "x")
    else:
        result = op("Mul", op("Mul", "x", gate), number(0.5))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in b.constants}
    return model_of(b.nodes, {"x": [2, 3]}, {result: [2, 3]}, constants, opset)


@pytest.mark.parametrize(
    "form", ["erf-div", "erf-mul", "erf-div-half-first", "erf-half-on-gate", "tanh", "tanh-products-half-first"]
)
def test_gelu_is_found_in_every_order(form):
    model = gelu_model(form)
    result = simplified(model)
    assert operators(result) == ["Gelu"]
    assert result.graph.graph[0].attributes.get_string("approximate") == ("tanh" if "tanh" in form else "none")
    assert_same(model, result.graph)


def test_gelu_of_an_older_opset_is_onnxruntimes():
    model = gelu_model("erf-div", opset=17)
    result = simplified(model)
    assert [(each.domain, each.op_type) for each in result.graph.graph] == [("com.microsoft", "Gelu")]
    assert_same(model, result.graph)


def test_silu_stays_a_product():
    model = model_of([node("Sigmoid", output="s"), node("Mul", "x s")], {"x": [2, 3]}, {"y": [2, 3]})
    assert operators(simplified(model)) == ["Sigmoid", "Mul"]


def test_nothing_is_folded_into_a_large_constant():
    nodes = [node("Expand", "k shape", "big"), node("Add", "x big")]
    constants = {"k": np.float32([1.5]), "shape": np.array([64, 64, 128])}
    model = model_of(nodes, {"x": [64, 64, 128]}, {"y": [64, 64, 128]}, constants)
    result = simplified(model)
    assert_same(model, result.graph)
    assert sum(value.const_value.nbytes for value in result.graph.graph.initializers.values()) < 1000


def test_a_large_weight_is_folded_all_the_same():
    weight = np.random.default_rng(0).normal(size=(700, 600)).astype(np.float32)
    nodes = [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t")]
    model = model_of(nodes, {"x": [1, 600]}, {"y": [1, 700]}, {"w": weight})
    assert operators(simplified(model)) == ["MatMul"]


def test_time_is_linear_in_the_number_of_nodes():
    def seconds(count):
        nodes = [node("Relu" if index % 2 else "Sigmoid", f"t{index}", f"t{index + 1}") for index in range(count)]
        model = model_of(nodes, {"t0": [1, 8]}, {f"t{count}": [1, 8]})
        assert len(simplified(model).graph.graph) == count
        return least_seconds(lambda: simplified(model))

    seconds(10)
    # 8 times the nodes: quadratic work would take 64 times as long.
    assert seconds(1600) < 20 * max(seconds(200), 0.05)


def test_shapes_that_folding_reveals_become_static():
    # A flatten as Paddle writes it: the first size is computed, so that inference leaves a symbol until it is folded.
    ints = {name: np.int64(numbers) for name, numbers in {"zero": [0], "one": [1], "rest": [-1]}.items()}
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Shape", ["pooled"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["pooled", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    weights = {"w": np.ones((6, 4), np.float32), "b": np.ones(4, np.float32)}
    model = model_of(nodes, {"x": [2, 6, 3, 3]}, {"y": [2, 4]}, ints | weights)
    result = simplified(model)
    assert_same(model, result.graph)
    assert operators(result) == ["GlobalAveragePool", "Reshape", "Gemm"]


def test_equal_constants_stay_two_since_their_parameters_may_differ():
    bias = np.float32([0.5, 1.5])
    kernel = np.random.default_rng(0).random((2, 3, 1, 1), np.float32)
    nodes = [node("Conv", "x w a", "c"), node("Conv", "x v b", "d"), node("Add", "c d")]
    constants = {"w": kernel, "v": kernel + 1, "a": bias, "b": bias.copy()}
    model = ir.from_proto(model_of(nodes, {"x": IMAGE}, {"y": [1, 2, 4, 4]}, constants))
    coarse, fine = (QuantizationParameters(np.float32(scale), np.int32(0), "int32") for scale in (0.1, 0.01))
    result = simplify(CompressedModel(model, {"a": coarse, "b": fine}))
    assert result.quantization == {"a": coarse, "b": fine}


def test_the_table_stays_true():
    nodes = [
        node("Conv", "x w", "c"),
        node("BatchNormalization", "c g b m v", "n"),
        node("Identity", "n", "i"),
        node("Relu", "i"),
    ]
    constants = {"w": np.random.default_rng(0).random((2, 3, 1, 1), np.float32), **VECTORS}
    model = ir.from_proto(model_of(nodes, {"x": IMAGE}, {"y": [1, 2, 4, 4]}, constants))
    coarse, fine = (QuantizationParameters(np.float32(scale), np.int32(0)) for scale in (0.1, 0.01))

    quantized_after = simplify(CompressedModel(model, {"w": fine, "n": coarse, "i": fine}))
    assert [each.op_type for each in quantized_after.graph.graph] == ["Conv", "Identity", "Relu"]
    assert quantized_after.quantization == {"n": coarse, "i": fine}  # the weight has other numbers now
    assert quantized_after.provenance[-1].facts["parameters_dropped"] == 1

    quantized_between = simplify(CompressedModel(model, {"w": fine, "c": coarse}))
    assert [each.op_type for each in quantized_between.graph.graph] == ["Conv", "Mul", "Add", "Relu"]
    assert quantized_between.quantization == {"w": fine, "c": coarse}


def test_shapes_that_hang_on_folded_arithmetic_become_known():
    # Padding as torch.nn.functional.pad is exported: (left, right, top, bottom), reversed.
    nodes = [
        helper.make_node("ConstantOfShape", ["four"], ["zeros"], value=numpy_helper.from_array(np.int64([0]))),
        helper.make_node("Concat", ["given", "zeros"], ["all"], axis=0),
        helper.make_node("Reshape", ["all", "pairs"], ["table"]),
        helper.make_node("Slice", ["table", "last", "first", "axis", "last"], ["reversed"]),
        helper.make_node("Transpose", ["reversed"], ["turned"], perm=[1, 0]),
        helper.make_node("Reshape", ["turned", "last"], ["pads"]),
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "w"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["y"]),
    ]
    constants = {
        "four": np.int64([4]),
        "given": np.int64([0, 1, 0, 1]),
        "pairs": np.int64([-1, 2]),
        "last": np.int64([-1]),
        "first": np.int64([-(2**63) + 1]),
        "axis": np.int64([0]),
        "w": np.ones((4, 3, 3, 3), np.float32),
    }
    model = model_of(nodes, {"x": [1, 3, 8, 8]}, {"y": ["n", "c", "h", "w"]}, constants)
    # What was inferred before folding has made-up symbols.
    graph = simplified(onnx.shape_inference.infer_shapes(model)).graph.graph
    assert [node.op_type for node in graph] == ["Conv", "Relu"]
    assert graph[0].outputs[0].shape == ir.Shape([1, 4, 7, 7])


def test_an_epsilon_is_not_taken_for_zero():
    builder = helper.make_graph(
        [helper.make_node("Add", ["x", "epsilon"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(np.array(1e-12, np.float32), "epsilon")],
    )
    model = helper.make_model(builder, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    assert operators(simplified(model)) == ["Add"]
