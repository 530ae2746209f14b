"""From the statistics of a tensor to the range that is worth representing.

Each estimator is a function Statistics -> (low, high). Clipping rare large values makes the step finer for all others; how
much of that pays is what the estimators differ in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgecomp.quantization.calibration import FloatArray, Statistics
from edgecomp.quantization.scheme import activation_parameters

Range = tuple[float, float]
EstimatorName = Literal["minmax", "moving-average", "percentile", "mse", "entropy"]


def minmax(statistics: Statistics) -> Range:
    """All that was seen; nothing is clipped."""
    return statistics.low, statistics.high


def moving_average(statistics: Statistics) -> Range:
    """The average batch's extremes (Jacob et al., 2018)."""
    return statistics.average_low, statistics.average_high


def percentile(statistics: Statistics, share: float = 0.9999) -> Range:
    """The central `share` of all values, half of the rest cut off at each side."""
    cumulated = np.cumsum(statistics.counts) / statistics.counts.sum()
    tail = (1 - share) / 2
    edges = np.linspace(-statistics.edge, statistics.edge, len(statistics.counts) + 1)
    low = edges[np.searchsorted(cumulated, tail, side="right")]
    high = edges[min(np.searchsorted(cumulated, 1 - tail, side="left") + 1, len(edges) - 1)]
    return max(float(low), statistics.low), min(float(high), statistics.high)


def mse(statistics: Statistics) -> Range:
    """The range with the smallest mean squared error between the values and their int8 representation."""
    return _best(statistics, _squared_error)


def entropy(statistics: Statistics) -> Range:
    """The range whose int8 histogram diverges least from the float one (Migacz, 2017)."""
    return _best(statistics, _divergence)


ESTIMATORS: dict[EstimatorName, Callable[[Statistics], Range]] = {
    "minmax": minmax,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}

_Loss = Callable[[FloatArray, npt.NDArray[np.int64], float, float], float]


def _best(statistics: Statistics, loss: _Loss) -> Range:
    """Searches both ends together, then each end alone."""
    filled = statistics.counts > 0
    centers, counts = statistics.centers[filled], statistics.counts[filled]
    # The histogram holds a sample only; the extremes were seen too, once at least.
    centers = np.concatenate([[statistics.low], centers, [statistics.high]])
    counts = np.concatenate([[1], counts, [1]])
    shrink = np.linspace(0.3, 1.0, 71)
    best = min(
        _candidates(statistics.low, statistics.high, shrink, shrink), key=lambda ends: loss(centers, counts, *ends)
    )
    for _ in range(2):
        refine = np.linspace(0.8, 1.25, 46)
        one = np.ones_like(refine)
        for low, high in ((refine, one), (one, refine)):
            near = [
                (max(a, statistics.low), min(b, statistics.high)) for a, b in _candidates(*best, low, high)
            ]
            best = min([best, *near], key=lambda ends: loss(centers, counts, *ends))
    return best


def _candidates(low: float, high: float, low_factors: FloatArray, high_factors: FloatArray) -> Iterator[Range]:
    return zip((low * low_factors).tolist(), (high * high_factors).tolist(), strict=True)


def _levels(values: FloatArray, low: float, high: float) -> tuple[FloatArray, float, float]:
    """The integer that each value becomes, with the scale and zero point that made it."""
    parameters = activation_parameters(low, high)
    scale, zero_point = float(parameters.scale), float(parameters.zero_point)
    return np.clip(np.rint(values / scale) + zero_point, -128, 127), scale, zero_point


def _squared_error(values: FloatArray, counts: npt.NDArray[np.int64], low: float, high: float) -> float:
    levels, scale, zero_point = _levels(values, low, high)
    return float(((values - (levels - zero_point) * scale) ** 2 * counts).sum())


def _divergence(values: FloatArray, counts: npt.NDArray[np.int64], low: float, high: float) -> float:
    """KL divergence of the float histogram, its tails moved into the edge bins, from its int8 version spread out again."""
    levels, _, _ = _levels(values, low, high)
    index = levels.astype(np.int64) + 128
    inside = (values >= low) & (values <= high)
    # The reference keeps what is clipped (in the edge bins); the quantized version has lost it.
    total = np.bincount(index, counts, minlength=256)
    kept = np.bincount(index[inside], counts[inside], minlength=256)
    width = np.bincount(index[inside], minlength=256)
    reference = counts[inside].astype(np.float64)
    first, last = (np.flatnonzero(inside)[[0, -1]] if inside.any() else (0, 0))
    if not inside.any() or kept.sum() == 0:
        return float("inf")
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last + 1 :].sum()
    spread = (kept / np.maximum(width, 1))[index[inside]]
    p, q = reference / total.sum(), spread / kept.sum()
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / np.maximum(q[positive], 1e-12))).sum())
