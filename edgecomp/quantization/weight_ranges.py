"""How large a weight integers have to hold: the largest there is, or less, which rounds all others more finely.

Cutting off a few large weights costs their excess, and makes the step of all others smaller. With one scale for a
channel and 254 steps that seldom pays; with one scale for a tensor, or 14 steps, it often does (Nagel et al., 2021,
section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

#: What a recipe may ask for.
WeightRange = Literal["largest", "mse"]

Rows = npt.NDArray[np.floating]

#: Shares of the largest weight that are tried.
_SHARES = np.linspace(0.3, 1.0, 71)


def largest(rows: Rows, _steps: int) -> npt.NDArray[np.float64]:
    """Nothing is cut off.

    Args:
        rows: Weights that share a scale, shape (scales, weights).
        _steps: The largest integer.

    Returns:
        The largest magnitude that integers have to hold, shape (scales,).
    """
    return np.asarray(np.abs(rows).max(axis=1, initial=0), np.float64)


def least_squares(rows: Rows, steps: int) -> npt.NDArray[np.float64]:
    """Where the mean square of the error of all weights of a scale is smallest; the arguments are the same."""
    best = largest(rows, steps)
    limits, least = best.copy(), np.full(len(rows), np.inf)
    for share in _SHARES[::-1]:  # of equals the largest, which cuts off least
        scale = np.maximum(best * share / steps, 1e-30)[:, None]
        error = np.square(np.clip(np.rint(rows / scale), -steps, steps) * scale - rows).sum(axis=1)
        better = error < least
        limits[better], least[better] = best[better] * share, error[better]
    return limits


WEIGHT_RANGES: dict[WeightRange, Callable[[Rows, int], npt.NDArray[np.float64]]] = {
    "largest": largest,
    "mse": least_squares,
}
