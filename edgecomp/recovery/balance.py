"""How much to scale each channel between two layers: what the noise of rounding will be, and the factors with least.

Activations have one step for all channels, weights one for each output channel. Dividing channel c of an activation by
s_c and multiplying the weights that read it by s_c computes the same, and moves noise from the one to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgecomp.graph.query import required_constant
from edgecomp.recovery.channels import ChannelStatistics, FloatArray

#: Activations have 255 steps from end to end, weights 254.
_ACTIVATION_STEPS, _WEIGHT_STEPS = 255, 254

#: How much of a channel's size goes into the weights, to choose from; 0.5 is the geometric mean of cross-layer
#: equalization (Nagel et al., 2019), and what SmoothQuant begins with (Xiao et al., 2023).
_ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Balance:
    """What to divide the channels of an activation by.

    Attributes:
        factors: Shape (channels,); positive.
        gain: How much less noise is predicted than without, in dB.
    """

    factors: FloatArray
    gain: float


def balance(statistics: ChannelStatistics, readers: Sequence[ir.Node]) -> Balance:
    """The factors with the least predicted noise in what `readers` compute.

    Args:
        statistics: The statistics of the activation.
        readers: Nodes with constant weights that read it, and nothing else does.
    """
    weights = [grouped_weight(node) for node in readers]
    candidates = [_factors(statistics, weights, alpha) for alpha in _ALPHAS]
    noises = [_noise(statistics, weights, factors) for factors in candidates]
    best = int(np.argmin(noises))
    before = _noise(statistics, weights, np.ones_like(statistics.mean))
    return Balance(candidates[best], float(10 * np.log10(max(before, 1e-30) / max(noises[best], 1e-30))))


def evening_gain(statistics: ChannelStatistics) -> float:
    """What a step for each channel would save of the noise of one step for all, in dB."""
    width = channel_widths(statistics.low, statistics.high)
    joint = _joint_width(statistics.low, statistics.high)
    return float(10 * np.log10(max(joint**2, 1e-30) / max(float((width**2).mean()), 1e-30)))


def channel_widths(low: FloatArray, high: FloatArray) -> FloatArray:
    """The length of each channel's range, which contains 0 always."""
    return np.asarray(np.maximum(high, 0) - np.minimum(low, 0), np.float64)


def grouped_weight(node: ir.Node) -> npt.NDArray[np.float64]:
    """A weight as (groups, output channels, input channels, taps), the channels counted within their group."""
    weight = required_constant(node.inputs[1]).astype(np.float64)
    group = node.attributes.get_int("group", 1) or 1
    match node.op_type:
        case "Conv":
            return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
        case "ConvTranspose":
            return weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1).swapaxes(1, 2)
        case "Gemm" if node.attributes.get_int("transB", 0):
            return weight[None, :, :, None]
        case _:
            return weight.T[None, :, :, None]


def _joint_width(low: FloatArray, high: FloatArray) -> float:
    return float(max(high.max(), 0) - min(low.min(), 0))


def _by_group(numbers: FloatArray, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One number for each input channel in the shape of a weight."""
    return numbers.reshape(len(weight), 1, -1, 1)


def _factors(statistics: ChannelStatistics, weights: Sequence[npt.NDArray[np.float64]], alpha: float) -> FloatArray:
    largest = np.maximum(statistics.largest, 1e-5)
    sizes = [np.abs(weight).max(axis=(1, 3)).reshape(-1) for weight in weights]
    rows = np.maximum(np.max(sizes, axis=0), 1e-5)
    factors: Any = largest**alpha / rows ** (1 - alpha)
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float64)


def _noise(statistics: ChannelStatistics, weights: Sequence[npt.NDArray[np.float64]], factors: FloatArray) -> float:
    """The expected square of the error of all outputs at one place: of uniform rounding of inputs and weights."""
    step = _joint_width(statistics.low / factors, statistics.high / factors) / _ACTIVATION_STEPS
    power = statistics.power / factors**2
    total = 0.0
    for weight in weights:
        scaled = weight * _by_group(factors, weight)
        steps = 2 * np.abs(scaled).max(axis=(2, 3), keepdims=True) / _WEIGHT_STEPS
        read = np.broadcast_to(_by_group(power, weight), (len(weight), 1, weight.shape[2], weight.shape[3]))
        total += step**2 / 12 * float((scaled**2).sum())
        total += float((steps**2 / 12 * read.sum(axis=(2, 3), keepdims=True)).sum())
    return total
