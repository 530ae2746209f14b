"""Penalties that make weights sparse during training."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgecomp.compression.training.objective import Inputs, Objective


class SparsityPenalty(Objective):
    """A penalty on the weights of every parameter with two or more dimensions.

    Args:
        l1: The factor on the sum of absolute values, which makes single weights zero (Tibshirani, 1996).
        group_lasso: The factor on the sum, over output channels (slices along dimension 0), of their Euclidean norm
            times the square root of their size. It makes whole channels zero, for pruning to remove (Yuan and Lin,
            2006; Wen et al., 2016).
    """

    def __init__(self, l1: float = 0.0, group_lasso: float = 0.0) -> None:
        super().__init__()
        self._l1, self._group_lasso = l1, group_lasso

    def forward(self, module: nn.Module, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """Computes the penalty, which does not depend on the batch."""
        parts = [self._of(weight) for weight in module.parameters() if weight.ndim > 1]
        return torch.stack(parts).sum() if parts else torch.zeros((), device=labels.device)

    def _of(self, weight: torch.Tensor) -> torch.Tensor:
        cost = weight.new_zeros(())
        if self._l1:
            cost = cost + self._l1 * weight.abs().sum()
        if self._group_lasso:
            norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
            cost = cost + self._group_lasso * math.sqrt(weight[0].numel()) * norms.sum()
        return cost
