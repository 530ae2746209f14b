import collections
import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_sources import inputs, quantized_by_onnxruntime, rounded_everywhere, run
from onnxruntime.quantization import QuantFormat, QuantType

from edgecomp.errors import SourceError
from edgecomp.graph.absorb import absorb_quantization
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.qdq import to_qdq


def absorbed(model):
    return absorb_quantization(CompressedModel(ir.from_proto(model)))


def facts(model):
    return next(step.facts for step in model.provenance if step.name == "absorb")


def islands(model):
    return [node.op_type for node in model.graph.graph if not scheme.runs_in_integers(node, model.quantization)]


def operators(model):
    return [node.op_type for node in model.graph.graph]


def difference(source, model, feeds):
    """The largest difference between two models' outputs, in steps of each output (or as it is, for a float output).

    A model without float islands is written by `to_qdq`. With islands that leaves out conversions between them, so the
    comparison takes a plain writer.
    """
    result = rounded_everywhere(model) if islands(model) else ir.to_proto(to_qdq(model))
    onnx.checker.check_model(result, full_check=True)
    largest = 0.0
    for feed in feeds:
        before, after = run(source, feed), run(result, feed)
        assert list(before) == list(after)
        for name, expected in before.items():
            assert expected.dtype == after[name].dtype
            step = float(model.quantization[name].scale) if name in model.quantization else 1.0
            step = 1.0 if expected.dtype.kind in "iu" else step
            distance = np.abs(expected.astype(np.float64) - after[name].astype(np.float64)).max()
            largest = max(largest, float(distance) / step)
    return largest


def integers_of(model):
    """How often each array of weight or bias integers occurs in a QDQ model."""
    arrays = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    return collections.Counter(
        (array.shape, array.astype(np.int64).tobytes())
        for array in arrays
        if array.dtype in (np.int8, np.int32) and array.ndim > 0 and array.size > 1
    )


def check_integers(source, model):
    before, after = integers_of(source), integers_of(ir.to_proto(to_qdq(model)))
    scales = {numpy_helper.to_array(tensor).shape for tensor in source.graph.initializer}
    assert scales
    zero_points = {key for key in before if not np.frombuffer(key[1], np.int64).any()}
    assert {key for key in before if key not in zero_points} == {
        key for key in after if np.frombuffer(key[1], np.int64).any()
    }


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_what_onnxruntime_quantized_computes_the_same(activations, per_channel):
    source = quantized_by_onnxruntime(activations=activations, per_channel=per_channel, curved=False)
    raw = absorbed(source)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(raw))
    assert facts(raw)["notes"] == []
    model = simplify(raw)
    assert islands(model) == []
    check_integers(source, model)
    # Exact but for the last bit of float32: BatchNorm-free graphs keep every operation.
    assert difference(source, model, inputs(10)) < 1e-3


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
def test_outputs_that_the_scheme_fixes_round_once_more(activations):
    source = quantized_by_onnxruntime(activations=activations)
    model = simplify(absorbed(source))
    assert [note.split(" '")[0] for note in facts(model)["notes"]] == ["Sigmoid", "Softmax"]
    assert islands(model) == []
    for node in model.graph.graph:
        if node.op_type in {"Sigmoid", "Softmax"}:
            assert model.quantization[node.outputs[0].name] == scheme.fixed_parameters(node)
    assert difference(source, model, inputs(10)) <= 2.01  # one step at the Sigmoid, one at the head behind it


@pytest.mark.parametrize("per_channel", [True, False])
def test_operators_on_integers_become_float_operators(per_channel):
    source = quantized_by_onnxruntime(form=QuantFormat.QOperator, per_channel=per_channel, curved=False)
    assert "QLinearConv" in {node.op_type for node in source.graph.node}
    model = simplify(absorbed(source))
    assert not [name for name in operators(model) if name.startswith("Q")]
    assert islands(model) == []
    check_integers(source, model)
    assert difference(source, model, inputs(10)) <= 1.01  # ONNX Runtime's own kernels round in fixed point


def test_only_some_operators_quantized():
    source = quantized_by_onnxruntime(operators=["Conv"])
    model = simplify(absorbed(source))
    assert "Gemm" in islands(model)
    assert "Conv" not in islands(model)
    assert difference(source, model, inputs(10)) < 1e-3


def test_a_float_model_comes_back_as_it_is():
    model = CompressedModel(ir.from_proto(model_of([node("Relu", "x", "y")])))
    assert absorb_quantization(model) is model


# Small models by hand

SHAPE = (1, 3, 4, 4)


