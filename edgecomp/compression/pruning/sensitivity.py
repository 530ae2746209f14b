"""Measures how much worse a network gets without a share of each layer's channels, and derives shares from it.

Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017), prune each layer by its sensitivity. Here every layer
on its own loses several shares of its least valuable channels, and the remaining quality is measured. Then every layer
loses as much as costs the same quality everywhere; the budget decides how much that is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgecomp.compression import evaluation
from edgecomp.compression.likeness import Quality, likeness_of
from edgecomp.compression.pruning.coupling import Coupling, Group, Removed
from edgecomp.compression.pruning.evidence import Floats
from edgecomp.compression.pruning.selection import Limits, remove_shares
from edgecomp.compression.pruning.surgery import cut
from edgecomp.compression.training.data import TrainingData
from edgecomp.errors import DataError
from edgecomp.frontends import Source
from edgecomp.progress import Progress, silent
from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class Curve:
    """The quality of a network as one layer loses channels.

    Attributes:
        shares: The removed shares, ascending, starting with 0.
        quality: The quality for each share.
    """

    shares: tuple[float, ...]
    quality: tuple[float, ...]

    def as_dict(self) -> dict[str, float]:
        """Returns quality by share, for the provenance."""
        return {str(share): quality for share, quality in zip(self.shares, self.quality, strict=True)}

    def share_within(self, loss: float) -> float:
        """Returns the largest share that costs at most this much quality, interpolated."""
        losses = np.maximum.accumulate(self.quality[0] - np.array(self.quality))
        if loss >= losses[-1]:
            return self.shares[-1]
        after = int(np.searchsorted(losses, loss, side="right"))
        step = (loss - losses[after - 1]) / (losses[after] - losses[after - 1])
        return float(self.shares[after - 1] + step * (self.shares[after] - self.shares[after - 1]))


def measure(
    module: torch.nn.Module,
    coupling: Coupling,
    scores: Floats,
    shares: Sequence[float],
    quality: Quality,
    progress: Progress = silent,
) -> dict[Group, Curve]:
    """Measures the sensitivity of every group of channels, with one pass over the data for each group and share.

    Args:
        module: Left as it is.
        coupling: Its coupled units.
        scores: By unit; the least valuable are removed first.
        shares: The shares of a group to remove, ascending, each in (0, 1).
        quality: Measures a module.
        progress: Called after each measurement.
    """
    whole = quality(module)
    curves, total = {}, len(coupling.groups) * len(shares)
    for index, group in enumerate(coupling.groups):
        found = [whole]
        for done, share in enumerate(shares):
            progress("sensitivity", index * len(shares) + done, total)
            trial = copy.deepcopy(module)
            cut(trial, coupling, remove_shares(coupling, scores, {group: share}, Limits(most=share)))
            found.append(quality(trial))
        curves[group] = Curve((0.0, *shares), tuple(found))
    progress("sensitivity", total, total)
    return curves


def equally_harmful(
    coupling: Coupling, scores: Floats, curves: Mapping[Group, Curve], strength: float, limits: Limits
) -> Removed:
    """Removes from every group as much as costs the same quality.

    Args:
        coupling: The groups.
        scores: By unit.
        curves: The sensitivity of each group.
        strength: The quality to give up, as a share of the most that any group can cost.
        limits: What every group has to keep.
    """
    most = max((max(curve.quality[0] - quality for quality in curve.quality) for curve in curves.values()), default=0.0)
    shares = {group: curve.share_within(strength * most) for group, curve in curves.items()}
    return remove_shares(coupling, scores, shares, limits)


def goes_by_metric(source: Source) -> bool:
    """Tells whether the task has a metric and data to measure it on that are not the evaluation data."""
    return source.metrics is not None and source.train_data is not None


def quality_of(bench: Workbench, samples: int) -> Quality:
    """Returns the measure for sensitivity: the task's metric on training data, or else the similarity of outputs.

    Evaluation data are not used, because data that decide something must not judge the result.

    Args:
        bench: Provides the data.
        samples: The largest number of samples to use.

    Raises:
        DataError: There are neither training nor calibration data.
    """
    if goes_by_metric(bench.source):
        data = bench.training
        part = TrainingData(data.samples, data.chosen[:samples])
        return lambda module: evaluation.quality_of(module, bench.source, part) or 0.0
    if bench.calibration is None:
        raise DataError(
            f"{bench.source.name}: the sensitivity of layers",
            expected="training data and a metric, or calibration data, to see what channels do to the outputs",
            actual="neither",
            cure="add train_data() and metric() or calibration_data() to the task, or choose another scope",
        )
    return likeness_of(bench, samples)
