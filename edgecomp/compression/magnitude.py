"""Magnitude pruning: the smallest weights become zero (Han et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgecomp.step import Changed, Stage

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class MagnitudePruning:
    """Settings of magnitude pruning.

    Attributes:
        sparsity: The share of each layer's weights that becomes zero, in (0, 1).
    """

    kind: ClassVar[str] = "prune-weights"
    stage: ClassVar[Stage] = "module"
    sparsity: float = 0.5

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Sets weights of convolutions and linear layers to zero."""
        import torch

        weights = [
            child.weight
            for child in module.modules()
            if isinstance(child, torch.nn.Linear | torch.nn.modules.conv._ConvNd)
        ]
        with torch.no_grad():
            for weight in weights:
                smallest = weight.abs().flatten().argsort(stable=True)[: int(self.sparsity * weight.numel())]
                weight.flatten()[smallest] = 0.0
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        return Changed(module, {"zeros": zeros, "weights": sum(weight.numel() for weight in weights)})
