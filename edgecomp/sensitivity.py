"""How many channels each layer of a model can lose: quality against the share that is removed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgecomp.compression.pruning.channels import ChannelPruning, CriterionName
from edgecomp.data import collect_calibration
from edgecomp.errors import InputError, SourceError
from edgecomp.frontends import Source
from edgecomp.loading import Brought, load
from edgecomp.progress import Progress, silent
from edgecomp.target import TargetProfile, load_target
from edgecomp.workbench import Workbench

if TYPE_CHECKING:
    import torch

#: Shares of a layer's channels that are removed, unless others are given.
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Point:
    """What is left of a network when one layer loses channels.

    Attributes:
        share: How many of the layer's channels are removed, in (0, 1).
        quality: The quality of the network then.
        macs: Its multiplications then, as a share of all.
        parameters: Its parameters then, as a share of all.
    """

    share: float
    quality: float
    macs: float
    parameters: float


@dataclass(frozen=True)
class Layer:
    """Channels that go together, and what it costs to remove some.

    Attributes:
        name: The name of the layer that makes them.
        channels: How many there are.
        layers: Everything that would become narrower.
        points: By share, ascending.
    """

    name: str
    channels: int
    layers: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def harm(self) -> float:
        """What the network loses on the average of the shares, to sort by."""
        return -sum(point.quality for point in self.points) / len(self.points)


@dataclass(frozen=True)
class Sensitivity:
    """How sensitive the layers of a model are.

    Attributes:
        source: Short name of the model.
        target: Name of the device.
        measure: The name of the task's first metric, "minus mse" for an error, on training data; or "likeness", one
            minus the share of the energy of the outputs that is wrong, on calibration data.
        quality: The quality of the whole network.
        criterion: What decided which of a layer's channels go first.
        layers: The most sensitive first.
        left_alone: Layers that lose nothing -> why.
    """

    source: str
    target: str
    measure: str
    quality: float
    criterion: CriterionName
    layers: tuple[Layer, ...]
    left_alone: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


def sensitivity(
    source: str | Path | torch.nn.Module | Source,
    target: str | Path | TargetProfile,
    *,
    criterion: CriterionName = "l2",
    shares: Sequence[float] = SHARES,
    samples: int = 512,
    progress: Progress = silent,
    **brought: Unpack[Brought],
) -> Sensitivity:
    """Measures a model without a share of each layer's channels, one layer after another; writes nothing.

    Args:
        source: A torch module, or what has one, as `compress` takes it.
        target: As `compress` takes it.
        criterion: What a channel is worth (see `ChannelPruning`).
        shares: How many of a layer's channels to remove, each in (0, 1).
        samples: How many training samples, or batches of calibration data, to measure on, at most.
        progress: Called as the work goes on.
        **brought: The other arguments of `loading.load`: data, shapes, example inputs.

    Raises:
        InputError: The source, the data or the target cannot be used.
    """
    loaded = load(source, progress=progress, **brought)
    check(loaded, shares)
    from edgecomp.compression.pruning import costs
    from edgecomp.compression.pruning.selection import Limits, remove_shares
    from edgecomp.compression.pruning.sensitivity import goes_by_metric, measure, quality_of
    from edgecomp.compression.pruning.structured import examine

    profile = load_target(target)
    bench = Workbench(loaded, profile, calibration=_calibration(loaded), progress=progress, training_samples=samples)
    settings = ChannelPruning(criterion=criterion)
    module = copy.deepcopy(bench.teacher)
    coupling, scores = examine(module, bench, settings, f"{loaded.name}: the sensitivity of layers")
    curves = measure(module, coupling, scores, sorted(shares), quality_of(bench, samples), progress)
    whole = [cost(coupling, coupling.nothing()) for cost in (costs.macs, costs.parameters)]
    layers = []
    for group, curve in curves.items():
        points = []
        for share, quality in zip(curve.shares[1:], curve.quality[1:], strict=True):
            removed = remove_shares(coupling, scores, {group: share}, Limits(most=share))
            left = (cost(coupling, removed) for cost in (costs.macs, costs.parameters))
            points.append(Point(share, quality, *(part / of for part, of in zip(left, whole, strict=True))))
        narrower = dict.fromkeys(member.tensor.rpartition(".")[0] for member in group.members)
        layers.append(Layer(group.name, len(group.units) * group.width, tuple(narrower), tuple(points)))
    return Sensitivity(
        loaded.name,
        profile.name,
        loaded.metrics.quality_name if loaded.metrics is not None and goes_by_metric(loaded) else "likeness",
        next((curve.quality[0] for curve in curves.values()), 1.0),
        criterion,
        tuple(sorted(layers, key=lambda layer: layer.harm, reverse=True)),
        dict(coupling.fixed),
    )


def check(source: Source, shares: Sequence[float]) -> None:
    """Makes sure that there is something to measure.

    Raises:
        InputError: A share is outside (0, 1), or the source has no module.
    """
    if not shares or not all(0 < share < 1 for share in shares):
        raise InputError(
            "the shares of channels",
            expected="numbers between 0 and 1",
            actual=", ".join(map(str, shares)) or "none",
            cure="give shares such as 0.25,0.5,0.75",
        )
    if source.module is None:
        raise SourceError(
            f"{source.name}: the sensitivity of layers",
            expected="a torch module, whose channels can be removed",
            actual="a graph, which has none",
            cure="give the task.py with the module that the file was exported from",
        )


def _calibration(source: Source) -> Any:
    if source.calibration_data is None:
        return None
    return collect_calibration(source.calibration_data(), source.input_specs, subject="the calibration data")
