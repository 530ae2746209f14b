"""Runs the float graph on calibration data and keeps statistics of chosen tensors, in memory that does not grow.

The statistics are computed inside the graph: for each tensor its minimum, its maximum, and a systematic sample of its
elements (a fixed stride that is coprime to the size, so that it visits every channel and position); on request also the
mean of each channel. ONNX Runtime returns four vectors a batch, whatever the size of the activations. The samples go
into histograms whose range doubles when a value falls outside.

Where batches are of several sizes the stride follows from the largest, so that every element counts alike, and the
longer a batch is the more of it there is. In means of channels every batch counts alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.arrays import Arrays
from edgecomp.errors import DataError
from edgecomp.graph.border import loosen
from edgecomp.graph.query import shape_of
from edgecomp.graph.session import Session
from edgecomp.shapes import InputShapes

FloatArray = npt.NDArray[np.float64]

_NAMES = ("minima", "maxima", "samples", "counts", "means", "sizes")
_MINIMA, _MAXIMA, _SAMPLES, _COUNTS, _MEANS, _SIZES = (f"edgecomp_{name}" for name in _NAMES)

#: Vectors that are joined at a time.
_GROUP = 64
#: A graph of more nodes runs as it is: to make it faster would take longer than all passes.
_MANY = 1000
#: A Slice with this end goes to the last element.
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Statistics:
    """What calibration has seen of one tensor.

    Attributes:
        low: The smallest value.
        high: The largest value.
        average_low: Exponential moving average of each batch's smallest value (momentum 0.9).
        average_high: The same of the largest.
        counts: Histogram of the sampled values, int64, shape (bins,).
        edge: The histogram covers [-edge, edge] in bins of equal width.
    """

    low: float
    high: float
    average_low: float
    average_high: float
    counts: npt.NDArray[np.int64]
    edge: float

    @property
    def centers(self) -> FloatArray:
        """The middle of each bin."""
        bins = len(self.counts)
        return np.asarray((np.arange(bins) + 0.5) * (2 * self.edge / bins) - self.edge, np.float64)


@dataclass(frozen=True)
class Collected:
    """Everything that calibration has seen.

    Attributes:
        statistics: By tensor name.
        channel_means: Tensor name -> the mean of each channel (dimension 1) over all batches, shape (channels,).
    """

    statistics: dict[str, Statistics]
    channel_means: dict[str, FloatArray]


class Collector:
    """Statistics of many tensors over many batches.

    Args:
        names: The tensors.
        sizes: How many sampled values of each come with every batch.
        bins: Histogram bins; even.
    """

    def __init__(self, names: Sequence[str], sizes: Sequence[int], bins: int = 4096) -> None:
        self.batches = 0
        self._names = tuple(names)
        self._counts = np.zeros((len(names), bins), np.int64)
        self._edge = np.zeros(len(names))
        self._sizes: tuple[int, ...] = ()
        self._place(tuple(sizes))
        self._low, self._high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        self._average_low, self._average_high = np.zeros(len(names)), np.zeros(len(names))

    def add(
        self,
        minima: FloatArray,
        maxima: FloatArray,
        samples: npt.NDArray[np.float32],
        sizes: Sequence[int] | None = None,
    ) -> None:
        """Adds one batch.

        Args:
            minima: Smallest value of each tensor, shape (tensors,).
            maxima: Largest value of each tensor, shape (tensors,).
            samples: The sampled values of all tensors one after another, shape (sum of sizes,).
            sizes: How many there are of each; None for as many as in the batch before.
        """
        if sizes is not None and tuple(sizes) != self._sizes:
            self._place(tuple(sizes))
        finite = np.isfinite(minima) & np.isfinite(maxima)
        if not finite.all():
            raise DataError(
                f"calibration batch {self.batches}",
                expected="finite values in every tensor of the model",
                actual=f"NaN or infinity in {self._names[int(np.argmin(finite))]}",
                cure="look for an overflow or a division by zero in the model, or for broken samples in the data",
            )
        first = self.batches == 0
        momentum = 0.0 if first else 0.9
        self._average_low += (1 - momentum) * (minima - self._average_low)
        self._average_high += (1 - momentum) * (maxima - self._average_high)
        self._low, self._high = np.minimum(self._low, minima), np.maximum(self._high, maxima)
        self._widen(np.maximum(np.abs(minima), np.abs(maxima)))
        bins = self._counts.shape[1]
        position = samples * self._bins_per_unit
        position += np.float32(bins / 2)
        index = np.clip(position, 0, bins - 1, out=position).astype(np.int64)
        index += self._begin
        self._counts += np.bincount(index, minlength=self._counts.size).reshape(self._counts.shape)
        self.batches += 1

    def _place(self, sizes: tuple[int, ...]) -> None:
        """Of each sampled value: which tensor it belongs to, and where that tensor's histogram begins in `_counts`."""
        self._sizes = sizes
        self._owner = np.repeat(np.arange(len(self._names)), sizes)
        self._begin = self._owner * self._counts.shape[1]
        self._scale_samples()

    def _scale_samples(self) -> None:
        edges = np.where(self._edge > 0, self._edge, np.inf)
        self._bins_per_unit = (self._counts.shape[1] / 2 / edges)[self._owner].astype(np.float32)

    def _widen(self, largest: FloatArray) -> None:
        """Doubles the range of each histogram that does not reach `largest`, merging pairs of bins."""
        fresh, before = self._edge == 0, self._edge.copy()
        self._edge[fresh] = np.maximum(largest[fresh], 1e-30)
        bins = self._counts.shape[1]
        while (narrow := largest > self._edge).any():
            pairs = self._counts[narrow].reshape(-1, bins // 2, 2).sum(axis=2)
            self._counts[narrow] = np.pad(pairs, ((0, 0), (bins // 4, bins // 4)))
            self._edge[narrow] *= 2
        if (self._edge != before).any():
            self._scale_samples()

    def result(self) -> dict[str, Statistics]:
        """The statistics by tensor name."""
        columns = (self._low, self._high, self._average_low, self._average_high)
        numbers = (column.tolist() for column in columns)
        rows = zip(self._names, *numbers, self._counts, self._edge.tolist(), strict=True)
        return {name: Statistics(*row) for name, *row in rows}


def collect(
    model: ir.Model,
    tensors: Sequence[str],
    batches: Iterable[Arrays],
    *,
    samples: int = 2048,
    channel_means: Sequence[str] = (),
    threads: int = 0,
    dynamic: InputShapes | None = None,
    largest: Arrays | None = None,
) -> Collected:
    """Runs `model` on every batch and gathers statistics of `tensors`.

    Args:
        model: A float graph with the shapes that belong to the example sizes; not changed.
        tensors: Names of float values of the graph, or of its inputs.
        batches: Input arrays in the graph's order.
        samples: Elements of each tensor that go into its histogram, per batch, at most.
        channel_means: Names of values of rank 2 or more whose channels' means are wanted.
        threads: How many threads compute; 0 for one a core.
        dynamic: The graph's dynamic dimensions, in which batches may differ.
        largest: The largest of the batches, where they do; by default one at the example sizes.

    Raises:
        DataError: There is no batch, or a tensor is not finite on one.
    """
    instrumented = model.clone()
    elements = _elements(model, tensors, dynamic, largest)
    sizes, channels = _instrument(
        instrumented.graph,
        dict(zip(tensors, elements, strict=True)),
        samples,
        channel_means,
        counted=dynamic is not None,
    )
    loosen(instrumented, dynamic)
    collector = Collector(tensors, sizes)
    session = Session(instrumented, threads=threads, streaming=True, optimize=len(model.graph) < _MANY)
    sums = np.zeros(sum(channels))
    for arrays in session.run_all(batches):
        found = dict(zip(session.outputs, arrays, strict=True))
        minima, maxima = found[_MINIMA].astype(np.float64), found[_MAXIMA].astype(np.float64)
        collector.add(minima, maxima, found[_SAMPLES], None if dynamic is None else found[_COUNTS].tolist())
        sums += found.get(_MEANS, 0.0)
    if collector.batches == 0:
        raise DataError(
            "the calibration data",
            expected="at least one sample, better 100 or more",
            actual="none",
            cure="let calibration_data() yield inputs, or give data with --calibration",
        )
    parts = np.split(sums / collector.batches, np.cumsum(channels)[:-1])
    return Collected(collector.result(), dict(zip(channel_means, parts, strict=bool(channel_means))))


def largest_of(batches: Iterable[Arrays]) -> Arrays:
    """The batch of the most numbers, the first of equals."""
    return max(batches, key=lambda batch: sum(array.size for array in batch))


def _elements(
    model: ir.Model,
    tensors: Sequence[str],
    dynamic: InputShapes | None,
    largest: Arrays | None,
) -> list[int]:
    """How many elements each tensor has on the largest batch."""
    values = _values(model.graph)
    sized = {value.name: shape_of(value) for value in model.graph.inputs}
    if dynamic is None or largest is None or [array.shape for array in largest] == list(sized.values()):
        return [math.prod(shape_of(values[name])) for name in tensors]
    measuring = model.clone()
    added, values = _Adder(measuring.graph), _values(measuring.graph)
    sizes = [added.node("Size", [values[name]]) for name in tensors]
    measuring.graph.outputs.clear()
    _give(added, _SIZES, [added.node("Reshape", [size, added.integers(1)]) for size in sizes], ir.DataType.INT64)
    loosen(measuring, dynamic)
    (found,) = Session(measuring, optimize=False, lasting=False).run_data(largest)
    return [int(size) for size in found]


def _instrument(
    graph: ir.Graph, elements: Mapping[str, int], samples: int, channel_means: Sequence[str], *, counted: bool
) -> tuple[list[int], list[int]]:
    """Adds the vectors of statistics as the graph's only outputs; `counted`: and how many samples each tensor gave.

    Returns:
        How many samples each tensor gives, and how many channels each of `channel_means` has.
    """
    values = _values(graph)
    added = _Adder(graph)
    minima, maxima, sampled, counts, sizes = [], [], [], [], []
    for name, size in elements.items():
        stride = _stride(size, samples)
        sizes.append(len(range(0, size, stride)))
        flat = added.node("Reshape", [values[name], added.integers(-1)])
        minima.append(added.node("ReduceMin", [flat]))
        maxima.append(added.node("ReduceMax", [flat]))
        bounds = [added.integers(number) for number in (0, _END, 0, stride)]  # start, end, axis, step
        sampled.append(added.node("Slice", [flat, *bounds]) if stride > 1 else flat)
        if counted:
            counts.append(added.node("Shape", [sampled[-1]]))
    means = [_add_channel_mean(added, values[name]) for name in channel_means]
    graph.outputs.clear()
    for name, parts in ((_MINIMA, minima), (_MAXIMA, maxima), (_SAMPLES, sampled), (_MEANS, means)):
        _give(added, name, parts)
    _give(added, _COUNTS, counts, ir.DataType.INT64)
    return sizes, [shape_of(values[name])[1] for name in channel_means]


def _values(graph: ir.Graph) -> dict[str | None, ir.Value]:
    """What may be looked at, by name."""
    values = {value.name: value for value in graph.inputs}
    return values | {value.name: value for node in graph for value in node.outputs}


def _give(added: _Adder, name: str, parts: Sequence[ir.Value], dtype: ir.DataType = ir.DataType.FLOAT) -> None:
    """Makes one output of vectors, when there are any."""
    if parts:
        output = _joined(added, parts)
        output.name, output.type = name, ir.TensorType(dtype)
        added.graph.outputs.append(output)


def _joined(added: _Adder, parts: Sequence[ir.Value]) -> ir.Value:
    """Vectors one behind the other. What a Concat reads lives until it runs, so one of all of them would be slow."""
    groups = [parts[start : start + _GROUP] for start in range(0, len(parts), _GROUP)]
    joined = [added.node("Concat", group, axis=0) for group in groups]
    return joined[0] if len(joined) == 1 else added.node("Concat", joined, axis=0)


def _add_channel_mean(added: _Adder, value: ir.Value) -> ir.Value:
    """The mean over all dimensions but 1: first within each sample's channel, which is contiguous."""
    rows = added.node("Reshape", [value, added.integers(0, 0, -1)])
    within = added.node("ReduceMean", [rows, added.integers(2)], keepdims=0)
    return added.node("ReduceMean", [within, added.integers(0)], keepdims=0)


def _stride(size: int, samples: int) -> int:
    stride = max(1, -(-size // samples))
    while stride > 1 and math.gcd(stride, size) > 1:
        stride += 1
    return stride


class _Adder:
    """Appends nodes to a graph, and integer constants, each once."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    def node(self, op_type: str, inputs: Sequence[ir.Value], **attributes: int) -> ir.Value:
        node = ir.node(op_type, list(inputs), attributes)
        self.graph.append(node)
        return node.outputs[0]

    def integers(self, *numbers: int) -> ir.Value:
        name = "/".join(("edgecomp", *map(str, numbers)))
        if name not in self.graph.initializers:
            tensor = ir.Tensor(np.array(numbers, np.int64), name=name)
            self.graph.register_initializer(ir.Value(name=name, const_value=tensor))
        return self.graph.initializers[name]
