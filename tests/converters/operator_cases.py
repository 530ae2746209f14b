"""The table of operator cases that every format has to get right."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import Build, Case, single, two
from net import Net


def conv(
    *weight: int, shape: tuple[int, ...] = (1, 4, 9, 10), bias: bool = True, op: str = "Conv", **attributes: Any
) -> Build:
    """A convolution with a weight of the shape given."""

    def build(net: Net) -> None:
        source = net.input(*shape)
        group = attributes.get("group", 1)
        channels = weight[0] if op == "Conv" else weight[1] * group
        operands = [net.weight(*weight), *([net.weight(channels)] if bias else [])]
        net.output(net.node(op, source, *operands, **attributes))

    return build


def _conv_relu(kind: str, *bounds: float) -> Build:
    def build(net: Net) -> None:
        x = net.node("Conv", net.input(1, 3, 8, 8), net.weight(4, 3, 3, 3), net.weight(4), pads=[1, 1, 1, 1])
        net.output(net.node(kind, x, *(np.float32(bound) for bound in bounds)))

    return build


def _relu_after(build: Build) -> Build:
    """The last output through a Relu."""

    def extended(net: Net) -> None:
        build(net)
        net.output(net.node("Relu", net.outputs.pop()))

    return extended


CONVOLUTIONS = [
    Case("conv-stride2-symmetric", conv(6, 4, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1])),
    Case("conv-stride2-even", conv(6, 4, 3, 3, shape=(1, 4, 8, 8), strides=[2, 2], pads=[1, 1, 1, 1])),
    Case("conv-asymmetric", conv(6, 4, 3, 3, pads=[0, 2, 1, 0])),
    Case("conv-dilated", conv(6, 4, 3, 3, dilations=[2, 2], pads=[2, 2, 2, 2])),
    Case("conv-dilated-strided", conv(6, 4, 3, 2, dilations=[2, 1], strides=[1, 2], pads=[2, 0, 2, 1])),
    Case("conv-groups", conv(6, 2, 3, 3, group=2, pads=[1, 1, 1, 1])),
    Case("conv-depthwise", conv(4, 1, 3, 3, group=4, pads=[1, 1, 1, 1])),
    Case("conv-depthwise-multiplier", conv(8, 1, 3, 3, group=4, strides=[2, 2], pads=[1, 1, 1, 1])),
    Case("conv-one-channel", conv(3, 1, 3, 3, shape=(1, 1, 7, 7))),
    Case("conv-same-upper", conv(6, 4, 3, 3, strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("conv-same-lower", conv(6, 4, 4, 4, auto_pad="SAME_LOWER")),
    Case("conv-valid", conv(6, 4, 3, 3, strides=[2, 2], auto_pad="VALID")),
    Case("conv-no-bias", conv(6, 4, 1, 1, bias=False)),
    Case("conv-batch", conv(6, 4, 3, 3, shape=(3, 4, 5, 5), pads=[1, 1, 1, 1])),
    Case("conv-1d", conv(6, 4, 3, shape=(1, 4, 12), strides=[2], pads=[1, 1])),
    Case("conv-1d-depthwise-dilated", conv(4, 1, 3, shape=(1, 4, 12), group=4, dilations=[2], pads=[4, 0])),
    Case("conv-relu", _conv_relu("Relu")),
    Case("conv-relu6", _conv_relu("Clip", 0.0, 6.0)),
    Case("conv-clip-odd", _conv_relu("Clip", -0.3, 0.7)),
    Case("conv-clip-positive", _conv_relu("Clip", 0.1, 0.7)),
    Case("convtranspose-stride2", conv(4, 6, 2, 2, op="ConvTranspose", strides=[2, 2])),
    Case("convtranspose-pads", conv(4, 6, 3, 3, op="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1])),
    Case(
        "convtranspose-output-padding",
        conv(4, 6, 3, 3, op="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    ),
    Case("convtranspose-asymmetric", conv(4, 6, 4, 3, op="ConvTranspose", strides=[2, 3], pads=[0, 1, 2, 0])),
    Case("convtranspose-same-upper", conv(4, 6, 3, 3, op="ConvTranspose", strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("convtranspose-same-lower", conv(4, 6, 3, 3, op="ConvTranspose", strides=[2, 2], auto_pad="SAME_LOWER")),
    Case("convtranspose-no-bias", conv(4, 6, 3, 3, bias=False, op="ConvTranspose")),
    Case("convtranspose-groups", conv(4, 3, 3, 3, op="ConvTranspose", group=2, strides=[2, 2])),
    Case("convtranspose-depthwise", conv(4, 1, 4, 4, op="ConvTranspose", group=4, strides=[2, 2], pads=[1, 1, 1, 1])),
    Case("convtranspose-1d", conv(4, 6, 4, shape=(1, 4, 9), op="ConvTranspose", strides=[2], pads=[1, 1])),
    Case("convtranspose-dilated", conv(4, 6, 3, 3, op="ConvTranspose", dilations=[2, 2])),
    Case("convtranspose-output-shape", conv(4, 6, 3, 3, op="ConvTranspose", strides=[2, 2], output_shape=[18, 20])),
    Case("convtranspose-relu", _relu_after(conv(4, 6, 2, 2, op="ConvTranspose", strides=[2, 2]))),
    Case("convtranspose-gap", conv(4, 6, 2, 2, op="ConvTranspose", strides=[3, 3], output_padding=[2, 1])),
]


def _gemm(weight: tuple[int, int], bias: tuple[int, ...] | None, batch: int = 3, **attributes: Any) -> Build:
    def build(net: Net) -> None:
        operands = [net.weight(*weight), *([net.weight(*bias)] if bias is not None else [])]
        net.output(net.node("Gemm", net.input(batch, 5), *operands, **attributes))

    return build


def _matmul(shape: tuple[int, ...], *weight: int) -> Build:
    return lambda net: net.output(net.node("MatMul", net.input(*shape), net.weight(*weight)))


def _left_matmul(net: Net) -> None:
    net.output(net.node("MatMul", net.weight(6, 5), net.input(5, 3)))


def _attention(net: Net) -> None:
    q, k, v = (net.node("Transpose", net.input(1, 6, 2, 4), perm=[0, 2, 1, 3]) for _ in range(3))
    scores = net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2]))
    weights = net.node("Softmax", net.node("Mul", scores, np.float32(0.5)), axis=-1)
    mixed = net.node("Transpose", net.node("MatMul", weights, v), perm=[0, 2, 1, 3])
    net.output(net.node("Reshape", mixed, [1, 6, 8]))


PRODUCTS = [
    Case("gemm-transB", _gemm((7, 5), (7,), transB=1)),
    Case("gemm-plain", _gemm((5, 7), (7,))),
    Case("gemm-no-bias", _gemm((5, 7), None)),
    Case("gemm-alpha-beta", _gemm((7, 5), (7,), transB=1, alpha=0.5, beta=2.0)),
    Case("gemm-bias-row", _gemm((5, 7), (1, 7))),
    Case("gemm-bias-scalar", _gemm((5, 7), (1,))),
    Case("gemm-bias-column", _gemm((5, 7), (3, 1))),
    Case("gemm-bias-full", _gemm((5, 7), (3, 7))),
    Case("gemm-transA", lambda net: net.output(net.node("Gemm", net.input(5, 3), net.weight(5, 7), transA=1))),
    Case("gemm-two-activations", two("Gemm", (3, 5), (5, 4))),
    Case("matmul-2d", _matmul((3, 5), 5, 7)),
    Case("matmul-3d", _matmul((2, 3, 5), 5, 7)),
    Case("matmul-4d", _matmul((1, 2, 3, 5), 5, 7)),
    Case("matmul-stack", _matmul((2, 3, 5), 2, 5, 7)),
    Case("matmul-vector", _matmul((3, 5), 5)),
    Case("matmul-left-constant", _left_matmul),
    Case("matmul-two-activations", two("MatMul", (3, 5), (5, 4))),
    Case("matmul-batched", two("MatMul", (2, 3, 5), (2, 5, 4))),
    Case("matmul-broadcast", two("MatMul", (2, 2, 3, 5), (5, 4))),
    # Two products and a softmax, whose integer kernels look up exponentials.
    Case("matmul-attention", _attention, steps=2),
]


def _constant_first(op_type: str) -> Build:
    def build(net: Net) -> None:
        net.output(net.node(op_type, np.float32(1.5), net.image()))

    return build


def _positive(op_type: str, left: tuple[int, ...], right: tuple[int, ...]) -> Build:
    """The right operand is well away from 0, as divisors are."""

    def build(net: Net) -> None:
        divisor = net.node("Add", net.node("Sigmoid", net.input(*right)), np.float32(0.5))
        net.output(net.node(op_type, net.input(*left), divisor))

    return build


_PER_CHANNEL = np.array([0.5, -1.25, 2.0, 0.75], np.float32).reshape(4, 1, 1)
_FULL = np.linspace(0.5, 2, 192, dtype=np.float32).reshape(1, 4, 6, 8)
_CONSTANTS = {
    "scalar": np.float32(0.7),
    "per-channel": _PER_CHANNEL,
    "vector": np.linspace(0.5, 2, 8, dtype=np.float32),
    "full": _FULL,
}


def _fused(op_type: str) -> Build:
    def build(net: Net) -> None:
        net.output(net.node("Relu", net.node(op_type, net.image(), net.image())))

    return build


def _wider_constant(net: Net) -> None:
    net.output(net.node("Add", net.input(3, 5), _FULL[:, :, :3, :5]))


ARITHMETIC = [
    *(
        Case(f"{op.lower()}-{kind}", single(op, constant))
        for op in ("Add", "Sub", "Mul", "Div")
        for kind, constant in _CONSTANTS.items()
    ),
    *(Case(f"{op.lower()}-constant-first", _constant_first(op)) for op in ("Add", "Sub", "Mul")),
    *(Case(f"{op.lower()}-activations", two(op, (1, 4, 6, 8), (1, 4, 6, 8))) for op in ("Add", "Sub", "Mul")),
    *(Case(f"{op.lower()}-broadcast", two(op, (1, 4, 6, 8), (1, 4, 1, 1))) for op in ("Add", "Sub", "Mul")),
    *(Case(f"{op.lower()}-ranks", two(op, (2, 4, 6, 8), (6, 8))) for op in ("Add", "Sub", "Mul")),
    Case("add-both-broadcast", two("Add", (2, 1, 6), (4, 1))),
    Case("add-wider-constant", _wider_constant),
    Case("add-rank-5", two("Add", (1, 2, 3, 4, 5), (1, 2, 3, 4, 5))),
    Case("mul-rank-5-broadcast", two("Mul", (1, 2, 3, 4, 5), (3, 1, 5))),
    Case("mul-squeeze-excite", two("Mul", (1, 4, 1, 1), (1, 4, 6, 8))),
    Case("mul-itself", lambda net: net.output(net.node("Mul", *([net.image()] * 2)))),
    Case("div-activations", _positive("Div", (1, 4, 6, 8), (1, 4, 6, 8))),
    Case("div-broadcast", _positive("Div", (2, 4, 6), (4, 1))),
    *(Case(f"{op.lower()}-relu", _fused(op)) for op in ("Add", "Sub", "Mul")),
]


def _silu(net: Net) -> None:
    x = net.image()
    net.output(net.node("Mul", x, net.node("Sigmoid", x)))


def _erf_gelu(net: Net) -> None:
    x = net.input(2, 3, 8)
    erf = net.node("Erf", net.node("Div", x, np.float32(np.sqrt(2))))
    net.output(net.node("Mul", net.node("Mul", x, net.node("Add", erf, np.float32(1))), np.float32(0.5)))


ACTIVATIONS = [
    Case("relu", single("Relu")),
    Case("leakyrelu", single("LeakyRelu", alpha=0.1)),
    Case("leakyrelu-steep", single("LeakyRelu", alpha=1.5)),
    Case("prelu-per-channel", single("PRelu", np.float32([[[0.1]], [[0.3]], [[-0.2]], [[1.5]]]))),
    Case("prelu-scalar", single("PRelu", np.float32([0.25]))),
    Case("elu", single("Elu", alpha=1.0)),
    Case("elu-alpha", single("Elu", alpha=0.5)),
    Case("clip-relu6", single("Clip", np.float32(0), np.float32(6))),
    Case("clip-odd", single("Clip", np.float32(-0.4), np.float32(1.3))),
    Case("clip-positive", single("Clip", np.float32(0.3), np.float32(1.3))),
    Case("clip-below", single("Clip", np.float32(-0.5))),
    Case("clip-above", single("Clip", None, np.float32(0.5))),
    Case("clip-unit", single("Clip", np.float32(-1), np.float32(1))),
    Case("hardswish", single("HardSwish")),
    Case("hardsigmoid", single("HardSigmoid", alpha=1 / 6, beta=0.5)),
    Case("hardsigmoid-odd", single("HardSigmoid", alpha=0.3, beta=0.4)),
    Case("sigmoid", single("Sigmoid")),
    Case("tanh", single("Tanh")),
    Case("silu", _silu),
    Case("gelu", single("Gelu")),
    Case("gelu-tanh", single("Gelu", approximate="tanh")),
    Case("gelu-erf", _erf_gelu),
    Case("layernorm-last", single("LayerNormalization", np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8), axis=-1)),
    Case("layernorm-image", single("LayerNormalization", np.linspace(0.5, 2, 192).reshape(4, 6, 8), axis=1)),
    Case("softmax-last", single("Softmax", shape=(3, 10), axis=-1)),
    Case("softmax-channels", single("Softmax", axis=1)),
    Case("softmax-width", single("Softmax", axis=-1)),
    Case("logsoftmax", single("LogSoftmax", shape=(3, 10), axis=-1)),
]


def _pool(op_type: str, kernel: int = 3, size: tuple[int, ...] = (1, 4, 9, 10), **attributes: Any) -> Build:
    if not op_type.startswith("Global"):
        attributes["kernel_shape"] = [kernel] * (len(size) - 2)
    return lambda net: net.output(net.node(op_type, net.image(*size), **attributes))


def _negative_max(net: Net) -> None:
    """All values are negative, so padding with 0 would show."""
    x = net.node("Sub", net.node("Sigmoid", net.input(1, 4, 8, 8)), np.float32(2))
    net.output(net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))


_ODD = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
POOLS = [
    Case("maxpool", _pool("MaxPool", 2, strides=[2, 2])),
    Case("maxpool-pads", _pool("MaxPool", **_ODD)),
    Case("maxpool-pads-even", _pool("MaxPool", size=(1, 4, 8, 8), **_ODD)),
    Case("maxpool-negative", _negative_max),
    Case("maxpool-ceil", _pool("MaxPool", strides=[2, 2], ceil_mode=1)),
    Case("maxpool-same-lower", _pool("MaxPool", 2, auto_pad="SAME_LOWER")),
    Case("maxpool-1d", _pool("MaxPool", size=(1, 4, 12), strides=[2], pads=[1, 1])),
    Case("maxpool-dilated", _pool("MaxPool", dilations=[2, 2])),
    Case("averagepool", _pool("AveragePool", 2, strides=[2, 2])),
    Case("averagepool-same", _pool("AveragePool", pads=[1, 1, 1, 1])),
    Case("averagepool-pads", _pool("AveragePool", size=(1, 4, 8, 8), **_ODD)),
    Case("averagepool-counted", _pool("AveragePool", count_include_pad=1, **_ODD)),
    Case("averagepool-counted-even", _pool("AveragePool", size=(1, 4, 8, 8), count_include_pad=1, **_ODD)),
    Case("averagepool-counted-same", _pool("AveragePool", count_include_pad=1, pads=[1, 1, 1, 1])),
    Case("averagepool-ceil", _pool("AveragePool", strides=[2, 2], ceil_mode=1)),
    Case("averagepool-ceil-counted", _pool("AveragePool", ceil_mode=1, count_include_pad=1, **_ODD)),
    Case("averagepool-asymmetric", _pool("AveragePool", pads=[0, 1, 2, 0])),
    Case("averagepool-1d", _pool("AveragePool", size=(1, 4, 12), strides=[2], pads=[1, 1])),
    Case("globalaveragepool", _pool("GlobalAveragePool")),
    Case("globalaveragepool-1d", _pool("GlobalAveragePool", size=(1, 4, 12))),
    Case("globalmaxpool", _pool("GlobalMaxPool")),
]

REDUCTIONS = [
    Case(f"{op.lower()}-{'-'.join(map(str, axes))}-keep{keep}", single(op, list(axes), keepdims=keep))
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
    for axes, keep in (((2, 3), 0), ((2, 3), 1), ((1,), 0), ((1,), 1), ((-1,), 0), ((0, 2), 0), ((0, 1, 2, 3), 0))
]


def _concat(axis: int, *, fixed: bool) -> Build:
    def build(net: Net) -> None:
        left, right = net.image(), net.image()
        joined = net.node("Concat", net.node("Sigmoid", left) if fixed else left, right, axis=axis)
        net.output(net.node("Relu", joined))  # what only leads to outputs is joined in float

    return build


def _concat_constant(net: Net) -> None:
    net.output(net.node("Relu", net.node("Concat", net.image(), _FULL, axis=1)))


def _concat_for_outputs(net: Net) -> None:
    net.output(net.node("Concat", net.image(), _FULL, axis=1))


def _concat_twice(net: Net) -> None:
    x = net.image()
    net.output(net.node("Relu", net.node("Concat", x, x, axis=1)))


def _concat_two_fixed(net: Net) -> None:
    x = net.image()
    net.output(net.node("Relu", net.node("Concat", net.node("Sigmoid", x), net.node("Tanh", x), axis=1)))


def _split(*sizes: int, axis: int = 1) -> Build:
    def build(net: Net) -> None:
        net.output(*net.node("Split", net.image(), list(sizes), outputs=len(sizes), axis=axis))

    return build


def _split_part(net: Net) -> None:
    first, _ = net.node("Split", net.image(), num_outputs=2, outputs=2, axis=1)
    net.output(net.node("Relu", first))


def _slice(starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Build:
    return single("Slice", starts, ends, axes, steps)


def _pad(pads: list[int], *value: float, mode: str = "constant") -> Build:
    return single("Pad", pads, *(np.float32(number) for number in value), mode=mode)


_SMALLEST = -(2**63) + 1
MOVES = [
    *(Case(f"concat-axis{axis}", _concat(axis, fixed=False)) for axis in (1, 2, -1)),
    Case("concat-fixed-and-measured", _concat(1, fixed=True), steps=2),
    Case("concat-two-fixed", _concat_two_fixed, steps=2),
    Case("concat-constant", _concat_constant),
    Case("concat-for-outputs", _concat_for_outputs),
    Case("concat-twice", _concat_twice),
    Case("split-equal", _split(2, 2)),
    Case("split-unequal", _split(1, 3)),
    Case("split-space", _split(2, 1, 3, axis=2)),
    Case("split-part-unused", _split_part),
    Case("slice-plain", _slice([1, 0], [3, -1], [1, 2], [1, 1])),
    Case("slice-steps", _slice([0, 1], [6, 8], [2, 3], [2, 3])),
    Case("slice-reverse", _slice([-1], [_SMALLEST], [3], [-1])),
    Case("slice-reverse-first", single("Slice", [-1], [_SMALLEST], [0], [-1], shape=(3, 4, 6, 8))),
    Case("slice-reverse-part", _slice([6, 4], [1, 0], [-1, 2], [-2, -1])),
    Case("slice-beyond", _slice([-100], [100], [1], [1])),
    Case("pad-zero", _pad([0, 0, 1, 2, 0, 0, 0, 1])),
    Case("pad-channels", _pad([0, 1, 0, 0, 0, 2, 0, 0])),
    Case("pad-value", _pad([0, 0, 1, 1, 0, 0, 1, 1], 0.75)),
    Case("pad-reflect", _pad([0, 0, 1, 2, 0, 0, 2, 1], mode="reflect")),
    Case("pad-edge", _pad([0, 0, 1, 2, 0, 0, 2, 1], mode="edge")),
    Case("pad-wrap", _pad([0, 0, 1, 2, 0, 0, 2, 1], mode="wrap")),
    Case("pad-negative", _pad([0, 0, -1, 1, 0, 0, 0, -2])),
    Case("pad-axes", single("Pad", [1, 2], None, [3], mode="constant")),
    Case("depthtospace-dcr", single("DepthToSpace", shape=(1, 8, 3, 4), blocksize=2)),
    Case("depthtospace-crd", single("DepthToSpace", shape=(1, 8, 3, 4), blocksize=2, mode="CRD")),
    Case("spacetodepth", single("SpaceToDepth", blocksize=2)),
    Case("tile", single("Tile", [1, 2, 1, 3])),
    Case("expand", lambda net: net.output(net.node("Expand", net.input(4, 1, 1), [2, 4, 3, 5]))),
    Case("expand-image", single("Expand", [2, 4, 6, 8])),
    Case("gather-constant", single("Gather", [2, 0, -1], axis=1)),
    Case("gather-one", single("Gather", 2, axis=1)),
    Case("gather-matrix", single("Gather", [[0, 1], [2, 3]], axis=3)),
]

CASES = [*CONVOLUTIONS, *PRODUCTS, *ARITHMETIC, *ACTIVATIONS, *POOLS, *REDUCTIONS, *MOVES]
