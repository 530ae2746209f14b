"""AdaRound by blocks: learns rounding for the joint output of several layers (Li et al., 2021, BRECQ).

Layer by layer, effort goes into errors that the next layer would compensate, and errors of activations are not seen at
all. Here the weights of a block are rounded up or down so that its output, with rounded activations, matches that of
the float block; biases are learned as well. A block that is not better on held-out data keeps rounding to nearest.
Blocks are processed in order, so that each learns on the actual outputs of the ones before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from edgecomp.model import CompressedModel, Step
from edgecomp.quantization.bias_correction import without_correction
from edgecomp.step import Stage, check_setting

if TYPE_CHECKING:
    from edgecomp.workbench import Workbench


@dataclass(frozen=True)
class BlockRounding:
    """Settings of AdaRound by blocks.

    Attributes:
        batches: The largest number of calibration batches; all inputs and outputs of a block are kept in memory.
        layers: The smallest number of layers in a block.
        iterations: Iterations of gradient descent (Adam) for each block.
        minibatch: Batches in each iteration.
        learning_rate: The learning rate of Adam.
        warmup: The share of the iterations without the penalty.
        penalty: The weight of the penalty, relative to an error that is 1 for rounding to nearest.
    """

    kind: ClassVar[str] = "adaround-blocks"
    stage: ClassVar[Stage] = "refinement"
    batches: int = 64
    layers: int = 2
    iterations: int = 300
    minibatch: int = 8
    learning_rate: float = 0.02
    warmup: float = 0.2
    penalty: float = 0.1

    def __post_init__(self) -> None:
        for name in ("batches", "layers", "iterations", "minibatch"):
            check_setting(getattr(self, name) > 0, self, name, "a number above 0")
        check_setting(self.learning_rate > 0, self, "learning_rate", "a number above 0")
        check_setting(0 <= self.warmup < 1, self, "warmup", "a share in [0, 1)")
        check_setting(self.penalty >= 0, self, "penalty", "0 or more")

    def apply(self, model: CompressedModel, bench: Workbench) -> CompressedModel:
        """Rounds the weights of a model in static int8 or int16x8 again."""
        batches = list(islice(bench.calibration_batches("round"), self.batches))
        graph, facts = round_blocks(model, batches, self, seed=bench.seed)
        return model.after(Step(self.kind, asdict(self), facts), graph=graph)


def round_blocks(
    model: CompressedModel, batches: Sequence[tuple[Any, ...]], settings: BlockRounding, *, seed: int = 0
) -> tuple[ir.Model, dict[str, Any]]:
    """Learns the rounding of every block.

    Args:
        model: Quantized with activations.
        batches: Calibration inputs in the graph's order.
        settings: See `BlockRounding`.
        seed: The seed of the minibatches.

    Returns:
        A graph whose weights round to the learned integers, and the facts for the provenance.
    """
    import torch

    from edgecomp.recovery.soft_rounding import Pair, fit

    torch.manual_seed(seed)
    graph = model.graph.clone()
    pair = Pair(without_correction(model, batches), model)
    rounded = real = [tuple(torch.from_numpy(np.array(array)) for array in batch) for batch in batches]
    left: list[float] = []
    for part in pair.parts(settings.layers):
        wanted = part.run_float(real)
        if part.roundings:
            left.append(fit(part, rounded, wanted, settings))
            part.write(graph.graph)
        rounded, real = part.run_rounded(rounded), wanted
    learned = sum(share < 1 for share in left)
    return graph, {"blocks": len(left), "learned": learned, "error_left": float(np.mean(left)) if left else 1.0}
