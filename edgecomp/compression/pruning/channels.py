"""The step that removes channels, neurons, heads and hidden units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench

#: Here and not with the functions, so that a recipe is read without torch.
CriterionName = Literal[
    "l1", "l2", "taylor", "fisher", "hessian", "bn-scale", "geometric-median", "lamp", "activation", "lasso", "random"
]


@dataclass(frozen=True)
class ChannelPruning:
    """Settings of structured pruning: what is removed is gone from the file and from the clock.

    Attributes:
        keep: The share that is left, in (0, 1).
        of: What that is a share of: multiplications, parameters, their bytes in int8, the channels of every layer, or
            the latency that follows from the multiplications of the target's kernels, unfilled tiles included.
        criterion: What a channel is worth (see `criteria`).
        scope: "global" removes the least valuable channels of the whole network, "layer" the same share everywhere,
            "sensitivity" as much of each layer as costs the same quality (see `sensitivity`).
        most: The largest share of a layer that may go, in (0, 1).
        multiple: Channels are left in multiples of this; "target" is what the target's kernels compute at once.
        protected: Layers whose outputs stay, by path, with * and ?.
        reconstruct: Whether what is left of the weights behind removed channels is fitted, on calibration data, to what
            they gave before (see `reconstruction`): worth it when no training follows.
        samples: What sensitivity is measured on, at most.
        batches: Labelled batches that criteria with gradients look at, at most.
    """

    kind: ClassVar[str] = "prune-channels"
    stage: ClassVar[Stage] = "module"
    keep: float = 0.5
    of: Literal["macs", "parameters", "bytes", "latency", "channels"] = "macs"
    criterion: CriterionName = "l2"
    scope: Literal["global", "layer", "sensitivity"] = "global"
    most: float = 0.9
    multiple: Literal["target", 1, 2, 4, 8, 16, 32] = "target"
    protected: tuple[str, ...] = ()
    reconstruct: bool = False
    samples: int = 512
    batches: int = 16

    def __post_init__(self) -> None:
        check_setting(0 < self.keep < 1, self, "keep", f"the share of the {self.of} that is left, in (0, 1)")
        check_setting(0 < self.most < 1, self, "most", "the largest share of a layer that may go, in (0, 1)")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Removes channels."""
        from edgecomp.compression.pruning.structured import prune_channels

        return prune_channels(module, bench, self)
