"""Layers as least-squares problems: what rounding a weight costs, as a quadratic form that calibration measures.

For a layer y = W x the error of rounded weights is E |(Q - W) x|^2 = tr (Q - W) H (Q - W)^T with H = E x x^T, of the
inputs that the layer gets in the quantized model. A layer with a bias takes the mean of the error back there, so that H
is the covariance. H has a size of its own whatever the amount of data; a convolution's x are patches of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Array, Arrays
from edgecomp.graph.query import input_of, is_constant, required_constant, shape_of
from edgecomp.model import CompressedModel
from edgecomp.quantization import scheme
from edgecomp.quantization.simulation import Simulation
from edgecomp.recovery.balance import grouped_weight

FloatArray = npt.NDArray[np.float64]
Integers = npt.NDArray[np.float64]

#: Patches of an image that go into H; more of one image say little new.
_POSITIONS = 256


@dataclass(frozen=True)
class Layer:
    """One layer's rounding problem; groups of a convolution are problems of their own.

    Attributes:
        weight: In steps, real numbers, shape (groups, outputs, inputs of an output).
        second: H, shape (groups, inputs, inputs).
        steps: The size of a step of each output channel, shape (groups, outputs, 1).
    """

    weight: FloatArray
    second: FloatArray
    steps: FloatArray

    @property
    def nearest(self) -> Integers:
        """Every weight rounded by itself."""
        return np.asarray(np.clip(np.rint(self.weight), -127, 127), np.float64)

    def cost(self, integers: Integers) -> FloatArray:
        """The expected square of each output channel's error, shape (groups, outputs)."""
        error = (integers - self.weight) * self.steps
        return np.asarray(np.einsum("gok,gkl,gol->go", error, self.second, error, optimize=True))


#: Chooses the integers of a layer.
Rounding = Callable[[Layer], Integers]


def round_layers(
    model: CompressedModel, batches: Iterable[Arrays], rounding: Rounding
) -> tuple[ir.Model, dict[str, Any]]:
    """Chooses the integers of every layer again, all of them from one pass over the data.

    Args:
        model: Quantized statically.
        batches: Calibration inputs in the graph's order.
        rounding: Chooses; an output channel for which that is no better than rounding to nearest keeps the nearest.

    Returns:
        A graph whose weights round to the integers chosen, and the facts for the provenance: how many layers, and what
        share of a layer's error is left on average.
    """
    graph = model.graph.clone()
    nodes = [node for node in graph.graph if is_layer(node, model)]
    moments = _measure(model, nodes, batches)
    left = {}
    for node in nodes:
        second, mean = moments[node.name or ""]
        layer = _layer(node, model, second, mean)
        integers, before = rounding(layer), layer.cost(layer.nearest)
        better = layer.cost(integers) < before
        chosen = np.where(better[:, :, None], integers, layer.nearest)
        total = float(before.sum())
        left[node.name or ""] = float(layer.cost(chosen).sum()) / total if total else 1.0
        _write(node, chosen, layer, mean)
    return graph, {"layers": len(left), "error_left": float(np.mean(list(left.values()))) if left else 1.0}


def is_layer(node: ir.Node, model: CompressedModel) -> bool:
    """Whether a node multiplies with a matrix of its own in integers."""
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or not scheme.runs_in_integers(node, model.quantization):
        return False
    if not scheme.has_constant_weight(node):
        return False
    weight = required_constant(node.inputs[1])
    alone = all(len(tuple(value.uses())) == 1 for value in node.inputs[1:] if value is not None)
    return alone and (weight.ndim in {3, 4} if node.op_type == "Conv" else weight.ndim == 2)


