"""GPTQ: rounds weights one after another, and adjusts those not yet rounded for the error (Frantar et al., 2023).

Rounding weight k by e_k changes the layer's output by e_k x_k. Weights whose inputs correlate with x_k can compensate
most of that. With the upper Cholesky factor U of the inverse of H (see `layers`), the best change of the later weights
is -e_k U[k, k+1:] / U[k, k]. Inputs with the most power come first. Nothing is trained. Convolutions, including
depthwise ones, are rounded by patches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgecomp.model import CompressedModel, Step
from edgecomp.recovery.guard import closer
from edgecomp.recovery.layers import Integers, Layer, round_layers
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class Gptq:
    """Settings of GPTQ.

    Attributes:
        batches: The largest number of calibration batches: more of them add little about how inputs correlate.
        damping: A share of the mean diagonal of H that is added to the diagonal; higher values trust few samples less.
    """

    kind: ClassVar[str] = "gptq"
    stage: ClassVar[Stage] = "refinement"
    batches: int = 64
    damping: float = 0.01

    def __post_init__(self) -> None:
        check_setting(self.damping > 0, self, "damping", "a number above 0")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Rounds the weights of a model in static int8 or int16x8 again."""
        graph, facts = round_layers(model, islice(bench.calibration_batches("round"), self.batches), self.round)
        graph, judged = closer(model, graph, bench.calibration_data)
        return model.after(Step(self.kind, asdict(self), facts | judged), graph=graph)

    def round(self, layer: Layer) -> Integers:
        """Returns the integers of one layer."""
        diagonal = np.einsum("gkk->gk", layer.second)
        order = np.argsort(-diagonal, axis=1)
        back = np.argsort(order, axis=1)
        second = np.take_along_axis(np.take_along_axis(layer.second, order[:, :, None], 1), order[:, None, :], 2)
        damping = self.damping * np.maximum(diagonal.mean(axis=1), 1e-12)
        second = second + damping[:, None, None] * np.eye(second.shape[-1])
        # The upper factor of the inverse is its lower Cholesky factor, transposed.
        factor = np.linalg.cholesky(np.linalg.inv(second)).swapaxes(1, 2)
        weight = np.take_along_axis(layer.weight, order[:, None, :], 2).copy()
        chosen = np.empty_like(weight)
        for k in range(weight.shape[2]):
            chosen[:, :, k] = np.clip(np.rint(weight[:, :, k]), -127, 127)
            error = (weight[:, :, k] - chosen[:, :, k]) / factor[:, k, k][:, None]
            weight[:, :, k + 1 :] -= error[:, :, None] * factor[:, None, k, k + 1 :]
        return np.asarray(np.take_along_axis(chosen, back[:, None, :], 2), np.float64)
