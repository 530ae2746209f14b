"""Selects channels by LASSO: together, by how well the next layers' outputs can be built from them.

He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV 2017), section 3.1: with a factor
b_c on each channel c that a layer reads, minimize |y - sum b_c z_c|^2 / 2 + t |b|_1. Here z_c is the contribution of
channel c to the layer's outputs, and y is the sum of all contributions. As the penalty t falls, more factors become
nonzero; this order ranks the channels. Of two redundant channels, one comes late.

A channel's score is the share of the output energy that is lost without it and all channels behind it in the order,
after the factors of those before it are fitted again. Scores can be compared between layers: a threshold costs
every layer the same.

All of this needs only the covariance of the layer's inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgecomp.compression.moments import Moments
from edgecomp.compression.pruning.evidence import Evidence, Floats
from edgecomp.compression.pruning.reconstruction import measure, mixing
from edgecomp.compression.pruning.units import FIXED, Units

#: Penalties, as shares of the one at which all factors are zero.
_PENALTIES = np.geomspace(1.0, 1e-3, 40)

#: The largest number of sweeps over the factors at each penalty; the previous penalty has left them nearly right.
_SWEEPS = 20


def lost_shares(evidence: Evidence) -> Floats:
    """Computes the share of a layer's output energy that is lost with each unit and all less valuable ones.

    Args:
        evidence: Must contain calibration data.

    Returns:
        One number in [0, 1] for every unit, the largest if several layers read it; infinite if no measured layer does.
    """
    module, total = evidence.module, np.full(evidence.coupling.units, -np.inf)
    layers = {path: units for path, units in mixing(module, evidence.coupling).items() if (units != FIXED).any()}
    for path, moments in measure(module, layers, evidence.samples()).items():
        chosen, products = _contributions(module.get_submodule(path), layers[path], moments)
        total[chosen] = np.maximum(total[chosen], lost_without(products, path_of(products)))
    return np.where(np.isinf(total), np.inf, total)


def lost_without(products: Floats, order: Floats) -> Floats:
    """Computes the share of the total energy that is lost without each contribution and those behind it.

    Args:
        products: Inner products of all contributions, (channels, channels).
        order: Larger values come first, (channels,).
    """
    first = np.argsort(-order, kind="stable")
    rounding = 1e-9 * np.trace(products) * np.eye(len(products))
    triangle = np.linalg.cholesky(products[np.ix_(first, first)] + rounding)
    gains = np.square(np.linalg.solve(triangle, products.sum(axis=1)[first]))
    found = np.empty(len(products))
    found[first] = np.cumsum(gains[::-1])[::-1] / max(float(gains.sum()), np.finfo(float).tiny)
    return found


def path_of(products: Floats) -> Floats:
    """Finds the penalty at which each factor becomes nonzero, by coordinate descent along a falling penalty.

    Args:
        products: Inner products of all contributions, (channels, channels).

    Returns:
        Values in [0, 1]: shares of the penalty at which the first factor becomes nonzero.
    """
    target, own = products.sum(axis=1), np.maximum(products.diagonal(), np.finfo(float).tiny)
    strongest = np.abs(target).max()
    found, factors, before = np.zeros(len(products)), np.zeros(len(products)), 1.0
    if strongest <= 0:
        return found
    rest = target.copy()  # what the factors do not explain yet
    for penalty in _PENALTIES:
        _descend(products, own, factors, rest, penalty * strongest)
        new = (factors != 0) & (found == 0)
        # Of factors that appear between the same two penalties, the larger one came first.
        found[new] = penalty + (before - penalty) * np.minimum(np.abs(factors[new]), 1.0)
        before = penalty
    return found


def _descend(products: Floats, own: Floats, factors: Floats, rest: Floats, penalty: float) -> None:
    """Runs coordinate descent in place, over factors that are or should become nonzero, until they settle."""
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
    """Returns the units that a layer reads, and the inner products of their contributions to its outputs."""
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
