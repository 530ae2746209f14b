"""Inputs that are moved a little to where the student is wrong.

The student is to give on them what the teacher gives on the inputs as they were (Goldblum et al., 2020, "Adversarially
robust distillation"); they are found with one step along the sign of the gradient (Goodfellow et al., 2015).
"""

from __future__ import annotations

import torch

from edgecomp.compression.training.objective import Inputs, Loss
from edgecomp.frontends.torch_module import preserving


def moved(module: torch.nn.Module, inputs: Inputs, labels: torch.Tensor, loss: Loss, step: float) -> Inputs:
    """The inputs, each number of a float input larger or smaller by `step`.

    Args:
        module: The student; not changed.
        inputs: A batch.
        labels: The labels of the batch.
        loss: What becomes larger.
        step: How far, in the units of the inputs.
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
