"""Measures the effect of each layer of a quantized model on its own tensor and on the model's outputs.

With L layers this takes L + 4 passes over the samples: the float model, the simulation, every layer beside the float
model, the histograms, and one for each layer rounded alone. Each of the L passes opens a session of the whole graph, so
the total grows with the square of the graph's size. To find only the worst layer, a search is faster: it rounds parts
of the network, then parts of the worst of them, until few layers are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgecomp.arrays import Array, Arrays
from edgecomp.diagnosis.errors import Error, OutputError
from edgecomp.diagnosis.layers import Layer
from edgecomp.diagnosis.probe import Probe
from edgecomp.model import CompressedModel
from edgecomp.progress import Progress, silent
from edgecomp.quantization.calibration import Statistics, collect, largest_of
from edgecomp.quantization.parameters import QuantizationParameters

FloatArray = npt.NDArray[np.float32]


#: Operators whose channels are in dimension 1 whatever the rank.
_CHANNELS_FIRST = frozenset({"Input", "Conv", "ConvTranspose", "GlobalAveragePool", "AveragePool", "MaxPool"})

#: The number of parts into which a search divides a network.
_PARTS = 8


@dataclass
class Measured:
    """The measurements of one layer.

    Attributes:
        layer: The layer.
        own: The error of its tensor when only this layer is rounded.
        all: The error of its tensor when all layers are rounded.
        alone: The error of the model's outputs when only this layer is rounded.
        share: `alone` relative to the sum over all layers; with suspects, relative to the whole error if that is
            larger.
        statistics: The statistics of its tensor in the float model; None for weights alone.
        clipped: The share of its own error that comes from values beyond the range.
        rounding: The share that rounding to steps of this size causes on average: one twelfth of a step squared.
        means: The mean absolute value of each channel, summed over the batches; shaped like `peaks`.
        peaks: The largest absolute value of each channel, shape (channels,); empty for a tensor without channels.
        channels: The number of channels; None if not known yet, 0 if it differs between batches.
    """

    layer: Layer
    own: Error = field(default_factory=Error)
    all: Error = field(default_factory=Error)
    alone: OutputError = field(default_factory=OutputError)
    share: float = 0.0
    statistics: Statistics | None = None
    clipped: float = 0.0
    rounding: float = 0.0
    means: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    peaks: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    channels: int | None = None


@dataclass(frozen=True)
class Measurement:
    """The measurements of a model.

    Attributes:
        outputs: The error of its outputs when all layers are rounded.
        layers: In topological order.
        batches: The number of batches that were used.
    """

    outputs: OutputError
    layers: tuple[Measured, ...]
    batches: int


def measure(
    model: CompressedModel,
    prepared: CompressedModel,
    batches: Sequence[Arrays],
    *,
    threads: int = 0,
    suspects: int | None = None,
    progress: Progress = silent,
) -> Measurement:
    """Measures every layer.

    Args:
        model: Quantized.
        prepared: The same before quantization.
        batches: Typical inputs.
        threads: ONNX Runtime's threads; 0 for one per core.
        suspects: Searches for the worst layer until at most this many are left, and rounds only these alone; the others
            get no share.
        progress: Called as the work goes on.
    """
    probe = Probe(model, prepared, threads=threads)
    measured = [Measured(layer) for layer in probe.layers]
    originals, outputs = _compare_tensors(probe, model, measured, batches, progress)

    def rounded(layers: Sequence[Measured]) -> OutputError:
        experiment, error = probe.rounded([each.layer for each in layers]), OutputError()
        for batch, original in zip(batches, originals, strict=True):
            error.add(original, experiment.run(batch)[0])
        return error

    suspected = _worst_part(measured, suspects or len(measured), rounded)
    for done, each in enumerate(suspected):
        progress("layers", done, len(suspected))
        each.alone = rounded([each])
    progress("layers", len(suspected), len(suspected))
    total = sum(each.alone.ratio for each in measured)
    if len(suspected) < len(measured):
        total = max(total, outputs.ratio)  # this includes the effect of the others
    for each in measured:
        each.share = each.alone.ratio / total if total else 0.0
    names = list(dict.fromkeys(each.layer.tensor for each in measured))
    if names and not model.weights_only:
        statistics = collect(
            probe.float_graph, names, batches, threads=threads, dynamic=model.dynamic, largest=largest_of(batches)
        ).statistics
        for each in measured:
            each.statistics = statistics[each.layer.tensor]
    return Measurement(outputs, tuple(measured), len(batches))


def _worst_part(
    measured: Sequence[Measured], size: int, rounded: Callable[[Sequence[Measured]], OutputError]
) -> Sequence[Measured]:
    """Returns at most `size` neighbours that include the worst layer: the worst part of the worst part, and so on."""
    while len(measured) > size:
        length = -(-len(measured) // _PARTS)
        parts = [measured[start : start + length] for start in range(0, len(measured), length)]
        measured = max(parts, key=lambda part: rounded(part).ratio)
    return measured


def _compare_tensors(
    probe: Probe,
    model: CompressedModel,
    measured: Sequence[Measured],
    batches: Sequence[Arrays],
    progress: Progress,
) -> tuple[list[list[Array]], OutputError]:
    """Fills in `own`, `all`, `clipped` and `peaks`; returns the original outputs of each batch, and their error."""
    original = probe.rounded([], watch=probe.layers)
    simulation, beside = probe.rounded(probe.layers, watch=probe.layers), probe.beside()
    originals, outputs = [], OutputError()
    expected = [np.zeros(2) for _ in measured]
    for done, batch in enumerate(batches):
        progress("tensors", done, len(batches))
        right, tensors = original.run(batch)
        found, rounded = simulation.run(batch)
        outputs.add(right, found)
        originals.append(right)
        alone = beside.run(batch)[1]
        for index, (each, x, y, z) in enumerate(zip(measured, tensors, rounded, alone, strict=True)):
            each.all.add(x, y)
            each.own.add(x, z)
            parameters = model.quantization.get(each.layer.tensor)
            if parameters is not None and not model.weights_only:
                expected[index] += _expected_noise(x, parameters)
            _add_channels(each, x)
    progress("tensors", len(batches), len(batches))
    for each, noises in zip(measured, expected, strict=True):
        shares = noises / max(each.own.noise, 1e-30)
        each.clipped, each.rounding = (float(share) for share in np.minimum(shares, 1.0))
    return originals, outputs


def _expected_noise(x: Array, parameters: QuantizationParameters) -> tuple[float, float]:
    """Returns the noise of values beyond the range, and the average noise of rounding within it."""
    low, high = parameters.range
    excess = np.maximum(x - high, 0) + np.minimum(x - low, 0)
    # Zero and the ends of the range are exact; values far below a step become zero.
    inside = x[(x > low) & (x < high) & (x != 0)]
    step = float(parameters.scale)
    small = np.abs(inside) < step / 2
    rounding = float(np.count_nonzero(~small)) * step**2 / 12 + float(np.square(inside[small]).sum())
    return float(np.vdot(excess, excess)), rounding


def _add_channels(each: Measured, x: Array) -> None:
    """Adds a batch to the statistics of a tensor's channels."""
    if x.ndim < 2 or x.dtype.kind != "f":
        return
    axis = 1 if x.ndim > 3 or each.layer.op_type in _CHANNELS_FIRST else x.ndim - 1
    others = tuple(dimension for dimension in range(x.ndim) if dimension != axis)
    size = np.abs(x)
    peaks, means = size.max(axis=others), size.mean(axis=others)
    if each.channels is None:
        each.peaks, each.means, each.channels = peaks, means, len(peaks)
    elif each.channels == len(peaks):
        each.peaks, each.means = np.maximum(each.peaks, peaks), each.means + means
    else:
        each.peaks, each.means, each.channels = peaks[:0], means[:0], 0