def node(op_type, given, result, **attributes):
    return helper.make_node(op_type, given.split(), result.split(), f"{op_type}_{result}", **attributes)


def quantize(source, result, name):
    return node("QuantizeLinear", f"{source} {name}_s {name}_z", result)


def dequantize(source, result, name, **attributes):
    return node("DequantizeLinear", f"{source} {name}_s {name}_z", result, **attributes)


def pair(source, result, name):
    return [quantize(source, f"{result}_q", name), dequantize(f"{result}_q", result, name)]


def parameters(name, scale, zero_point=0, dtype=np.int8):
    scale = np.float32(scale)
    return {f"{name}_s": scale, f"{name}_z": np.full(scale.shape, zero_point, dtype)}


def model_of(nodes, constants=None, outputs=("y",), shape=SHAPE, types=None, opset=21):
    types = types or {}
    values = {name: types.get(name, TensorProto.FLOAT) for name in ("x", *outputs)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", values["x"], shape)],
        [helper.make_tensor_value_info(name, values[name], None) for name in outputs],
        [
            each if isinstance(each, TensorProto) else numpy_helper.from_array(np.asarray(each), name)
            for name, each in (constants or {}).items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def feeds(count=5, shape=SHAPE):
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(0, 1, shape).astype(np.float32)} for _ in range(count)]


A, B = parameters("a", 0.02, 5), parameters("b", 0.05, -20)


def test_gaps_before_a_fused_clip_and_behind_movers_are_filled():
    weight = np.random.default_rng(0).integers(-127, 128, (2, 3, 1, 1)).astype(np.int8)
    nodes = [
        *pair("x", "xd", "a"),
        dequantize("w", "wd", "w", axis=0),
        node("Conv", "xd wd", "c"),
        node("Relu", "c", "r"),
        *pair("r", "rd", "b"),
        node("MaxPool", "rd", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "m", "t", perm=[0, 2, 3, 1]),
        node("Exp", "t", "y"),
    ]
    source = model_of(nodes, {**A, **B, "w": weight, **parameters("w", [0.01, 0.02])})
    model = absorbed(source)
    assert operators(model) == ["Conv", "Relu", "MaxPool", "Transpose", "Exp"]
    table = model.quantization
    assert table["c"] == table["r"] == table["m"] == table["t"]
    assert "y" not in table
    assert difference(source, simplify(model), feeds()) < 1e-6


def test_integers_may_flow_through_movers():
    nodes = [
        quantize("x", "q", "a"),
        node("Transpose", "q", "p", perm=[0, 2, 3, 1]),
        node("MaxPool", "p", "m", kernel_shape=[2, 2]),
        dequantize("m", "d", "a"),
        node("Relu", "d", "y"),
    ]
    source = model_of(nodes, A)
    model = absorbed(source)
    assert operators(model) == ["Transpose", "MaxPool", "Relu"]
    assert {"x", "p", "m"} <= set(model.quantization)
    assert difference(source, simplify(model), feeds()) < 1e-6


def test_a_reader_of_the_unrounded_tensor_keeps_it():
    nodes = [node("Relu", "x", "r"), *pair("r", "rd", "a"), node("Neg", "rd", "n"), node("Add", "n r", "y")]
    source = model_of(nodes, A)
    model = simplify(absorbed(source))
    assert operators(model) == ["Relu", "Identity", "Neg", "Add"]
    assert "r" not in model.quantization
    assert difference(source, model, feeds()) < 1e-6


def test_a_tensor_quantized_twice_becomes_two():
    nodes = [*pair("x", "xa", "a"), *pair("x", "xb", "b"), node("Add", "xa xb", "y")]
    source = model_of(nodes, {**A, **B})
    model = simplify(absorbed(source))
    assert operators(model) == ["Identity", "Identity", "Add"]
    assert len(set(model.quantization.values())) == 2
    assert difference(source, model, feeds()) < 1e-6


def test_a_change_of_parameters_stays():
    nodes = [*pair("x", "xa", "a"), *pair("xa", "xb", "b"), node("Relu", "xb", "y")]
    source = model_of(nodes, {**A, **B})
    model = simplify(absorbed(source))
    assert operators(model) == ["Identity", "Relu"]
    assert difference(source, model, feeds()) < 1e-6


def test_concat_of_unlike_inputs_gets_changes_of_parameters():
    nodes = [
        *pair("x", "xa", "a"),
        node("Relu", "xa", "r"),
        *pair("r", "rb", "b"),
        node("Concat", "xa rb", "k", axis=1),
        *pair("k", "y", "c"),
    ]
    source = model_of(nodes, {**A, **B, **parameters("c", 0.04, 3)})
    model = simplify(absorbed(source))
    assert operators(model) == ["Relu", "Identity", "Identity", "Concat"]
    assert islands(model) == []
    concat = model.graph.graph[-1]
    assert len({model.quantization[value.name] for value in (*concat.inputs, *concat.outputs)}) == 1
    assert difference(source, model, feeds()) < 1e-6


