"""Channels chosen by LASSO: those that the next layers' outputs can be made of, together and not each by itself.

He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV 2017), section 3.1: with a factor
b on each channel that a layer takes in, min |y - sum b_c z_c|^2 / 2 + t |b|_1, where z_c is what channel c contributes
to the layer's outputs and y is all of them together. The weaker the penalty t, the more factors are not zero: that is
the order in which channels are worth something. Of two that say the same, one comes late.

How much is the share of the outputs' energy that gets lost without a channel and all that come after it, the factors
of those before it fitted anew. It can be compared between layers: a threshold takes from each what costs it the same.

Everything that this takes is the covariance of the layer's inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgecomp.compression.moments import Moments
from edgecomp.compression.pruning.evidence import Evidence, Floats
from edgecomp.compression.pruning.reconstruction import measure, mixing
from edgecomp.compression.pruning.units import FIXED, Units

#: Penalties from the one at which nothing is left down to a thousandth of it.
_PENALTIES = np.geomspace(1.0, 1e-3, 40)

#: Over the factors at each penalty, at most: the penalty before has left them nearly right.
_SWEEPS = 20


def lost_shares(evidence: Evidence) -> Floats:
    """The share of a layer's outputs that goes with each unit and all that are worth less; of several layers, the most.

    Args:
        evidence: With calibration data.

    Returns:
        One number in [0, 1] for every unit; infinite for those that no measured layer takes in.
    """
    module, total = evidence.module, np.full(evidence.coupling.units, -np.inf)
    layers = {path: units for path, units in mixing(module, evidence.coupling).items() if (units != FIXED).any()}
    for path, moments in measure(module, layers, evidence.samples()).items():
        chosen, products = _contributions(module.get_submodule(path), layers[path], moments)
        total[chosen] = np.maximum(total[chosen], lost_without(products, path_of(products)))
    return np.where(np.isinf(total), np.inf, total)


def lost_without(products: Floats, order: Floats) -> Floats:
    """The share of the energy of all contributions together that is lost without each one and those behind it.

    Args:
        products: Inner products of all contributions with each other, (channels, channels).
        order: Larger ones come first, (channels,).
    """
    first = np.argsort(-order, kind="stable")
    rounding = 1e-9 * np.trace(products) * np.eye(len(products))
    triangle = np.linalg.cholesky(products[np.ix_(first, first)] + rounding)
    gains = np.square(np.linalg.solve(triangle, products.sum(axis=1)[first]))
    found = np.empty(len(products))
    found[first] = np.cumsum(gains[::-1])[::-1] / max(float(gains.sum()), np.finfo(float).tiny)
    return found


def path_of(products: Floats) -> Floats:
    """The penalty at which each factor becomes other than zero, by coordinate descent along a falling penalty.

    Args:
        products: Inner products of all contributions with each other, (channels, channels).

    Returns:
        In [0, 1], as shares of the penalty at which the first one does.
    """
    target, own = products.sum(axis=1), np.maximum(products.diagonal(), np.finfo(float).tiny)
    strongest = np.abs(target).max()
    found, factors, before = np.zeros(len(products)), np.zeros(len(products)), 1.0
    if strongest <= 0:
        return found
    rest = target.copy()  # what the factors so far leave unexplained
    for penalty in _PENALTIES:
        _descend(products, own, factors, rest, penalty * strongest)
        new = (factors != 0) & (found == 0)
        # Between two penalties, the larger factor came first.
        found[new] = penalty + (before - penalty) * np.minimum(np.abs(factors[new]), 1.0)
        before = penalty
    return found


def _descend(products: Floats, own: Floats, factors: Floats, rest: Floats, penalty: float) -> None:
    """Coordinate descent in place, over what is not zero or wants to be, until nothing moves."""
    for _ in range(_SWEEPS):
        moved = 0.0
        for place in np.flatnonzero((factors != 0) | (np.abs(rest) > penalty)):
            pull = rest[place] + own[place] * factors[place]
            wanted = np.sign(pull) * max(abs(pull) - penalty, 0.0) / own[place]
            change = wanted - factors[place]
            if change:
                rest -= change * products[place]
                factors[place] = wanted
                moved = max(moved, abs(change))
        if moved < 1e-2:
            return


def _contributions(layer: nn.Module, units: Units, moments: Moments) -> tuple[Units, Floats]:
    """The units that a layer takes in, and inner products of what they contribute to its outputs."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    places = weight[0, 0].numel()
    matrix, spread = weight.detach().double().cpu().flatten(1), moments.covariance
    if layer.bias is None:  # as in the reconstruction that follows
        spread = spread + torch.outer(moments.mean, moments.mean)
    chosen, index = np.unique(units, return_inverse=True)
    belongs = torch.zeros(len(matrix[0]), len(chosen), dtype=torch.float64)
    belongs[torch.arange(len(belongs)), torch.from_numpy(index).repeat_interleave(places)] = 1
    products: Floats = (belongs.T @ (matrix.T @ matrix * spread) @ belongs).numpy()
    return chosen, products
