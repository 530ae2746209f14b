"""The recipe step that removes channels, neurons, heads and hidden units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench

#: Defined here and not with the functions, so that recipes are read without importing torch.
CriterionName = Literal[
    "l1", "l2", "taylor", "fisher", "hessian", "bn-scale", "geometric-median", "lamp", "activation", "lasso", "random"
]


@dataclass(frozen=True)
class ChannelPruning:
    """Settings of structured pruning: removed channels are gone from the file and from the clock.

    Attributes:
        keep: The share that is left, in (0, 1).
        of: What `keep` is a share of: multiplications, parameters, their bytes in int8, the channels of every layer, or
            the latency, estimated from the multiplications of the target's kernels, including unfilled tiles.
        criterion: How a channel's value is measured (see `criteria`).
        scope: "global" removes the least valuable channels of the whole network, "layer" the same share everywhere,
            "sensitivity" from each layer as much as costs the same quality (see `sensitivity`).
        most: The largest share of a layer that may be removed, in (0, 1).
        multiple: Channels are kept in multiples of this; "target" is the number that the target's kernels compute at
            once.
        protected: Layers whose output channels stay, by path, with * and ?.
        reconstruct: Whether to fit the remaining weights behind removed channels to their old outputs, on calibration
            data (see `reconstruction`). Worth it if no training follows.
        samples: The largest number of samples that sensitivity is measured on.
        batches: The largest number of labelled batches for criteria with gradients.
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