@pytest.mark.parametrize("mover", ["MaxPool", "AveragePool"])
def test_a_mover_with_unlike_parameters_behind_it(mover):
    nodes = [*pair("x", "xa", "a"), node(mover, "xa", "m", kernel_shape=[2, 2]), *pair("m", "y", "b")]
    source = model_of(nodes, {**A, **B})
    model = simplify(absorbed(source))
    assert operators(model) == [mover, "Identity"]
    assert bool(facts(model)["notes"]) == (mover == "AveragePool")  # an average rounds twice
    assert difference(source, model, feeds()) <= (1.01 if mover == "AveragePool" else 1e-6)


def test_outputs_keep_their_names():
    nodes = [*pair("x", "y", "a"), node("Relu", "y", "r"), *pair("r", "z", "b"), node("Identity", "r", "raw")]
    source = model_of(nodes, {**A, **B}, outputs=("z", "y", "raw"))
    model = simplify(absorbed(source))
    assert [value.name for value in model.graph.graph.outputs] == ["z", "y", "raw"]
    assert difference(source, model, feeds()) < 1e-6


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integer_inputs_and_outputs_keep_their_types(dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [dequantize("x", "d", "a"), node("Relu", "d", "r"), quantize("r", "y", "b")]
    source = model_of(
        nodes, {**parameters("a", 0.02, 5, dtype), **parameters("b", 0.03, 7, dtype)}, types={"x": kind, "y": kind}
    )
    model = simplify(absorbed(source))
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(model))
    data = [{"x": np.arange(48).reshape(SHAPE).astype(dtype) * 5}]
    assert difference(source, model, data) == 0
    assert "r" not in islands(model)


def dense(weight_type, scale_shape, zero_point=0, **attributes):
    rng = np.random.default_rng(0)
    integers = rng.integers(-7, 8, (8, 6))
    if zero_point:
        integers = integers + zero_point
    scale = (rng.random(scale_shape) / 50 + 0.01).astype(np.float32)
    constants = {"a_s": np.float32(0.02), "a_z": np.int8(0), "b_s": np.float32(0.1), "b_z": np.int8(3), "w_s": scale}
    constants |= {"bias": rng.normal(size=6).astype(np.float32)}
    nodes = [
        *pair("x", "xd", "a"),
        dequantize("w", "wd", "w", **attributes),
        node("Gemm", "xd wd bias", "g"),
        *pair("g", "y", "b"),
    ]
    zero = np.full(scale_shape, zero_point)
    constants["w"] = helper.make_tensor("w", weight_type, (8, 6), integers.reshape(-1))
    constants["w_z"] = helper.make_tensor("w_z", weight_type, scale_shape, zero.reshape(-1))
    return model_of(nodes, constants, shape=(1, 8))


def test_a_float_bias_becomes_integers():
    model = simplify(absorbed(dense(TensorProto.INT8, (6,), axis=1)))
    assert islands(model) == []
    assert facts(model)["biases"] == 1
    bias = model.quantization["bias"]
    assert np.array_equal(bias.scale, model.quantization["x"].scale * model.quantization["w/real"].scale)


def test_symmetric_uint8_weights_are_int8():
    source = dense(TensorProto.UINT8, (6,), 128, axis=1)
    model = simplify(absorbed(source))
    assert islands(model) == []
    weight = model.graph.graph.initializers["w/real"].const_value.numpy()
    integers = next(numpy_helper.to_array(tensor) for tensor in source.graph.initializer if tensor.name == "w")
    assert np.array_equal(model.quantization["w/real"].quantize(weight), integers.astype(int) - 128)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (dense(TensorProto.INT8, (), 3), "zero point"),
        (dense(TensorProto.INT8, (8,), axis=0), "dimension 0"),
        (dense(TensorProto.INT4, (6,), axis=1), "int4"),
        (dense(TensorProto.INT8, (2, 6), axis=0, block_size=4), "blocks"),
    ],
)
def test_weights_outside_the_scheme_stay_in_float(model, reason):
    result = simplify(absorbed(model))
    assert any(reason in note for note in facts(result)["notes"])
    assert islands(result) == ["Gemm"]
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(result))
    assert difference(model, result, feeds(shape=(1, 8))) < 1e-3


