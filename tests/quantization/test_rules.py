"""One test or more for each numbered rule of `edgecomp.quantization.scheme`."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import batches, model_of, node, weights

from edgecomp.quantization import scheme
from edgecomp.quantization.groups import group_activations
from edgecomp.quantization.parameters import QuantizationParameters
from edgecomp.quantization.qdq import to_qdq
from edgecomp.quantization.static import StaticQuantization, quantize_static


def groups_of(model):
    return {frozenset(group.members): group for group in group_activations(model.graph.clone().graph)}


def quantized(model, **settings):
    return quantize_static(model, batches(), StaticQuantization(**settings))


def nodes_of(model):
    return {each.op_type: each for each in model.graph.graph}


def test_rule_1_weights_are_symmetric_per_output_channel():
    kernel = weights(5, 3, 1, 1)
    table = quantized(model_of(node("Conv", "x w", "y"), w=kernel)).quantization
    assert (table["w"].dtype, table["w"].axis) == ("int8", 0)
    assert not table["w"].zero_point.any()
    np.testing.assert_allclose(table["w"].scale, np.abs(kernel).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    integers = table["w"].quantize(kernel)
    assert (integers.min(), np.abs(integers).max()) >= (-127, 127)


def test_rule_1_per_tensor_on_request():
    table = quantized(model_of(node("Conv", "x w", "y"), w=weights(5, 3, 1, 1)), per_channel=False).quantization
    assert table["w"].axis is None


@pytest.mark.parametrize(
    ("nodes", "constants", "axis"),
    [
        ([node("ConvTranspose", "x w", "y")], {"w": weights(3, 5, 1, 1)}, 1),
        ([node("ConvTranspose", "x w", "y", group=3)], {"w": weights(3, 2, 1, 1)}, None),
        ([node("Conv", "x w", "y", group=3)], {"w": weights(6, 1, 1, 1)}, 0),
        ([node("MatMul", "x w", "y")], {"w": weights(4, 6)}, 1),
        ([node("MatMul", "x w", "y")], {"w": weights(3, 4, 6)}, None),
        (
            [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", transB=1)],
            {"w": weights(6, 48), "b": weights(6)},
            0,
        ),
        ([node("Flatten", "x", "f"), node("Gemm", "f w b", "y")], {"w": weights(48, 6), "b": weights(6)}, 1),
    ],
)
def test_rule_1_which_dimension_the_scales_run_along(nodes, constants, axis):
    assert quantized(model_of(*nodes, **constants)).quantization["w"].axis == axis


@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0), (-1e-30, 1e-30), (-1e30, 1e30)])
def test_rule_2_zero_is_exact_and_the_range_is_covered(ends):
    parameters = scheme.activation_parameters(*ends)
    assert parameters.dequantize(parameters.quantize(np.float32(0))) == 0
    low, high = parameters.range
    step = float(parameters.scale)
    assert low <= min(ends[0], 0) + 0.51 * step
    assert high >= max(ends[1], 0) - 0.51 * step


def test_rule_3_bias_scale_is_the_product():
    model = quantized(model_of(node("Conv", "x w b", "y"), w=weights(5, 3, 1, 1), b=weights(5)))
    source, weight, bias = (model.quantization[name] for name in ("x", "w", "b"))
    assert (bias.dtype, bias.axis) == ("int32", 0)
    assert np.array_equal(bias.scale, source.scale * weight.scale)
    error = bias.dequantize(bias.quantize(weights(5))) - weights(5)
    assert (np.abs(error) <= 0.51 * bias.scale).all()


@pytest.mark.parametrize(
    ("op_type", "expected"),
    [("Sigmoid", (1 / 256, -128)), ("Softmax", (1 / 256, -128)), ("Tanh", (1 / 128, 0))],
)
def test_rule_4_fixed_parameters(op_type, expected):
    entry = quantized(model_of(node(op_type, "x", "y"))).quantization["y"]
    assert (float(entry.scale), int(entry.zero_point)) == expected


def test_answers_of_a_log_softmax_are_as_fine_as_its_logits():
    assert "y" not in quantized(model_of(node("LogSoftmax", "x", "y"))).quantization


def test_rule_5_movers_keep_parameters_both_ways():
    model = model_of(
        node("Conv", "x w", "c"),
        node("MaxPool", "c", "m", kernel_shape=[2, 2]),
        node("Transpose", "m", "t", perm=[0, 2, 3, 1]),
        node("Reshape", "t sizes", "y"),
        w=weights(5, 3, 1, 1),
        sizes=np.array([1, -1]),
    )
    groups = groups_of(model)
    assert frozenset({"c", "m", "t", "y"}) in groups
    assert groups[frozenset({"c", "m", "t", "y"})].measured == ["c"]


def test_rule_5_concat_shares_and_measures_all_of_its_inputs():
    joined = node("Concat", "x r n", "y", axis=1)
    model = model_of(node("Relu", "x", "r"), node("Neg", "x", "n"), joined, node("Relu", "y", "z"), outputs="z")
    groups = groups_of(model)
    group = groups[frozenset({"x", "r", "n", "y"})]
    assert set(group.measured) == {"x", "r", "n"}
    table = quantized(model).quantization
    assert table["x"] == table["r"] == table["n"] == table["y"]


def test_rule_5_fixed_inputs_that_disagree_are_converted():
    joined = node("Concat", "s t", "y", axis=1)
    nodes = node("Sigmoid", "x", "s"), node("Tanh", "x", "t"), joined, node("Relu", "y", "z")
    model = quantized(model_of(*nodes, outputs="z"))
    concat = nodes_of(model)["Concat"]
    assert len({model.quantization[value.name] for value in (*concat.inputs, *concat.outputs)}) == 1
    assert {value.producer().op_type for value in concat.inputs} == {"Identity"}
    assert all(scheme.runs_in_integers(each, model.quantization) for each in model.graph.graph)


def test_rule_5_fixed_inputs_that_agree_are_not():
    model = quantized(
        model_of(node("Sigmoid", "x", "s"), node("Softmax", "x", "t"), node("Concat", "s t", "y", axis=1))
    )
    assert [each.op_type for each in model.graph.graph] == ["Sigmoid", "Softmax", "Concat"]
    assert float(model.quantization["y"].scale) == 1 / 256


def test_rule_5_a_constant_in_a_concat_takes_its_parameters():
    model = quantized(
        model_of(node("Concat", "x k", "y", axis=1), node("Relu", "y", "z"), outputs="y z", k=weights(1, 1, 4, 4))
    )
    assert model.quantization["k"] == model.quantization["y"]


@pytest.mark.parametrize("activation", [node("Relu", "c", "y"), node("Clip", "c low high", "y")])
def test_rule_6_a_fused_clip_is_measured_alone(activation):
    model = model_of(
        node("Conv", "x w", "c"), activation, w=weights(5, 3, 1, 1), low=np.float32(-0.5), high=np.float32(1)
    )
    assert groups_of(model)[frozenset({"c", "y"})].measured == ["y"]


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([node("Conv", "x w", "c"), node("Relu", "c", "y")], "y c"),  # the graph gives out what is between
        ([node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Add", "c r", "y")], "y"),  # two readers
        ([node("Conv", "x w", "c"), node("Clip", "c low", "y")], "y"),  # the bounds leave out zero
        ([node("Sigmoid", "x", "c"), node("Relu", "c", "y")], "y"),
    ],
)
def test_rule_6_other_clips_are_not_fused(nodes, outputs):
    model = model_of(*nodes, outputs=outputs, w=weights(5, 3, 1, 1), low=np.float32(0.5))
    assert frozenset({"c"}) in groups_of(model)


def test_rule_7_float_islands():
    model = quantized(
        model_of(
            node("Conv", "x w", "c"), node("Exp", "c", "e"), node("Conv", "e w2", "y"), w=weights(5, 3, 1, 1),
            w2=weights(2, 5, 1, 1),
        )
    )  # fmt: skip
    flags = {
        each.op_type + each.outputs[0].name: scheme.runs_in_integers(each, model.quantization)
        for each in model.graph.graph
    }
    assert flags == {"Convc": True, "Expe": False, "Convy": True}


def test_rule_7_a_node_may_be_kept_in_float():
    model = model_of(node("Conv", "x w", "c"), node("Relu", "c", "y"), w=weights(5, 3, 1, 1))
    for each in model.graph.graph:
        each.metadata_props[scheme.PRECISION_KEY] = "float32"
    assert quantize_static(model, batches()).quantization == {}


def test_what_is_only_moved_stays_in_float():
    model = model_of(node("Transpose", "x", "y", perm=[0, 2, 3, 1]))
    assert quantize_static(model, batches()).quantization == {}


# Constants that are out of the ordinary


def test_a_dead_channel_keeps_its_bias():
    kernel, bias = weights(3, 3, 1, 1), np.float32([0.5, -4.0, 100.0])
    kernel[1] = 0
    kernel[2] = 1e-12
    model = quantized(model_of(node("Conv", "x w b", "y"), w=kernel, b=bias))
    entry = model.quantization["b"]
    integers = entry.quantize(bias)
    assert np.abs(integers.astype(np.int64)).max() <= 2**29 + 64
    np.testing.assert_allclose(entry.dequantize(integers), bias, rtol=1e-3)


def test_multipliers_stay_within_what_kernels_can_express():
    kernel = weights(3, 3, 1, 1) * np.float32([1e-10, 1e-7, 1]).reshape(3, 1, 1, 1)
    model = quantized(model_of(node("Conv", "x w", "y"), w=kernel))
    table = model.quantization
    multiplier = table["x"].scale.astype(np.float64) * table["w"].scale / table["y"].scale
    assert (multiplier >= 2.0**-28 * 0.999).all()


@pytest.mark.parametrize("name", ["minmax", "moving-average", "percentile", "mse", "entropy"])
def test_a_model_that_is_always_zero(name):
    model = model_of(node("Conv", "x w", "c"), node("Relu", "c", "y"), w=np.zeros((2, 3, 1, 1), np.float32))
    result = quantize_static(model, batches(), StaticQuantization(estimator=name))
    entry = result.quantization["y"]
    assert entry.dequantize(entry.quantize(np.float32(0))) == 0


def test_a_shared_bias_gets_parameters_for_each_reader():
    model = model_of(
        node("Conv", "x w b", "c"), node("Conv", "x v b", "d"), node("Add", "c d", "y"),
        w=weights(4, 3, 1, 1), v=3 * weights(4, 3, 1, 1, seed=1), b=weights(4),
    )  # fmt: skip
    result = quantized(model)
    biases = [each.inputs[2].name for each in result.graph.graph if each.op_type == "Conv"]
    assert len(set(biases)) == 2
    for each in result.graph.graph:
        if each.op_type == "Conv":
            source, weight, bias = (result.quantization[value.name] for value in each.inputs)
            assert np.array_equal(bias.scale, source.scale * weight.scale)
    assert [value.name for value in model.graph.graph.initializers.values()].count("b") == 1


def test_a_shared_weight_gets_parameters_for_each_reader():
    model = model_of(node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r w", "y"), w=weights(3, 3, 1, 1))
    result = quantized(model)
    names = {each.inputs[1].name for each in result.graph.graph if each.op_type == "Conv"}
    assert all(name in result.quantization for name in names)
    assert all(scheme.runs_in_integers(each, result.quantization) for each in result.graph.graph)


def test_an_operand_that_is_constant_is_quantized_like_an_activation():
    operand = np.float32([[[1.0]], [[2.0]], [[5.0]]])
    model = quantized(model_of(node("Mul", "x k", "y"), k=operand))
    entry = model.quantization["k"]
    assert (entry.dtype, entry.axis) == ("int8", None)
    np.testing.assert_allclose(entry.dequantize(entry.quantize(operand)), operand, atol=float(entry.scale) / 2)


def test_the_source_is_not_changed():
    model = model_of(node("Sigmoid", "x", "s"), node("Tanh", "x", "t"), node("Concat", "s t", "y", axis=1))
    before = ir.to_proto(model.graph).SerializeToString()
    quantized(model)
    assert ir.to_proto(model.graph).SerializeToString() == before
    assert model.quantization == {}


def test_quantizing_twice_gives_the_same():
    model = model_of(node("Conv", "x w b", "c"), node("Relu", "c", "y"), w=weights(5, 3, 1, 1), b=weights(5))
    first, second = quantized(model), quantized(model)
    assert dict(first.quantization) == dict(second.quantization)
    protos = [ir.to_proto(to_qdq(each)).SerializeToString() for each in (first, second)]
    assert protos[0] == protos[1]


def test_parameters_check_themselves():
    with pytest.raises(ValueError, match="positive and finite"):
        QuantizationParameters(np.float32(0), np.int32(0))
    with pytest.raises(ValueError, match="does not go with axis"):
        QuantizationParameters(np.float32([1, 2]), np.int32(0))
    per_channel = QuantizationParameters(np.float32([0.5, 0.25]), np.int32(0), axis=1)
    assert np.array_equal(per_channel.quantize(np.float32([[1.0, 1.0], [-100, 0.375]])), [[2, 4], [-128, 2]])
