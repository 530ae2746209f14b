"""The recipe steps that set single weights to zero; masks keep them there in later training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecomp.compression.training.settings import Training
from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class WeightPruning:
    """Settings of one-shot unstructured pruning (Han et al., 2015) of linear layers and convolutions.

    Attributes:
        threshold: What is removed: the least valuable share ("sparsity"), or values below `limit`, which is "absolute"
            or "relative" to the layer's largest value.
        sparsity: The share of the weights that becomes zero, in (0, 1).
        limit: The smallest value that stays, above 0; for the relative threshold, below 1.
        criterion: A weight's value: its "magnitude", magnitude times "gradient", or a "random" number.
        scope: Whether sparsity is that of each "layer", or of the whole network ("global").
        batches: The largest number of labelled batches for the gradient.
        protected: Layers to leave alone, by path, with * and ?.
    """

    kind: ClassVar[str] = "prune-weights"
    stage: ClassVar[Stage] = "module"
    sparsity: float = 0.5
    threshold: Literal["sparsity", "absolute", "relative"] = "sparsity"
    limit: float = 0.01
    criterion: Literal["magnitude", "gradient", "random"] = "magnitude"
    scope: Literal["layer", "global"] = "layer"
    batches: int = 16
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_setting(0 < self.sparsity < 1, self, "sparsity", "a share in (0, 1)")
        check_setting(self.limit > 0, self, "limit", "a number above 0")
        check_setting(
            self.threshold != "relative" or self.limit < 1, self, "limit", "a share of the largest, in (0, 1)"
        )

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Sets weights to zero."""
        from edgecomp.compression.pruning.unstructured import prune_weights

        return prune_weights(module, bench, self)


@dataclass(frozen=True)
class GradualWeightPruning(Training):
    """Settings of unstructured pruning during training; all others are those of training.

    Attributes:
        sparsity: The share of each layer's weights that is zero in the end, in (0, 1).
        course: The schedule of sparsity: "cubic", fast at first and then ever more slowly (Zhu and Gupta, 2017), or in
            "rounds" that each keep the same share of what is left (Frankle and Carbin, 2019).
        rounds: The number of rounds.
        ramp: The share of the training in which sparsity grows, in (0, 1]; after that, only the remaining weights
            train.
        protected: Layers to leave alone, by path, with * and ?.
    """

    kind: ClassVar[str] = "prune-weights-gradually"
    stage: ClassVar[Stage] = "module"
    sparsity: float = 0.8
    course: Literal["cubic", "rounds"] = "cubic"
    rounds: int = 5
    ramp: float = 0.75
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(0 < self.sparsity < 1, self, "sparsity", "a share in (0, 1)")
        check_setting(0 < self.ramp <= 1, self, "ramp", "a share of the training, in (0, 1]")
        check_setting(self.rounds >= 1, self, "rounds", "a whole number above 0")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Trains the module while its weights become zero."""
        from edgecomp.compression.pruning.gradual import prune_gradually

        return prune_gradually(module, bench, self)
