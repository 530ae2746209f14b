"""From the statistics of a tensor to the range that is worth representing.

Each estimator is a function Statistics -> (low, high). Clipping rare large values makes the step finer for all others;
how much of that pays is what the estimators differ in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgecomp.quantization.calibration import FloatArray, Statistics

Range = tuple[float, float]
EstimatorName = Literal["minmax", "moving-average", "percentile", "mse", "entropy"]

#: What a recipe may ask for: an estimator, or the best of several, measured (see `static`).
EstimatorChoice = Literal["minmax", "moving-average", "percentile", "mse", "entropy", "measured"]


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
    bins = len(cumulated)
    edges = np.linspace(-statistics.edge, statistics.edge, bins + 1)
    low = edges[int(np.searchsorted(cumulated, tail, side="right"))]
    high = edges[min(int(np.searchsorted(cumulated, 1 - tail, side="left")) + 1, bins)]
    return max(float(low), statistics.low), min(float(high), statistics.high)


def mse(statistics: Statistics) -> Range:
    """The range with the smallest mean squared error between the values and their int8 representation."""
    return _best(statistics, _squared_errors)


def entropy(statistics: Statistics) -> Range:
    """The range whose int8 histogram diverges least from the float one (Migacz, 2017)."""
    return _best(statistics, _divergences)


ESTIMATORS: dict[EstimatorName, Callable[[Statistics], Range]] = {
    "minmax": minmax,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}

#: Values, how often each occurs, then the candidates: low, high, scale and zero point -> the loss of each candidate.
_Losses = Callable[[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]


def _best(statistics: Statistics, losses: _Losses) -> Range:
    """Searches both ends together, then each end alone."""
    filled = statistics.counts > 0
    # The histogram holds a sample only; the extremes were seen too, once at least.
    centers = np.clip(statistics.centers[filled], statistics.low, statistics.high)
    values = np.concatenate([[statistics.low], centers, [statistics.high]])
    counts = np.concatenate([[1.0], statistics.counts[filled].astype(np.float64), [1.0]])

    def choose(low: FloatArray, high: FloatArray) -> Range:
        index = int(np.argmin(losses(values, counts, low, high, *_parameters(low, high))))
        return float(low[index]), float(high[index])

    shrink = np.linspace(0.3, 1.0, 71)
    best = choose(statistics.low * shrink, statistics.high * shrink)
    # The first candidate is the best so far, which therefore wins a tie.
    refine = np.concatenate([[1.0], np.linspace(0.8, 1.25, 46)])
    one = np.ones_like(refine)
    for low, high in ((refine, one), (one, refine)) * 2:
        best = choose(np.maximum(best[0] * low, statistics.low), np.minimum(best[1] * high, statistics.high))
    return best


def _parameters(low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point of many ranges: `scheme.activation_parameters`, elementwise."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    scale = ((high - low) / 255).astype(np.float32)
    steps = np.where(scale > 1e-12, scale, np.float32(1e-6)).astype(np.float64)
    return steps, np.clip(np.rint(-128 - low / steps), -128, 127)


def _squared_errors(
    values: FloatArray,
    counts: FloatArray,
    _low: FloatArray,
    _high: FloatArray,
    scale: FloatArray,
    zero_point: FloatArray,
) -> FloatArray:
    # In steps, for all candidates at once: rows are candidates, columns are values. float32 is fast, and exact enough
    # for numbers of at most a few hundred steps.
    steps = np.multiply.outer((1 / scale).astype(np.float32), values.astype(np.float32))
    nearest = np.rint(steps)
    np.clip(nearest, (-128 - zero_point)[:, None], (127 - zero_point)[:, None], out=nearest)
    nearest -= steps
    np.square(nearest, out=nearest)
    return np.asarray(nearest @ (counts / counts.sum()).astype(np.float32)) * scale**2


def _divergences(
    values: FloatArray, counts: FloatArray, low: FloatArray, high: FloatArray, scale: FloatArray, zero_point: FloatArray
) -> FloatArray:
    # Zero is exact in every range (rule 2 of the scheme), and after a ReLU so frequent that it would decide alone.
    other = np.abs(values) > 2 * np.abs(values[-1] - values[0]) / 4096
    values, counts = (values[other], counts[other]) if other.any() else (values, counts)
    rows = zip(low, high, scale, zero_point, strict=True)
    return np.array([_divergence(values, counts, *row) for row in rows])


def _divergence(
    values: FloatArray, counts: FloatArray, low: float, high: float, scale: float, zero_point: float
) -> float:
    """KL divergence of the float histogram, its tails moved into the edge bins, from its int8 version spread again."""
    first = int(np.searchsorted(values, min(low, 0.0), side="left"))
    last = int(np.searchsorted(values, max(high, 0.0), side="right"))
    if first == last:
        return float("inf")
    inside = counts[first:last]
    level = np.clip(np.rint(values[first:last] / scale) + zero_point, -128, 127).astype(np.int64) + 128
    # The reference keeps what is clipped, in its edge bins; the quantized version has lost it.
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    kept, width = np.bincount(level, inside, minlength=256), np.bincount(level, minlength=256)
    p, q = reference / counts.sum(), (kept / np.maximum(width, 1))[level] / inside.sum()
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())
