"""Nets that are broken on purpose, each in one layer and in one way, and healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgecomp.arrays import Array
from edgecomp.graph.simplify import simplify
from edgecomp.model import CompressedModel
from edgecomp.quantization.static import StaticQuantization

SHAPE = (1, 8, 8, 8)


def node(op_type: str, given: str, result: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, given.split(), result.split(), result, **attributes)


def net(*nodes: onnx.NodeProto, inputs: dict[str, tuple[int, ...]] | None = None, **constants: Any) -> CompressedModel:
    """A net from `x` to `y`; a node is called as what it gives."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"x": SHAPE}).items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return simplify(CompressedModel(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))))


def drawn(count: int = 12, scale: float = 1.0, shape: tuple[int, ...] = SHAPE) -> list[tuple[Array, ...]]:
    random = np.random.default_rng(9)
    return [(random.normal(0, scale, shape).astype(np.float32),) for _ in range(count)]


def kernel(out: int = 8, into: int = 8, size: int = 1, seed: int = 0) -> Array:
    values = np.random.default_rng(seed).normal(0, 1 / np.sqrt(into * size * size), (out, into, size, size))
    return values.astype(np.float32)


def unit(channels: int = 8, factor: float = 1.0) -> Array:
    """A 1x1 convolution that multiplies."""
    return (factor * np.eye(channels)).astype(np.float32)[:, :, None, None]


@dataclass(frozen=True)
class Broken:
    """A net, which of its layers is broken, and how.

    Attributes:
        make: Makes the net.
        layer: The broken one.
        cause: What `diagnose` has to call it.
        says: What its words have to contain.
        settings: Of the quantization.
        calibration: What it is calibrated with.
        batches: What it is measured on; by default the same.
    """

    make: Callable[[], CompressedModel]
    layer: str
    cause: str
    says: str
    settings: StaticQuantization = field(default_factory=StaticQuantization)
    calibration: Callable[[], list[tuple[Array, ...]]] = drawn
    batches: Callable[[], list[tuple[Array, ...]]] | None = None


def swish_tail() -> CompressedModel:
    """Values up to 30, of which the next layer reads the negative tail alone."""
    return net(
        node("Conv", "x w1 b1", "before"), node("Sigmoid", "before", "gate"), node("Mul", "before gate", "swish"),
        node("Conv", "swish w2", "turned"), node("Relu", "turned", "tail"), node("Conv", "tail w3", "y"),
        w1=unit(factor=10.0), b1=np.full(8, -6, np.float32), w2=unit(factor=-1.0), w3=kernel(),
    )  # fmt: skip


def outlier_channel() -> CompressedModel:
    """One channel a hundred times as large as the others, which the next layer makes up for."""
    factors = np.array([100, 1, 1, 1, 1, 1, 1, 1], np.float32)
    return net(
        node("Conv", "x w1", "wide"), node("Relu", "wide", "positive"), node("Conv", "positive w2", "y"),
        w1=kernel() * factors[:, None, None, None], w2=kernel(seed=1) / factors[None, :, None, None],
    )  # fmt: skip


def rare_values() -> CompressedModel:
    """Values that rarely are large, and do not matter then."""
    return net(node("Conv", "x w1", "stretched"), node("Tanh", "stretched", "bent"), node("Conv", "bent w2", "y"),
               w1=unit(), w2=kernel())  # fmt: skip


def spiked() -> list[tuple[Array, ...]]:
    batches = drawn()
    batches[1][0].flat[7] = 300.0
    return batches


def concat_inside() -> CompressedModel:
    return net(
        node("Conv", "x w1", "large"), node("Conv", "x w2", "small"), node("Relu", "large", "l"),
        node("Relu", "small", "s"), node("Concat", "l s", "joined", axis=1), node("Conv", "joined w3", "y"),
        w1=kernel() * 300, w2=kernel(seed=1),
        w3=np.concatenate([kernel(seed=2) / 300, kernel(seed=3)], axis=1),
    )  # fmt: skip


def large_bias() -> CompressedModel:
    """A bias so large that finer weights would overflow, taken back behind it."""
    return net(
        node("Conv", "x w1 b1", "shifted"), node("Relu", "shifted", "positive"), node("Conv", "positive w2 b2", "y"),
        w1=kernel(), b1=np.full(8, 1e6, np.float32), w2=unit(), b2=np.full(8, -1e6, np.float32),
    )  # fmt: skip


def mask() -> CompressedModel:
    """A mask as large as the scores, computed by somebody else."""
    return net(
        node("MatMul", "x w", "scores"), node("Add", "scores m", "masked"), node("Softmax", "masked", "shares", axis=3),
        node("MatMul", "shares x", "y"), w=kernel(8, 8)[:, :, 0, 0] * 4, inputs={"x": SHAPE, "m": SHAPE},
    )  # fmt: skip


def masks() -> list[tuple[Array, ...]]:
    hidden = np.where(np.tri(8, dtype=bool), 0, -10000).astype(np.float32)
    return [(batch, np.broadcast_to(hidden, SHAPE).copy()) for (batch,) in drawn()]


def unlike_weights() -> CompressedModel:
    factors = np.array([100, 1, 1, 1, 1, 1, 1, 1], np.float32)
    return net(node("Conv", "x w1", "wide"), node("Tanh", "wide", "bent"), node("Conv", "bent w2", "y"),
               w1=kernel() * factors[:, None, None, None], w2=kernel(seed=1))  # fmt: skip


