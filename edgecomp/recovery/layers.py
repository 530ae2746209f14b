"""Layers as least-squares problems: the cost of rounding a weight as a quadratic form, measured on calibration data.

For a layer y = W x, the error of rounded weights is E |(Q - W) x|^2 = tr (Q - W) H (Q - W)^T with H = E x x^T, over the
inputs that the layer gets in the quantized model. A bias can compensate the mean of the error, so for a layer with a
bias H is the covariance. The size of H does not depend on the amount of data. For a convolution, x are patches.
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

#: Patches of an image to sample for H; more of one image add little.
_POSITIONS = 256


@dataclass(frozen=True)
class Layer:
    """The rounding problem of one layer; each group of a convolution is a separate problem.

    Attributes:
        weight: In steps, not rounded, shape (groups, outputs, inputs of an output).
        second: H, shape (groups, inputs, inputs).
        steps: The step of each output channel, shape (groups, outputs, 1).
    """

    weight: FloatArray
    second: FloatArray
    steps: FloatArray

    @property
    def nearest(self) -> Integers:
        """The weights rounded to nearest."""
        return np.asarray(np.clip(np.rint(self.weight), -127, 127), np.float64)

    def cost(self, integers: Integers) -> FloatArray:
        """Returns the expected squared error of each output channel, shape (groups, outputs)."""
        error = (integers - self.weight) * self.steps
        return np.asarray(np.einsum("gok,gkl,gol->go", error, self.second, error, optimize=True))


#: Returns the integers of a layer.
Rounding = Callable[[Layer], Integers]


def round_layers(
    model: CompressedModel, batches: Iterable[Arrays], rounding: Rounding
) -> tuple[ir.Model, dict[str, Any]]:
    """Chooses the integers of every layer again, in one pass over the data.

    Args:
        model: Quantized statically.
        batches: Calibration inputs in the graph's order.
        rounding: Chooses the integers; output channels for which they are no better than rounding to nearest keep that.

    Returns:
        A graph whose weights round to the chosen integers, and as facts for the provenance the number of layers and the
        mean share of a layer's error that is left.
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
    """Tells whether a node multiplies in integers by a constant matrix that nothing else reads."""
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
    """Returns E x x^T and E x of each layer, by its node's name."""
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
    """Sums over all rows so far."""

    second: FloatArray = field(default_factory=lambda: np.zeros(()))
    first: FloatArray = field(default_factory=lambda: np.zeros(()))
    count: int = 0

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        self.second = self.second + rows.swapaxes(1, 2) @ rows
        self.first = self.first + rows.sum(axis=1)
        self.count += rows.shape[1]


def _rows(node: ir.Node, source: Array) -> npt.NDArray[np.float32]:
    """Returns the inputs of each output: (groups, samples, inputs of an output)."""
    if node.op_type != "Conv":
        return source.reshape(1, -1, source.shape[-1])
    group = node.attributes.get_int("group", 1) or 1
    patches = np.stack(list(_taps(node, source)), axis=-1)  # (batch, channels, positions, taps)
    batch, channels, positions, taps = patches.shape
    grouped = patches.reshape(batch, group, channels // group, positions, taps).transpose(1, 0, 3, 2, 4)
    return np.ascontiguousarray(grouped).reshape(group, batch * positions, -1)


def _taps(node: ir.Node, source: Array) -> Iterator[Array]:
    """Yields the inputs under each tap of a kernel at the sampled positions: (batch, channels, positions)."""
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
    """Returns the spatial dimensions of a convolution's result."""
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
    """Returns the padding before and after each spatial dimension."""
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
    """Writes the values of the integers into the weights, and corrects the bias so that the output's mean stays."""
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
