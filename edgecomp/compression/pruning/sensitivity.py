"""How much worse a network gets without a share of each layer's channels, and shares that follow from it.

Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017), prune layers by how sensitive they turn out. Here every
layer alone loses its least valuable channels in several shares, and the quality of what is left is measured; then every
layer may lose as much as costs the same quality everywhere, and a budget says how much that is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgecomp.compression.evaluation import metric_of
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
    """The quality of a network when one layer loses channels.

    Attributes:
        shares: Which shares it lost, ascending, 0 first.
        quality: What was left of the quality, for each share.
    """

    shares: tuple[float, ...]
    quality: tuple[float, ...]

    def as_dict(self) -> dict[str, float]:
        """Quality by share, for the provenance."""
        return {str(share): quality for share, quality in zip(self.shares, self.quality, strict=True)}

    def share_within(self, loss: float) -> float:
        """The largest share whose quality is less than the whole network's by no more than this, interpolated."""
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
    """The sensitivity of every group of channels: the data are run through the module once for each group and share.

    Args:
        module: Left as it is.
        coupling: What belongs together in it.
        scores: What every unit is worth: the least valuable go first.
        shares: Which shares of a group to remove, ascending, each in (0, 1).
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
        scores: What every unit is worth.
        curves: The sensitivity of each group.
        strength: The quality that it costs, as a share of the most that any group can cost.
        limits: What is left in any case.
    """
    most = max((max(curve.quality[0] - quality for quality in curve.quality) for curve in curves.values()), default=0.0)
    shares = {group: curve.share_within(strength * most) for group, curve in curves.items()}
    return remove_shares(coupling, scores, shares, limits)


def goes_by_metric(source: Source) -> bool:
    """Whether the task can say itself how good a network is, on data that do not judge the result."""
    return source.metric is not None and source.train_data is not None


def quality_of(bench: Workbench, samples: int) -> Quality:
    """What sensitivity is measured by: the task's metric on training data, or how alike outputs stay.

    Evaluation data are not used: what decides something must not judge it.

    Args:
        bench: Has the data.
        samples: How many of them to use, at most.

    Raises:
        DataError: There are neither.
    """
    if goes_by_metric(bench.source):
        data = bench.training
        part = TrainingData(data.samples, data.chosen[:samples])
        return lambda module: metric_of(module, bench.source, part) or 0.0
    if bench.calibration is None:
        raise DataError(
            f"{bench.source.name}: the sensitivity of layers",
            expected="training data and a metric, or calibration data, to see what channels do to the outputs",
            actual="neither",
            cure="add train_data() and metric() or calibration_data() to the task, or choose another scope",
        )
    return likeness_of(bench, samples)
