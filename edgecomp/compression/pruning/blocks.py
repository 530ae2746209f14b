"""The recipe step that removes whole residual blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class BlockPruning:
    """Settings of the removal of residual blocks, starting with those that change their input least.

    Attributes:
        keep: The share of the multiplications that is left, in (0, 1).
        protected: Blocks to leave alone, by path, with * and ?.
    """

    kind: ClassVar[str] = "prune-blocks"
    stage: ClassVar[Stage] = "module"
    keep: float = 0.7
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_setting(0 < self.keep < 1, self, "keep", "the share of the multiplications that is left, in (0, 1)")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Removes blocks."""
        from edgecomp.compression.pruning.residual import prune_blocks

        return prune_blocks(module, bench, self)