def outlier_weights() -> CompressedModel:
    """Large weights on an input that is always near zero."""
    weight = kernel(8, 8)
    weight[:, 0] = 30.0
    return net(node("Conv", "x w1", "first"), node("Relu", "first", "positive"), node("Conv", "positive w2", "y"),
               w1=weight, w2=kernel(seed=1))  # fmt: skip


def first_channel_small() -> list[tuple[Array, ...]]:
    batches = drawn()
    for (batch,) in batches:
        batch[:, 0] *= 1e-3
    return batches


def small_probabilities() -> CompressedModel:
    """Probabilities of which the largest is a hundredth."""
    return net(node("Conv", "x w1 b1", "logits"), node("Sigmoid", "logits", "faint"), node("Conv", "faint w2", "y"),
               w1=kernel(), b1=np.full(8, -7, np.float32), w2=kernel(seed=1))  # fmt: skip


def differences() -> CompressedModel:
    """Neighbours that are nearly equal, subtracted."""
    filter_ = np.zeros((8, 1, 1, 2), np.float32)
    filter_[..., 0], filter_[..., 1] = 1, -1
    return net(
        node("Conv", "x w1 b1", "shifted"), node("Relu", "shifted", "level"), node("Conv", "level w2", "y", group=8),
        w1=unit(), b1=np.full(8, 60, np.float32), w2=filter_,
    )  # fmt: skip


def fine_weights() -> CompressedModel:
    """Sums that nearly cancel: what is left is as small as what rounding does to the weights."""
    signs = np.where(np.arange(8) % 2 == 0, 1.0, -0.9907).astype(np.float32)
    weight = np.tile(signs[None, :, None, None], (8, 1, 1, 1))
    return net(node("Conv", "x w1", "first"), node("Relu", "first", "positive"), node("Conv", "positive w2", "y"),
               w1=weight, w2=kernel(seed=1))  # fmt: skip


def level() -> list[tuple[Array, ...]]:
    return [(100 + batch,) for (batch,) in drawn(scale=0.01)]


def two_sizes() -> CompressedModel:
    return net(node("Conv", "x w1", "first"), node("Conv", "first w2", "y"), w1=unit(), w2=unit())


def log_normal() -> list[tuple[Array, ...]]:
    return [(np.sign(batch) * np.exp(1.1 * np.abs(batch)) / 20,) for (batch,) in drawn()]


BROKEN = {
    "swish-tail": Broken(swish_tail, "swish", "swish-tail", "between -0.28 and 0"),
    "outlier-channels": Broken(outlier_channel, "wide", "outlier-channels", "1 of 8 channels"),
    "outliers": Broken(rare_values, "stretched", "outliers", "99.9 %", StaticQuantization("minmax"), spiked),
    "cut-off": Broken(two_sizes, "x", "cut-off", "cuts off values", batches=lambda: drawn(scale=3.0)),
    "unlike-scales": Broken(concat_inside, "small", "unlike-scales", "unlike scales meet: Concat 'joined'"),
    "saturated-bias": Broken(large_bias, "shifted", "saturated-bias", "overflow the accumulator"),
    "attention-mask": Broken(mask, "masked", "attention-mask", "share 1 integers", calibration=masks),
    "unlike-weights": Broken(
        unlike_weights, "wide", "unlike-weights", "one scale for all", StaticQuantization(per_channel=False)
    ),
    "outlier-weights": Broken(
        outlier_weights, "first", "outlier-weights", "of 127 integers", calibration=first_channel_small
    ),
    "fixed-scale": Broken(small_probabilities, "faint", "fixed-scale", "the fixed step 0.00391"),
    "unlike-inputs": Broken(outlier_channel, "y", "unlike-inputs", "its weights for some input channels"),
    "coarse-weights": Broken(
        fine_weights, "first", "coarse-weights", "its own error", StaticQuantization(correct_bias=False), level
    ),
    "magnified": Broken(differences, "shifted", "magnified", "magnifies"),
}


def plain() -> CompressedModel:
    return net(
        node("Conv", "x w1", "first", pads=[1, 1, 1, 1]), node("Relu", "first", "a"),
        node("Conv", "a w2", "second", pads=[1, 1, 1, 1]), node("Add", "second a", "sum"),
        node("Relu", "sum", "b"), node("GlobalAveragePool", "b", "mean"), node("Conv", "mean w3", "y"),
        w1=kernel(size=3), w2=kernel(size=3, seed=1), w3=kernel(seed=2),
    )  # fmt: skip


def gentle_swish() -> CompressedModel:
    return net(
        node("Conv", "x w1", "first", pads=[1, 1, 1, 1]), node("Sigmoid", "first", "gate"),
        node("Mul", "first gate", "swish"), node("Conv", "swish w2", "y"), w1=kernel(size=3), w2=kernel(seed=1),
    )  # fmt: skip


def like_scales() -> CompressedModel:
    return net(
        node("Conv", "x w1", "one"), node("Conv", "x w2", "two"), node("Concat", "one two", "joined", axis=1),
        node("Conv", "joined w3", "y"), w1=kernel(), w2=kernel(seed=1), w3=kernel(8, 16, seed=2),
    )  # fmt: skip


def dead_channel() -> CompressedModel:
    """A channel of next to no weight, as a BatchNorm leaves behind that training has switched off."""
    weight = kernel()
    weight[3] *= 1e-9
    bias = np.where(np.arange(8) == 3, 1.0, 0.1).astype(np.float32)
    return net(node("Conv", "x w1 b1", "first"), node("Relu", "first", "a"), node("Conv", "a w2", "y"),
               w1=weight, b1=bias, w2=kernel(seed=1))  # fmt: skip


HEALTHY = {"dead-channel": dead_channel, "plain": plain, "gentle-swish": gentle_swish, "like-scales": like_scales}
