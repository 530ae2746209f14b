"""Adversarial inputs for distillation.

The student learns to give on a moved input what the teacher gives on the original one (Goldblum et al., 2020,
"Adversarially robust distillation"). Inputs move by one step along the sign of the gradient (Goodfellow et al., 2015).
"""

from __future__ import annotations

import torch

from edgecomp.compression.training.objective import Inputs, Loss
from edgecomp.frontends.torch_module import preserving


def moved(module: torch.nn.Module, inputs: Inputs, labels: torch.Tensor, loss: Loss, step: float) -> Inputs:
    """Moves every number of the float inputs by `step`, in the direction that increases the loss.

    Args:
        module: The student; not changed.
        inputs: A batch.
        labels: The labels of the batch.
        loss: The loss to increase.
        step: How far to move, in the units of the inputs.
    """
    leaves = tuple(each.detach().clone().requires_grad_(each.is_floating_point()) for each in inputs)
    free = [each for each in leaves if each.requires_grad]
    if not free:
        return inputs
    with preserving(module):
        value = loss(module(*leaves), labels)
        slopes = torch.autograd.grad(value, free, allow_unused=True)
    with torch.no_grad():
        for each, slope in zip(free, slopes, strict=True):
            if slope is not None:
                each += step * slope.sign()
    return tuple(each.detach() for each in leaves)
