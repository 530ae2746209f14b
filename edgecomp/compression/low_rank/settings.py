"""The recipe step that factorizes layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecomp.step import Changed, Natural, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench

KernelScheme = Literal["auto", "tucker", "spatial", "cp", "none"]


@dataclass(frozen=True)
class LowRank:
    """Settings of low-rank factorization. Recurrent layers stay: no kernel takes their weights in factors.

    Attributes:
        ranks: How ranks are chosen: by the share of "energy" that is left, by "vbmf" (which separates singular values
            from noise), or by a "budget" of multiplications, met where it damages the network's outputs least.
        energy: The share of the squared singular values that is left, in (0, 1); for ranks = "energy".
        keep: The share of the network's multiplications that is left, in (0, 1); for ranks = "budget".
        matrices: Whether linear layers and 1x1 convolutions are factorized, by singular values.
        kernels: How other convolutions are factorized: "tucker", "spatial", "cp", "auto" (the cheaper of the first
            two), or "none".
        data_aware: Whether errors of matrices are weighted by the calibration inputs.
        samples: The largest number of calibration samples to measure each layer's damage on. With 0, or without
            calibration data, the share of its own output energy that a layer loses is used instead.
        multiple: Ranks are multiples of this; "target" is the number of channels that the target's kernels compute at
            once.
        protected: Layers to leave alone, by path, with * and ?.
    """

    kind: ClassVar[str] = "low-rank"
    stage: ClassVar[Stage] = "module"
    ranks: Literal["energy", "vbmf", "budget"] = "energy"
    energy: float = 0.95
    keep: float = 0.7
    matrices: bool = True
    kernels: KernelScheme = "auto"
    data_aware: bool = True
    samples: Natural = 16
    multiple: Literal["target", 1, 2, 4, 8, 16, 32] = "target"
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_setting(0 < self.energy < 1, self, "energy", "the share of the squared singular values left, in (0, 1)")
        check_setting(0 < self.keep < 1, self, "keep", "the share of the multiplications that is left, in (0, 1)")
        check_setting(self.samples >= 0, self, "samples", "0 or more")
        check_setting(self.matrices or self.kernels != "none", self, "kernels", "something to factorize")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Factorizes layers."""
        from edgecomp.compression.low_rank.factorization import factorize

        return factorize(module, bench, self)