def _measure(
    model: CompressedModel, nodes: list[ir.Node], batches: Iterable[Arrays]
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """E x x^T and E x of each layer by its node's name."""
    names = [node.name or "" for node in nodes]
    simulation = Simulation(model, readers=names)
    outputs = len(model.graph.graph.outputs)
    sums = {name: _Moments() for name in names}
    for batch in batches:
        for node, source in zip(nodes, simulation.run(batch)[outputs:], strict=True):
            sums[node.name or ""].add(_rows(node, source))
    return {name: (moments.second / moments.count, moments.first / moments.count) for name, moments in sums.items()}


@dataclass
class _Moments:
    """Sums over all rows seen so far."""

    second: FloatArray = field(default_factory=lambda: np.zeros(()))
    first: FloatArray = field(default_factory=lambda: np.zeros(()))
    count: int = 0

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        self.second = self.second + rows.swapaxes(1, 2) @ rows
        self.first = self.first + rows.sum(axis=1)
        self.count += rows.shape[1]


def _rows(node: ir.Node, source: Array) -> npt.NDArray[np.float32]:
    """What each output is computed from: (groups, samples, inputs of an output)."""
    if node.op_type != "Conv":
        return source.reshape(1, -1, source.shape[-1])
    group = node.attributes.get_int("group", 1) or 1
    patches = np.stack(list(_taps(node, source)), axis=-1)  # (batch, channels, positions, taps)
    batch, channels, positions, taps = patches.shape
    grouped = patches.reshape(batch, group, channels // group, positions, taps).transpose(1, 0, 3, 2, 4)
    return np.ascontiguousarray(grouped).reshape(group, batch * positions, -1)


def _taps(node: ir.Node, source: Array) -> Iterator[Array]:
    """For each tap of a kernel what it meets at the sampled positions: (batch, channels, positions)."""
    sizes = required_constant(node.inputs[1]).shape[2:]
    rank = len(sizes)
    strides = node.attributes.get_ints("strides", [1] * rank) or [1] * rank
    dilations = node.attributes.get_ints("dilations", [1] * rank) or [1] * rank
    produced = _produced(node, source.shape[2:])
    padded = np.pad(source, [(0, 0), (0, 0), *_pads(node, source.shape[2:], produced)])
    count = int(np.prod(produced))
    chosen = np.unravel_index(np.linspace(0, count - 1, min(count, _POSITIONS)).astype(int), produced)
    for tap in np.ndindex(*sizes):
        places = zip(chosen, strides, tap, dilations, strict=True)
        index = tuple(position * stride + offset * dilation for position, stride, offset, dilation in places)
        yield padded[(slice(None), slice(None), *index)]


def _produced(node: ir.Node, given: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial dimensions that a convolution gives."""
    known = node.inputs[0]
    if known is not None and shape_of(known)[2:] == given:
        return shape_of(node.outputs[0])[2:]
    rank = len(given)
    sizes = required_constant(node.inputs[1]).shape[2:]
    strides = node.attributes.get_ints("strides", [1] * rank) or [1] * rank
    dilations = node.attributes.get_ints("dilations", [1] * rank) or [1] * rank
    if node.attributes.get_string("auto_pad", "NOTSET") in {"SAME_UPPER", "SAME_LOWER"}:
        return tuple(-(-size // stride) for size, stride in zip(given, strides, strict=True))
    rows = zip(given, _pads(node, given, ()), sizes, strides, dilations, strict=True)
    return tuple((size + sum(pads) - (k - 1) * step - 1) // stride + 1 for size, pads, k, stride, step in rows)


def _pads(node: ir.Node, given: tuple[int, ...], produced: tuple[int, ...]) -> list[tuple[int, int]]:
    """Before and after each spatial dimension."""
    rank = len(given)
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode in {"SAME_UPPER", "SAME_LOWER"}:
        sizes = required_constant(node.inputs[1]).shape[2:]
        strides = node.attributes.get_ints("strides", [1] * rank) or [1] * rank
        dilations = node.attributes.get_ints("dilations", [1] * rank) or [1] * rank
        rows = zip(given, produced, strides, sizes, dilations, strict=True)
        totals = [max((out - 1) * stride + (k - 1) * step + 1 - size, 0) for size, out, stride, k, step in rows]
        return [(t - t // 2, t // 2) if mode == "SAME_LOWER" else (t // 2, t - t // 2) for t in totals]
    pads = node.attributes.get_ints("pads", [0] * 2 * rank) or [0] * 2 * rank
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _layer(node: ir.Node, model: CompressedModel, second: FloatArray, mean: FloatArray) -> Layer:
    parameters = model.quantization[node.inputs[1].name or ""]  # type: ignore[union-attr]
    weight = grouped_weight(node)
    groups, outputs = weight.shape[:2]
    scale = np.broadcast_to(parameters.scale.astype(np.float64).reshape(-1), (groups * outputs,)).reshape(
        groups, outputs, 1
    )
    if _own_bias(node) is not None:
        second = second - mean[:, :, None] * mean[:, None, :]
    return Layer(weight.reshape(groups, outputs, -1) / scale, second, np.asarray(scale))


def _own_bias(node: ir.Node) -> ir.Value | None:
    bias = input_of(node, 2)
    return bias if bias is not None and is_constant(bias) and len(shape_of(bias)) == 1 else None


def _write(node: ir.Node, integers: Integers, layer: Layer, mean: FloatArray) -> None:
    """Puts the numbers that the integers stand for in place of the weights, and keeps the mean of what comes out."""
    bias, weight = _own_bias(node), node.inputs[1]
    assert weight is not None
    shift = np.einsum("gok,gk->go", (integers - layer.nearest) * layer.steps, mean).reshape(-1)
    if bias is not None and shift.size == required_constant(bias).size:
        better = (required_constant(bias) - shift).astype(np.float32)
        bias.const_value = ir.tensor(better, name=bias.name)
    numbers = (integers * layer.steps).astype(np.float32)
    shape = shape_of(weight)
    transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.attributes.get_int("transB", 0))
    array = numbers[0].T if transposed else numbers.reshape(shape)
    weight.const_value = ir.tensor(np.ascontiguousarray(array), name=weight.name)
