"""Criteria for the value of a channel: small functions that return one number for every unit, larger is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edgecomp.compression.pruning.channels import CriterionName
from edgecomp.compression.pruning.coupling import Group
from edgecomp.compression.pruning.evidence import Evidence, Floats
from edgecomp.compression.pruning.lasso import lost_shares

#: The data that a criterion needs besides the weights.
Need = Literal["", "training data", "calibration data"]


@dataclass(frozen=True)
class Criterion:
    """A way to score channels.

    Attributes:
        score: Returns one number for every unit.
        need: The data that it needs.
        comparable: Whether scores of different layers can be compared; if not, they are divided by their layer's mean.
    """

    score: Callable[[Evidence], Floats]
    need: Need = ""
    comparable: bool = False


def l1(evidence: Evidence) -> Floats:
    """Sums the magnitudes of all weights that belong to a channel (Li et al., 2017, and Fang et al., 2023)."""
    return evidence.per_unit({path: np.abs(weight) for path, weight in evidence.weights.items()})


def l2(evidence: Evidence) -> Floats:
    """Computes the root of the sum of their squares."""
    return np.sqrt(_energy(evidence))


def taylor(evidence: Evidence) -> Floats:
    """Estimates the change of the loss without the channel, to first order (Molchanov et al., 2017)."""
    scores: Floats = np.abs(evidence.gates.mean(axis=0))
    return scores


def fisher(evidence: Evidence) -> Floats:
    """Estimates half the second derivative of the loss by a factor on the channel, as the mean squared first.

    Theis et al., 2018; Liu et al., 2021.
    """
    scores: Floats = 0.5 * np.square(evidence.gates).mean(axis=0)
    return scores


def hessian(evidence: Evidence) -> Floats:
    """Sums half of weight^2 x diagonal of the Hessian over a channel's weights (LeCun et al., 1990)."""
    curvature = evidence.curvature
    return evidence.per_unit({path: 0.5 * np.square(evidence.weights[path]) * curvature[path] for path in curvature})


def bn_scale(evidence: Evidence) -> Floats:
    """Returns the magnitudes of BatchNorm's factors (Liu et al., 2017); infinite for channels without BatchNorm."""
    factors = {
        f"{path}.weight": np.abs(module.weight.detach().double().cpu().numpy())
        for path, module in evidence.module.named_modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.weight is not None
    }
    factors = {path: array for path, array in factors.items() if path in evidence.coupling.labels}
    seen = evidence.per_unit({path: np.ones_like(array) for path, array in factors.items()})
    return np.where(seen > 0, evidence.per_unit(factors), np.inf)


def geometric_median(evidence: Evidence) -> Floats:
    """Sums the distances of a channel's weights from those of its layer's other channels (He et al., 2019).

    A channel that is close to the others can be replaced by them.
    """
    scores = evidence.coupling.nothing().astype(float)
    for group in evidence.coupling.groups:
        rows = _makers(evidence, group)
        distances = np.linalg.norm(rows[:, None] - rows[None], axis=2) if len(rows) <= 256 else _distances(rows)
        scores[group.units] = distances.sum(axis=1)
    return scores


def lamp(evidence: Evidence) -> Floats:
    """Divides a channel's energy by that of all channels of its layer that are no weaker (Lee et al., 2021)."""
    energy = _energy(evidence)
    scores = np.zeros_like(energy)
    for group in evidence.coupling.groups:
        order = group.units[np.argsort(energy[group.units], kind="stable")]
        stronger = np.cumsum(energy[order][::-1])[::-1]
        scores[order] = energy[order] / np.maximum(stronger, np.finfo(float).tiny)
    return scores


def activation(evidence: Evidence) -> Floats:
    """Returns the share of activations that are not zero, one minus APoZ (Hu et al., 2016)."""
    return evidence.activity


def lasso(evidence: Evidence) -> Floats:
    """Returns what the next layers lose without a channel and all less valuable ones (He et al., 2017)."""
    return lost_shares(evidence)


def random(evidence: Evidence) -> Floats:
    """Returns random scores, as a baseline for the others."""
    return np.random.default_rng(evidence.seed).random(evidence.coupling.units)


def _energy(evidence: Evidence) -> Floats:
    return evidence.per_unit({path: np.square(weight) for path, weight in evidence.weights.items()})


def _makers(evidence: Evidence, group: Group) -> Floats:
    """Returns the weights that produce each unit of a group, (units, weights of one)."""
    parts = []
    for member in group.members:
        weight = evidence.weights.get(member.tensor)
        if weight is None or member.axis == evidence.input_axis(member.tensor):
            continue
        units = evidence.coupling.labels[member.tensor][member.axis]
        rows = np.moveaxis(weight, member.axis, 0).reshape(len(units), -1)
        parts.append(np.stack([rows[units == unit].ravel() for unit in group.units]))
    return np.concatenate(parts, axis=1) if parts else np.zeros((len(group.units), 1))


def _distances(rows: Floats) -> Floats:
    """Computes pairwise distances of many rows without the array of all differences."""
    squares = np.square(rows).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0.0)))


CRITERIA: dict[CriterionName, Criterion] = {
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "taylor": Criterion(taylor, need="training data", comparable=True),
    "fisher": Criterion(fisher, need="training data", comparable=True),
    "hessian": Criterion(hessian, need="training data", comparable=True),
    "bn-scale": Criterion(bn_scale, comparable=True),
    "geometric-median": Criterion(geometric_median),
    "lamp": Criterion(lamp, comparable=True),
    "activation": Criterion(activation, need="calibration data", comparable=True),
    "lasso": Criterion(lasso, need="calibration data", comparable=True),
    "random": Criterion(random, comparable=True),
}


def judge(evidence: Evidence, name: CriterionName) -> Floats:
    """Scores every unit, comparable over all layers.

    Args:
        evidence: Must contain the data that the criterion needs.
        name: The criterion.
    """
    criterion = CRITERIA[name]
    scores = criterion.score(evidence)
    if not criterion.comparable:
        for group in evidence.coupling.groups:
            scores[group.units] /= max(float(scores[group.units].mean()), np.finfo(float).tiny)
    return scores
