"""Fine-tuning: continues training with the task's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgecomp.compression.training.settings import Training
from edgecomp.step import Changed, Stage

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class FineTuning(Training):
    """Settings of fine-tuning: those of training, and no others."""

    kind: ClassVar[str] = "fine-tune"
    stage: ClassVar[Stage] = "module"

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Trains the module in place."""
        from edgecomp.compression.training.run import train

        report = train(module, bench, self)
        return Changed(module, report.facts)
