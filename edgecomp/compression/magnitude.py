"""Magnitude pruning: the smallest weights become zero (Han et al., 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgecomp.step import Changed, Stage, check_setting

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

    def __post_init__(self) -> None:
        check_setting(0 < self.sparsity < 1, self, "sparsity", "a share in (0, 1)")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Sets weights of convolutions and linear layers to zero."""
        import torch

        from edgecomp.compression.training.masks import set_mask

        layers = [
            child for child in module.modules() if isinstance(child, torch.nn.Linear | torch.nn.modules.conv._ConvNd)
        ]
        for layer in layers:
            mask = torch.ones(layer.weight.numel(), dtype=torch.bool)
            smallest = layer.weight.detach().abs().flatten().argsort(stable=True)
            mask[smallest[: int(self.sparsity * len(mask))]] = False
            set_mask(layer, "weight", mask.reshape(layer.weight.shape))
        zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
        return Changed(module, {"zeros": zeros, "weights": sum(layer.weight.numel() for layer in layers)})
