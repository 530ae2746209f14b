"""AdaRound: learns layer by layer whether each weight is rounded up or down (Nagel et al., 2020).

The fraction that is added to the floor of a weight is a stretched sigmoid of a variable. Gradient descent lowers the
error of the layer's output (see `layers`), while a growing penalty drives every fraction to 0 or 1. It runs on a GPU if
there is one.
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
    import torch

    from edgecomp.workbench import Workbench

#: The sigmoid is stretched beyond 0 and 1, so that it reaches both without being flat there (Louizos et al., 2018).
_LOWEST, _HIGHEST = -0.1, 1.1


@dataclass(frozen=True)
class AdaRound:
    """Settings of AdaRound.

    Attributes:
        batches: The largest number of calibration batches: more of them add little about how inputs correlate.
        iterations: Iterations of gradient descent (Adam) for each layer.
        learning_rate: The learning rate of Adam.
        warmup: The share of the iterations without the penalty.
        penalty: The weight of the penalty, relative to an error that is 1 for rounding to nearest.
    """

    kind: ClassVar[str] = "adaround"
    stage: ClassVar[Stage] = "refinement"
    batches: int = 64
    iterations: int = 200
    learning_rate: float = 0.05
    warmup: float = 0.2
    penalty: float = 2.0

    def __post_init__(self) -> None:
        check_setting(self.learning_rate > 0, self, "learning_rate", "a number above 0")
        check_setting(0 <= self.warmup < 1, self, "warmup", "a share in [0, 1)")
        check_setting(self.penalty >= 0, self, "penalty", "0 or more")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Rounds the weights of a model in static int8 or int16x8 again."""
        graph, facts = round_layers(model, islice(bench.calibration_batches("round"), self.batches), self.round)
        graph, judged = closer(model, graph, bench.calibration_data)
        return model.after(Step(self.kind, asdict(self), facts | judged), graph=graph)

    def round(self, layer: Layer) -> Integers:
        """Returns the integers of one layer."""
        import torch

        before = float(layer.cost(layer.nearest).sum())
        if before <= 0:
            return layer.nearest
        device = "cuda" if torch.cuda.is_available() else "cpu"
        weight, second, steps = (
            torch.tensor(array, dtype=torch.float32, device=device)
            for array in (layer.weight, layer.second / before, layer.steps)
        )
        floor = weight.floor()
        variable = unstretched(weight - floor).requires_grad_()
        optimizer = torch.optim.Adam([variable], self.learning_rate)
        for iteration in range(self.iterations):
            added = stretched(variable)
            error = ((floor + added).clamp(-127, 127) - weight) * steps
            # This has the gradient of the quadratic form, at half of the cost.
            loss = (error * (2 * error.detach() @ second)).sum()
            if (exponent := sharpness(iteration, self.iterations, self.warmup)) is not None:
                loss = loss + self.penalty * undecided(added, exponent)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            chosen = (floor + (stretched(variable) >= 0.5).float()).clamp(-127, 127)
        return np.asarray(chosen.cpu().numpy(), np.float64)


def sharpness(iteration: int, iterations: int, warmup: float) -> float | None:
    """Returns the exponent of the penalty, from 20 to 2: it acts on nearly decided fractions first, on all in the end.

    Args:
        iteration: Counted from 0.
        iterations: The number of iterations.
        warmup: The share of them without the penalty, for which there is no exponent.
    """
    start = int(warmup * iterations)
    return None if iteration < start else 20 - 18 * ((iteration - start) / max(iterations - start, 1))


def undecided(share: torch.Tensor, exponent: float) -> torch.Tensor:
    """Computes the penalty: the mean distance of fractions from 0 and 1, scaled to [0, 1]."""
    return (1 - (2 * share - 1).abs() ** exponent).mean()


def stretched(variable: torch.Tensor) -> torch.Tensor:
    """Computes the rectified, stretched sigmoid."""
    return (variable.sigmoid() * (_HIGHEST - _LOWEST) + _LOWEST).clamp(0, 1)


def unstretched(share: torch.Tensor) -> torch.Tensor:
    """Returns the variable of a fraction in [0, 1]: the inverse of `stretched`."""
    import torch

    return torch.logit((share.clamp(0.01, 0.99) - _LOWEST) / (_HIGHEST - _LOWEST))
