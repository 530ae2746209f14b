"""What exporters write in many operators comes out as few, and computes the same."""

import numpy as np
import pytest
from onnx import numpy_helper
from random_graphs import Builder
from simplifying import assert_same, model_of, operators, simplified

IMAGE = (2, 4, 5, 6)


class Chain:
    """Operators in a row on one input."""

    def __init__(self, *shape):
        self.builder = Builder(3)
        self.shape = shape
        self.value = ("x", shape)

    def then(self, op_type, *constants, shape=None, flip=False, **attributes):
        names = [self.builder.constant(np.asarray(array)) for array in constants]
        inputs = [self.value[0], *names]
        self.value = self.builder.add(op_type, inputs[::-1] if flip else inputs, shape or self.value[1], **attributes)
        return self

    def weight(self, *shape):
        return np.random.default_rng(len(self.builder.nodes)).normal(size=shape).astype(np.float32)

    def conv(self, outside=4, kernel=1, group=1, **attributes):
        n, inside, *size = self.value[1]
        weight = self.weight(outside, inside // group, *[kernel] * len(size))
        pads = [kernel // 2] * 2 * len(size)
        return self.then("Conv", weight, shape=(n, outside, *size), group=group, pads=pads, **attributes)

    def check(self, *expected):
        name, shape = self.value
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.builder.constants}
        model = model_of(self.builder.nodes, {"x": list(self.shape)}, {name: list(shape)}, constants)
        result = simplified(model)
        assert operators(result) == list(expected)
        assert_same(model, result.graph)
        return result


def f32(*numbers, shape=(-1,)):
    return np.array(numbers, np.float32).reshape(shape)


PER_CHANNEL = f32(0.5, 2.0, -1.0, 3.0, shape=(1, 4, 1, 1))


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("numbers", [f32(2.0), f32(0.3, shape=()), PER_CHANNEL])
def test_factors_and_offsets_behind_a_convolution(group, numbers):
    Chain(*IMAGE).conv(group=group).then("Mul", numbers).then("Add", numbers, flip=True).check("Conv")


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("numbers", [f32(2.0), PER_CHANNEL])
def test_factors_and_offsets_in_front_of_a_convolution(group, numbers):
    Chain(*IMAGE).then("Mul", numbers, flip=True).then("Add", numbers).conv(group=group).check("Conv")


def test_an_offset_stays_where_zeros_are_padded_and_its_factor_goes():
    Chain(*IMAGE).then("Relu").then("Mul", f32(0.5)).then("Add", f32(0.25)).conv(kernel=3).check("Relu", "Add", "Conv")


def test_a_factor_that_is_read_elsewhere_stays():
    chain = Chain(*IMAGE).then("Mul", f32(2.0))
    inner = chain.value[0]
    chain.conv()
    chain.value = chain.builder.add("Add", [chain.value[0], inner], IMAGE)
    chain.check("Mul", "Conv", "Add")


def test_a_constant_along_the_width_stays():
    row = np.linspace(0.5, 2, 6, dtype=np.float32)
    Chain(*IMAGE).conv().then("Mul", row).check("Conv", "Mul")


def test_factors_around_a_matrix_product():
    weight = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    columns = f32(1.0, 2.0, 3.0)
    chain = Chain(2, 5, 6).then("Mul", f32(1, 2, 3, 4, 5, 6)).then("MatMul", weight, shape=(2, 5, 3))
    chain.then("Mul", columns).then("Add", columns).check("Reshape", "Gemm", "Reshape")


@pytest.mark.parametrize("transposed", [0, 1])
def test_factors_around_a_gemm(transposed):
    weight = np.random.default_rng(0).normal(size=(3, 6) if transposed else (6, 3)).astype(np.float32)
    chain = Chain(5, 6).then("Mul", f32(1, 2, 3, 4, 5, 6)).then("Add", f32(0.5))
    chain.then("Gemm", weight, f32(1, 2, 3), shape=(5, 3), transB=transposed, alpha=0.5, beta=2.0)
    chain.then("Mul", f32(2.0)).then("Add", f32(3, 2, 1)).check("Gemm")


def test_factors_around_a_transposed_convolution():
    weight = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype(np.float32)
    chain = Chain(*IMAGE).then("Mul", PER_CHANNEL).then("ConvTranspose", weight, shape=(2, 6, 6, 7), group=2)
    chain.then("Mul", np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1)).check("ConvTranspose")


def test_neutral_and_joint_constants():
    chain = Chain(*IMAGE).then("Mul", f32(1.0)).then("Add", f32(0.0)).then("Mul", f32(2.0)).then("Mul", f32(3.0))
    chain.then("Relu").then("Add", f32(1.0)).then("Add", PER_CHANNEL).check("Mul", "Relu", "Add")


def test_a_small_offset_in_front_of_a_logarithm_stays():
    chain = Chain(2, 3).then("Relu").then("Add", f32(1e-10)).then("Log")
    chain.check("Relu", "Add", "Log")
    Chain(2, 3).then("Mul", f32(1.000001)).then("Relu").check("Mul", "Relu")


def test_a_constant_that_widens_is_not_neutral():
    Chain(1, 4).then("Mul", np.ones((3, 1), np.float32), shape=(3, 4)).check("Mul")


