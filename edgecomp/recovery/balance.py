"""Chooses the factor for each channel between two layers that gives the least predicted rounding noise.

Activations have one step for all channels, weights have one for each output channel. Dividing channel c of an
activation by s_c and multiplying the weights that read it by s_c leaves the result unchanged, and moves noise between
the two.
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

#: The number of steps over the whole range: 255 for activations, 254 for weights.
_ACTIVATION_STEPS, _WEIGHT_STEPS = 255, 254

#: Candidates for the share of a channel's size that moves into the weights. 0.5 is the geometric mean of cross-layer
#: equalization (Nagel et al., 2019), and the default of SmoothQuant (Xiao et al., 2023).
_ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Balance:
    """The divisors for the channels of an activation.

    Attributes:
        factors: Shape (channels,); positive.
        gain: The predicted reduction of noise, in dB.
    """

    factors: FloatArray
    gain: float


def balance(statistics: ChannelStatistics, readers: Sequence[ir.Node]) -> Balance:
    """Returns the factors with the least predicted noise in the results of `readers`.

    Args:
        statistics: The statistics of the activation.
        readers: All nodes that read it; each has a constant weight.
    """
    weights = [grouped_weight(node) for node in readers]
    candidates = [_factors(statistics, weights, alpha) for alpha in _ALPHAS]
    noises = [_noise(statistics, weights, factors) for factors in candidates]
    best = int(np.argmin(noises))
    before = _noise(statistics, weights, np.ones_like(statistics.mean))
    return Balance(candidates[best], float(10 * np.log10(max(before, 1e-30) / max(noises[best], 1e-30))))


def evening_gain(statistics: ChannelStatistics) -> float:
    """Returns the noise in dB that a separate step for each channel would save over one step for all."""
    width = channel_widths(statistics.low, statistics.high)
    joint = _joint_width(statistics.low, statistics.high)
    return float(10 * np.log10(max(joint**2, 1e-30) / max(float((width**2).mean()), 1e-30)))


def channel_widths(low: FloatArray, high: FloatArray) -> FloatArray:
    """Returns the length of each channel's range, which always includes 0."""
    return np.asarray(np.maximum(high, 0) - np.minimum(low, 0), np.float64)


def grouped_weight(node: ir.Node) -> npt.NDArray[np.float64]:
    """Returns a weight as (groups, output channels, input channels, taps), with channels counted within their group."""
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
    """Reshapes one number per input channel so that it broadcasts against a weight."""
    return numbers.reshape(len(weight), 1, -1, 1)


def _factors(statistics: ChannelStatistics, weights: Sequence[npt.NDArray[np.float64]], alpha: float) -> FloatArray:
    largest = np.maximum(statistics.largest, 1e-5)
    sizes = [np.abs(weight).max(axis=(1, 3)).reshape(-1) for weight in weights]
    rows = np.maximum(np.max(sizes, axis=0), 1e-5)
    factors: Any = largest**alpha / rows ** (1 - alpha)
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float64)


def _noise(statistics: ChannelStatistics, weights: Sequence[npt.NDArray[np.float64]], factors: FloatArray) -> float:
    """Predicts the squared error of all outputs at one position, for uniform rounding of inputs and weights."""
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
