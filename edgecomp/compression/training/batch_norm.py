"""Measures the running statistics of BatchNorm again, without training.

Removing parts of a module changes the mean and variance of the rest. Measuring them again on unlabelled data wins back
much of what pruning costs, without gradients (Li et al., 2020, "EagleEye").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgecomp.step import Changed, Stage

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class BatchNormEstimation:
    """Settings of the step that measures BatchNorm's statistics again, on the calibration data.

    Attributes:
        batch_size: Samples in a batch, over which means and variances are computed.
    """

    kind: ClassVar[str] = "re-estimate-batch-norm"
    stage: ClassVar[Stage] = "module"
    batch_size: int = 64

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Measures the statistics of every BatchNorm."""
        from edgecomp.compression.evaluation import joined

        batches = joined(bench.calibration_batches("batch norm"), self.batch_size)
        return Changed(module, {"layers": reestimate(module, batches)})


def reestimate(module: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> int:
    """Sets every BatchNorm's running mean and variance to the average over batches.

    Args:
        module: Only these buffers change, in place.
        batches: Inputs. Batches of one sample are skipped.

    Returns:
        The number of layers with such statistics.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    layers = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    if not layers:
        return 0
    flags, momenta = [(each, each.training) for each in module.modules()], [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average of all batches
        layer.train()
    with torch.no_grad():
        for inputs in batches:
            if len(inputs[0]) > 1:
                module(*inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for each, flag in flags:
        each.training = flag
    return len(layers)
