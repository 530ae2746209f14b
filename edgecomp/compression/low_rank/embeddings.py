"""The recipe step that factorizes embedding tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from edgecomp.step import Changed, Stage, check_setting

if TYPE_CHECKING:
    import torch

    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class LowRankEmbeddings:
    """Settings of the factorization of embedding tables into narrow rows and a linear layer that widens them.

    Attributes:
        keep: The share of the tables' numbers that is left, in (0, 1).
        data_aware: Whether a row's error is weighted by how often calibration data look it up.
        multiple: Ranks are multiples of this; "target" is the number of channels that the target's kernels compute at
            once.
        protected: Tables to leave alone, by path, with * and ?.
    """

    kind: ClassVar[str] = "low-rank-embeddings"
    stage: ClassVar[Stage] = "module"
    keep: float = 0.33
    data_aware: bool = True
    multiple: Literal["target", 1, 2, 4, 8, 16, 32] = "target"
    protected: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_setting(0 < self.keep < 1, self, "keep", "the share of the tables' numbers that is left, in (0, 1)")

    def apply(self, module: torch.nn.Module, bench: Workbench) -> Changed:
        """Factorizes tables."""
        from edgecomp.compression.low_rank.tables import factorize_tables

        return factorize_tables(module, bench, self)
