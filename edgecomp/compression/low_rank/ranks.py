"""Rules that decide how many singular values of a matrix to keep."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Where the analytic solution changes its form, times the root of the aspect ratio (Nakajima et al., 2013).
_THRESHOLD = 2.5129
_GOLDEN = (math.sqrt(5) - 1) / 2


def by_energy(values: Floats, share: float) -> int:
    """Returns the smallest rank that keeps a share of the squared singular values.

    Args:
        values: Singular values, largest first.
        share: In [0, 1].
    """
    energy = np.cumsum(np.square(values))
    return min(int(np.searchsorted(energy, share * energy[-1] * (1 - 1e-12))) + 1, len(values))


def lost_energy(values: Floats, rank: int) -> float:
    """Computes the share of the squared singular values that a rank leaves out."""
    energy = np.square(values)
    return float(energy[rank:].sum() / max(float(energy.sum()), np.finfo(float).tiny))


def by_vbmf(values: Floats, rows: int, columns: int) -> int:
    """Returns the rank that empirical variational Bayesian matrix factorization finds in a noisy matrix.

    Nakajima, Sugiyama, Babacan and Tomioka, "Global Analytic Solution of Fully-observed Variational Bayesian Matrix
    Factorization" (JMLR 2013). The variance of the noise is estimated as well.

    Args:
        values: All singular values, largest first.
        rows: The number of rows of the matrix.
        columns: The number of columns of the matrix.

    Returns:
        0 for a matrix that looks like noise.
    """
    short, long = min(rows, columns), max(rows, columns)
    ratio = short / long
    tau = _THRESHOLD * math.sqrt(ratio)
    edge = (1 + tau) * (1 + ratio / tau)
    squares = np.square(values)
    tail = min(math.ceil(short / (1 + ratio)) - 1, short - 1)
    upper = float(squares.sum()) / (short * long)
    lower = max(float(squares[tail]) / (long * edge), float(squares[tail:].mean()) / long, 1e-12 * upper)
    variance = _minimum(lower, upper, squares / long, ratio, edge)
    return int((squares > long * variance * edge).sum())


def _minimum(lower: float, upper: float, spectrum: Floats, ratio: float, edge: float) -> float:
    """Finds the variance with the smallest free energy, by golden-section search over its logarithm."""
    low, high = math.log(lower), math.log(max(upper, lower))
    for _ in range(80):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _free_energy(math.exp(first), spectrum, ratio, edge) < _free_energy(math.exp(second), spectrum, ratio, edge):
            high = second
        else:
            low = first
    return math.exp((low + high) / 2)


def _free_energy(variance: float, spectrum: Floats, ratio: float, edge: float) -> float:
    """Computes the free energy of a noise variance, up to a constant."""
    x = np.maximum(spectrum / variance, 1e-300)
    signal, noise = x[x > edge], x[x <= edge]
    middle = signal - (1 + ratio)
    tau = 0.5 * (middle + np.sqrt(np.square(middle) - 4 * ratio))
    return float(
        (noise - np.log(noise)).sum()
        + (signal - tau).sum()
        + np.log((tau + 1) / signal).sum()
        + ratio * np.log(tau / ratio + 1).sum()
    )