def layer_norm(axes, *, square, quotient, scale_shape):
    chain = Chain(2, 3, 8)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(chain.shape))
    builder, shape = chain.builder, chain.shape
    over = builder.constant(np.array(axes))
    mean = builder.add("ReduceMean", ["x", over], kept)[0]
    centred = builder.add("Sub", ["x", mean], shape)[0]
    factors = [centred, centred] if square == "Mul" else [centred, builder.constant(np.float32(2))]
    variance = builder.add("ReduceMean", [builder.add(square, factors, shape)[0], over], kept)[0]
    root = builder.add("Sqrt", [builder.add("Add", [variance, builder.constant(np.float32(1e-5))], kept)[0]], kept)[0]
    if quotient == "Mul":
        root = builder.add("Reciprocal", [root], kept)[0]
    chain.value = builder.add(quotient, [centred, root], shape)
    scale = chain.weight(*scale_shape)
    return chain.then("Mul", scale, flip=True).then("Add", scale + 1)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("quotient", ["Div", "Mul"])
@pytest.mark.parametrize(("axes", "scale_shape"), [([2], (8,)), ([-1], (1, 1, 8)), ([1, 2], (3, 8)), ([1, 2], (8,))])
def test_layer_norms_are_found(square, quotient, axes, scale_shape):
    layer_norm(axes, square=square, quotient=quotient, scale_shape=scale_shape).check("LayerNormalization")


def test_a_norm_over_other_dimensions_stays_spelled_out():
    operators_left = layer_norm([1], square="Mul", quotient="Div", scale_shape=(8,))
    operators_left.check("ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add")


def test_a_scale_over_other_dimensions_stays_behind_the_norm():
    layer_norm([2], square="Mul", quotient="Div", scale_shape=(3, 8)).check("LayerNormalization", "Mul", "Add")


def shape_to(chain, *shape):
    return chain.then("Reshape", np.array(shape), shape=shape)


def test_reshapes_in_a_row_are_one():
    chain = shape_to(Chain(2, 3, 4), 6, 4)
    chain.then("Unsqueeze", np.array([1]), shape=(6, 1, 4))
    shape_to(chain, 2, 12).check("Reshape")


def test_reshapes_that_come_back_are_none():
    shape_to(shape_to(Chain(2, 3, 4).then("Relu"), 6, 4), 2, 3, 4).then("Relu").check("Relu")


def test_a_transpose_of_ones_is_a_reshape():
    Chain(1, 3, 1, 4).then("Transpose", shape=(3, 1, 1, 4), perm=[1, 2, 0, 3]).check("Reshape")


def test_reshapes_around_a_softmax_go():
    chain = shape_to(shape_to(Chain(2, 3, 4), 6, 4).then("Softmax", axis=-1), 2, 3, 4)
    chain.check("Softmax")
    chain = shape_to(shape_to(Chain(2, 3, 4), 2, 12).then("Softmax", axis=-1), 2, 3, 4)
    chain.check("Reshape", "Softmax", "Reshape")


def linear(chain, width, bias_shape):
    depth, shape = chain.value[1][-1], (*chain.value[1][:-1], width)
    chain.then("MatMul", chain.weight(depth, width), shape=shape)
    return chain.then("Add", chain.weight(*bias_shape))


@pytest.mark.parametrize("bias_shape", [(7,), (1, 1, 7), (1,), ()])
def test_a_linear_layer_on_many_dimensions_has_its_bias(bias_shape):
    chain = linear(Chain(2, 3, 5), 7, bias_shape)
    chain.check("Reshape", "Gemm", "Reshape")


def test_linear_layers_in_a_row_work_on_rows_all_through():
    chain = linear(Chain(2, 3, 4, 5), 7, (7,)).then("Gelu")
    linear(chain, 5, (5,)).check("Reshape", "Gemm", "Gelu", "Gemm", "Reshape")


def test_a_bias_for_every_step_stays_an_addition():
    linear(Chain(2, 3, 5), 7, (3, 7)).check("MatMul", "Add")


def test_an_activation_comes_before_a_reshape():
    chain = Chain(2, 3, 4).then("Reshape", np.array([6, 4]), shape=(6, 4)).then("Relu")
    chain.then("MatMul", np.ones((4, 4), np.float32))
    chain.check("Relu", "Reshape", "MatMul")


def test_a_slice_of_everything_goes_unless_it_turns_round():
    everything = [np.array([0]), np.array([2**31 - 1]), np.array([1])]
    Chain(2, 3).then("Relu").then("Slice", *everything).then("Relu").check("Relu")
    Chain(2, 3).then("Slice", np.array([-1]), np.array([-(2**31)]), np.array([1]), np.array([-1])).check("Slice")


def test_hardswish_is_found_before_its_factor_goes():
    chain = Chain(*IMAGE).conv()
    source = chain.value[0]
    chain.then("Add", f32(3.0)).then("Clip", np.float32(0), np.float32(6))
    chain.value = chain.builder.add("Mul", [source, chain.value[0]], IMAGE)
    chain.then("Div", np.float32(6)).conv().check("Conv", "HardSwish", "Conv")
