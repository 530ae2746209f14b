"""Random small float graphs, for properties that hold for every graph."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Tensor = tuple[str, tuple[int, ...]]


class Builder:
    """Appends operators to a graph, keeping shapes along."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def add(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes: object) -> Tensor:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], f"n{len(self.nodes)}", **attributes))
        return name, shape

    def weight(self, *shape: int) -> str:
        return self.constant((self.rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32))

    def constant(self, array: np.ndarray) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def conv(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    c, h, w = x[1][1:]
    return b.add("Conv", [x[0], b.weight(4, c, 3, 3), b.weight(4)], (1, 4, h, w), pads=[1, 1, 1, 1])


def depthwise(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Conv", [x[0], b.weight(x[1][1], 1, 3, 3)], x[1], pads=[1, 1, 1, 1], group=x[1][1])


def batch_norm(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    n = x[1][1]
    gamma, beta, mean = (b.weight(n) for _ in range(3))
    variance = b.constant((b.rng.random(n) + 0.5).astype(np.float32))
    return b.add("BatchNormalization", [x[0], gamma, beta, mean, variance], x[1])


def relu(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Relu", [x[0]], x[1])


def clip(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Clip", [x[0], *(b.constant(np.float32(bound)) for bound in (-0.5, 0.9))], x[1])


def add(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    return b.add("Add", [x[0], y[0] if y[1] == x[1] else x[0]], x[1])


def concat(b: Builder, x: Tensor, y: Tensor) -> Tensor:
    other = y if y[1][2:] == x[1][2:] else x
    return b.add("Concat", [x[0], other[0]], (1, x[1][1] + other[1][1], *x[1][2:]), axis=1)


def scale(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Mul", [x[0], b.weight(x[1][1], 1, 1)], x[1])


def scalar(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    operation = ("Add", "Sub", "Mul", "Div")[int(b.rng.integers(4))]
    return b.add(operation, [x[0], b.constant(np.float32(b.rng.choice([0.0, 1.0, 2.0]) or 1.5))], x[1])


def transpose_twice(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    n, c, h, w = x[1]
    back = b.add("Transpose", [x[0]], (n, h, w, c), perm=[0, 2, 3, 1])
    return b.add("Transpose", [back[0]], x[1], perm=[0, 3, 1, 2])


def reshape_twice(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    flat = b.add("Reshape", [x[0], b.constant(np.array([1, -1]))], (1, int(np.prod(x[1]))))
    return b.add("Reshape", [flat[0], b.constant(np.array(x[1]))], x[1])


def dense(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    c, h, w = x[1][1:]
    flat = b.add("Reshape", [x[0], b.constant(np.array([c * h, w]))], (c * h, w))
    product = b.add("MatMul", [flat[0], b.weight(w, w)], (c * h, w))
    total = b.add("Add", [b.weight(w), product[0]] if b.rng.random() < 0.5 else [product[0], b.weight(w)], (c * h, w))
    return b.add("Reshape", [total[0], b.constant(np.array(x[1]))], x[1])


def gemm(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    c, h, w = x[1][1:]
    flat = b.add("Reshape", [x[0], b.constant(np.array([c * h, w]))], (c * h, w))
    flip = int(b.rng.integers(2))
    y = b.add("Gemm", [flat[0], b.weight(w, w), b.weight(1, w)], flat[1], alpha=0.5, beta=2.0, transB=flip)
    return b.add("Reshape", [y[0], b.constant(np.array(x[1]))], x[1])


def silu(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Mul", [x[0], b.add("Sigmoid", [x[0]], x[1])[0]], x[1])


def hard_swish(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    shifted = b.add("Add", [x[0], b.constant(np.float32(3))], x[1])
    clipped = b.add("Clip", [shifted[0], b.constant(np.float32(0)), b.constant(np.float32(6))], x[1])
    return b.add("Div", [b.add("Mul", [x[0], clipped[0]], x[1])[0], b.constant(np.float32(6))], x[1])


def identity(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    return b.add("Identity", [x[0]], x[1])


def padded_conv(b: Builder, x: Tensor, _: Tensor) -> Tensor:
    c, h, w = x[1][1:]
    padded = b.add("Pad", [x[0], b.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]))], (1, c, h + 1, w + 1))
    return b.add("Conv", [padded[0], b.weight(3, c, 2, 2)], (1, 3, h, w))


STEPS = (
    conv, depthwise, batch_norm, relu, clip, add, concat, scale, scalar, transpose_twice, reshape_twice, dense, gemm,
    silu, hard_swish, identity, padded_conv,
)  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A chain or a DAG; outputs are its last tensor and perhaps an inner one, the input itself or a constant."""
    b = Builder(draw(st.integers(0, 2**16)))
    shape = (1, 3, 4, 5)
    tensors: list[Tensor] = [("x", shape)]
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        x = tensors[-1] if draw(st.booleans()) else draw(st.sampled_from(tensors))
        tensors.append(step(b, x, draw(st.sampled_from(tensors))))
    outputs = [tensors[-1]]
    if draw(st.booleans()):
        extra = draw(st.sampled_from(tensors))
        if extra not in outputs:
            outputs.insert(draw(st.integers(0, 1)), extra)
    if draw(st.integers(0, 4)) == 0:
        b.constants.append(numpy_helper.from_array(np.arange(3, dtype=np.float32), "fixed"))
        outputs.append(("fixed", (3,)))
    graph = helper.make_graph(
        b.nodes,
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs],
        b.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