def test_activations_of_16_bits_stay_in_float():
    constants = {"a_s": np.float32(0.001), "a_z": np.int16(0)}
    result = absorbed(model_of([*pair("x", "d", "a"), node("Relu", "d", "y")], constants))
    assert operators(result) == ["Relu"]
    assert result.quantization == {}
    assert "int16" in facts(result)["notes"][0]


def test_a_transposed_weight_keeps_its_integers():
    weight = np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8)
    nodes = [
        *pair("x", "xd", "a"),
        dequantize("w", "wd", "w", axis=0),
        node("Transpose", "wd", "wt", perm=[1, 0]),
        node("MatMul", "xd wt", "m"),
        *pair("m", "y", "b"),
    ]
    source = model_of(nodes, {**A, **B, "w": weight, **parameters("w", np.linspace(0.01, 0.02, 6))})
    model = simplify(absorbed(source))
    assert operators(model) == ["MatMul"]
    assert islands(model) == []
    stored = model.graph.graph[0].inputs[1]
    assert np.array_equal(model.quantization[stored.name].quantize(stored.const_value.numpy()), weight.T)
    assert difference(source, model, feeds()) < 1e-3


def test_a_quantized_constant_that_is_subtracted_keeps_its_integers():
    constants = {**A, **B, "k": np.arange(-6, 6, dtype=np.int8).reshape(3, 1, 4), **parameters("k", 0.05, -3)}
    nodes = [*pair("x", "xd", "a"), dequantize("k", "kd", "k"), node("Sub", "xd kd", "s"), *pair("s", "y", "b")]
    source = model_of(nodes, constants)
    model = simplify(absorbed(source))
    assert operators(model) == ["Sub"]
    assert islands(model) == []
    assert difference(source, model, feeds()) < 1e-6


def test_parameters_that_the_graph_computes_are_refused():
    nodes = [node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z", "y")]
    with pytest.raises(SourceError, match="parameters that the graph computes"):
        absorbed(model_of(nodes))


def test_a_broken_scale_is_refused():
    nodes = [*pair("x", "d", "a"), node("Relu", "d", "y")]
    with pytest.raises(SourceError, match="positive, finite"):
        absorbed(model_of(nodes, parameters("a", 0.0)))


def test_large_biases_are_exact_or_named():
    for largest, exact in ((2**23, True), (2**29 + 12345, False)):
        weight = np.ones((1, 3, 1, 1), np.int8)
        nodes = [
            *pair("x", "xd", "a"),
            dequantize("w", "wd", "w"),
            dequantize("k", "kd", "k"),
            node("Conv", "xd wd kd", "c"),
            *pair("c", "y", "b"),
        ]
        product = np.float32(0.02) * np.float32(0.01)
        constants = {**A, **B, "w": weight, **parameters("w", 0.01), **parameters("k", product, dtype=np.int32)}
        model = absorbed(model_of(nodes, {**constants, "k": np.int32([largest])}))
        entry = model.quantization["k/real"]
        stored = entry.quantize(model.graph.graph.initializers["k/real"].const_value.numpy())
        assert abs(int(stored[0]) - largest) <= (0 if exact else 64)
        assert bool(facts(model)["notes"]) != exact, largest


def test_random_chains_of_pairs_compute_the_same():
    """Mixtures of pairs, raw readers and movers, exactly."""
    choices = ("Relu", "Transpose", "MaxPool", "pair a", "pair b", "raw")
    for steps in (*itertools.product(choices, repeat=2), *list(itertools.product(choices, repeat=3))[::5]):
        nodes, current = [], "x"
        for index, step in enumerate(steps):
            result = f"t{index}"
            if step.startswith("pair"):
                nodes += pair(current, result, step[-1])
            elif step == "raw":
                nodes += [*pair(current, f"{result}_r", "b"), node("Add", f"{current} {result}_r", result)]
            else:
                attributes = {"MaxPool": {"kernel_shape": [1, 1]}, "Transpose": {"perm": [0, 1, 3, 2]}}.get(step, {})
                nodes.append(node(step, current, result, **attributes))
            current = result
        source = model_of([*nodes, node("Neg", current, "y")], {**A, **B})
        assert difference(source, simplify(absorbed(source)), feeds(1)) < 1e-6, steps


def test_nothing_but_the_outputs_is_an_output_of_what_was_simplified():
    """What passes must not touch is an output meanwhile; were it still one, no activation would be fused."""
    model = simplify(absorbed(quantized_by_onnxruntime()))
    marked = {value.name for node in model.graph.graph for value in node.outputs if value.is_graph_output()}
    assert marked == {value.name for value in model.graph.graph.outputs}
